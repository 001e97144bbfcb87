// One L2 entry: what a guest cluster, or each of its subclusters, is (MAP-02, MAP-03, SUB-01…SUB-05, CMP-01).
//
//   63       62         61                    0
//   owned | compressed | descriptor             standard: bits 9–55 host offset, bit 0 "reads as zero"
//                                               compressed: x = 70 - cluster bits
//                                                 bits 0…x-1 byte offset, x…61 additional sectors
//   extended entries add a second word: bits 0–31 subcluster allocated, bits 32–63 subcluster reads as zero

import { assert } from '../../base/assert.ts';
import { highHalf, lowHalf } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import type { Geometry } from './geometry.ts';
import { entryOffset, isOwned } from './l1-entry.ts';

/** Bit 62, in the upper half. */
export const compressedBit = 0x4000_0000;
/** Bit 0, in the lower half; standard entries of version 3 only. */
export const zeroBit = 1;

/** What a standard entry, or one subcluster of an extended entry, is. */
export type ClusterKind =
  /** No answer here. */
  | 'unallocated'
  /** Extended entries only: a place without content; reads come from below. */
  | 'unallocated-placed'
  | 'data'
  | 'zero'
  /** Reads as zero and keeps its place. */
  | 'zero-placed'
  | 'compressed'
  /** Extended entries only: allocated without a place, or allocated and zero at once (SUB-04). */
  | 'invalid';

export function isCompressed(high: number): boolean {
  return (high & compressedBit) !== 0;
}

/** What decides which places there are. */
export type PlaceRule = Pick<Geometry, 'extendedL2' | 'externalData'>;

/**
 * Whether an uncompressed entry has a host cluster. In the image file none is at offset 0, but in a data file the first
 * is: an entry with it is owned, and, unless it is extended, does not read as zero (DAT-02, T20).
 */
export function hasPlace(high: number, low: number, rule: PlaceRule): boolean {
  if (entryOffset(high, low) !== 0) return true;
  return rule.externalData && isOwned(high) && (rule.extendedL2 || (low & zeroBit) === 0);
}

/** The kind of a standard entry. */
export function standardKind(high: number, low: number, rule: PlaceRule): ClusterKind {
  if ((high & compressedBit) !== 0) return 'compressed';
  const placed = hasPlace(high, low, rule);
  if ((low & zeroBit) !== 0) return placed ? 'zero-placed' : 'zero';
  return placed ? 'data' : 'unallocated';
}

/** The halves of the second word of an extended entry. */
export interface SubclusterBits {
  readonly zeroes: number;
  readonly allocated: number;
}

/** Whether an extended entry's two words go together (SUB-04, SUB-05); judged over all 32 subclusters. */
export function isExtendedEntryValid(high: number, low: number, bits: SubclusterBits, rule: PlaceRule): boolean {
  if (isCompressed(high)) return true;
  if ((bits.zeroes & bits.allocated) !== 0) return false;
  return bits.allocated === 0 || hasPlace(high, low, rule);
}

/** The kind of one subcluster of an extended entry. */
export function subclusterKind(
  high: number,
  low: number,
  bits: SubclusterBits & { readonly index: number },
  rule: PlaceRule,
): ClusterKind {
  if (isCompressed(high)) return 'compressed';
  if (!isExtendedEntryValid(high, low, bits, rule)) return 'invalid';
  const placed = hasPlace(high, low, rule);
  if (((bits.allocated >>> bits.index) & 1) === 1) return 'data';
  if (((bits.zeroes >>> bits.index) & 1) === 1) return placed ? 'zero-placed' : 'zero';
  return placed ? 'unallocated-placed' : 'unallocated';
}

/** A compressed blob: byte offset in the file, and the upper bound of its length in bytes (CMP-02). */
export interface CompressedDescriptor {
  readonly offset: number;
  readonly length: number;
}

/**
 * Decodes a compressed entry. In a broken image the offset reaches 2^61 and is rounded above 2^53: the caller bounds
 * it (LIM-06) before it looks at the length.
 */
export function decodeCompressed(high: number, low: number, geometry: Geometry): CompressedDescriptor {
  const offsetBitsHigh = 70 - geometry.clusterBits - 32;
  const offset = (high & (2 ** offsetBitsHigh - 1)) * 0x1_0000_0000 + low;
  const additionalSectors = (high & 0x3fff_ffff) >>> offsetBitsHigh;
  return { offset, length: (additionalSectors + 1) * sectorSize - (offset % sectorSize) };
}

/** The first byte that no descriptor of this geometry, and no safe number, reaches (CMP-08, LIM-06). */
export function compressedOffsetMax(geometry: Geometry): number {
  return Math.min(2 ** (70 - geometry.clusterBits), 2 ** 53);
}

/** Encodes a blob of `length` bytes at `offset` as the two halves of an entry (CMP-01, CMP-02). */
export function encodeCompressed(
  blob: CompressedDescriptor,
  geometry: Geometry,
): { readonly high: number; readonly low: number } {
  const offsetBitsHigh = 70 - geometry.clusterBits - 32;
  const last = Math.floor((blob.offset + blob.length - 1) / sectorSize);
  const additionalSectors = last - Math.floor(blob.offset / sectorSize);
  assert(blob.length > 0 && additionalSectors < 2 ** (geometry.clusterBits - 8), 'the length fits a descriptor');
  assert(blob.offset >= 0 && blob.offset < compressedOffsetMax(geometry), 'the blob lies where a descriptor can point');
  return {
    high: (compressedBit | (additionalSectors << offsetBitsHigh) | highHalf(blob.offset)) >>> 0,
    low: lowHalf(blob.offset),
  };
}

/** Reserved bits of a standard or extended entry are zero: 1–8 and 56–61, and bit 0 where it has no meaning. */
export function l2ReservedBitsClear(high: number, low: number, zeroFlagAllowed: boolean): boolean {
  const reservedLow = zeroFlagAllowed ? 0x1fe : 0x1ff;
  return (high & 0x3f00_0000) === 0 && (low & reservedLow) === 0;
}
