// The three feature fields of a version 3 header, kept as two 32-bit halves, and the names of their bits.

/** An opaque 64-bit mask in two halves, as on disk. */
export interface Mask64 {
  readonly high: number;
  readonly low: number;
}

export const emptyMask: Mask64 = { high: 0, low: 0 };

/** Incompatible features (BIT-I0…I4): a program that does not know a set bit must refuse the image. */
export const incompatibleBits = {
  dirty: 0,
  corrupt: 1,
  externalDataFile: 2,
  compressionType: 3,
  extendedL2: 4,
} as const;

/** Compatible features (BIT-C0). */
export const compatibleBits = { lazyRefcounts: 0 } as const;

/** Autoclear features (BIT-A0, A1): a writer that does not keep a bit's promise clears it. */
export const autoclearBits = { bitmaps: 0, rawExternalData: 1 } as const;

export function hasBit(mask: Mask64, bit: number): boolean {
  return bit < 32 ? ((mask.low >>> bit) & 1) === 1 : ((mask.high >>> (bit - 32)) & 1) === 1;
}

export function withBit(mask: Mask64, bit: number, on: boolean): Mask64 {
  if (bit < 32) {
    const low = on ? mask.low | (1 << bit) : mask.low & ~(1 << bit);
    return { high: mask.high, low: low >>> 0 };
  }
  const high = on ? mask.high | (1 << (bit - 32)) : mask.high & ~(1 << (bit - 32));
  return { high: high >>> 0, low: mask.low };
}

/** The set bits from 0 upwards. */
export function bitsOf(mask: Mask64): readonly number[] {
  const bits: number[] = [];
  for (let bit = 0; bit < 64; bit += 1) if (hasBit(mask, bit)) bits.push(bit);
  return bits;
}

/** The incompatible bits that no table here names. */
export function unknownIncompatibleBits(mask: Mask64): readonly number[] {
  const known = new Set<number>(Object.values(incompatibleBits));
  return bitsOf(mask).filter((bit) => !known.has(bit));
}

/** A row of the feature name table (EXT-02): type 0 incompatible, 1 compatible, 2 autoclear. */
export interface FeatureName {
  readonly type: number;
  readonly bit: number;
  readonly name: string;
}

/** The rows that QEMU writes, in its order. */
export const featureNames: readonly FeatureName[] = [
  { type: 0, bit: 0, name: 'dirty bit' },
  { type: 0, bit: 1, name: 'corrupt bit' },
  { type: 0, bit: 2, name: 'external data file' },
  { type: 0, bit: 3, name: 'compression type' },
  { type: 0, bit: 4, name: 'extended L2 entries' },
  { type: 1, bit: 0, name: 'lazy refcounts' },
  { type: 2, bit: 0, name: 'bitmaps' },
  { type: 2, bit: 1, name: 'raw external data' },
];
