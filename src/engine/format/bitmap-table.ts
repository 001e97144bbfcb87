// Tables of persistent bitmaps: which bits lie in which cluster (section "Bitmaps"; BMP-03…BMP-05).
//
//   bits      |---- cluster size x 8 ----|---- … ----|-- rest, padded with zeroes --|
//   entries         offset, or all zero (0), or all one (1)

import { divideUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { viewOf, writeUint64 } from './big-endian.ts';
import { entryOffset } from './l1-entry.ts';

export const bitmapTableEntrySize = 8;
/** BMP-05: bytes that the data of one bitmap may take. */
export const bitmapLengthMax = 512 * MiB;
/** BMP-03: all bits of the entry's stretch are 0. */
export const allZeroEntry = 0;
/** BMP-03: all bits of the entry's stretch are 1. QEMU reads it and does not write it. */
export const allOneEntry = 1;

/** BMP-03: bit 0 only without an offset; bits 1–8 and 56–63 are reserved; offsets start on a cluster. */
export function isBitmapTableEntrySound(high: number, low: number, clusterSize: number): boolean {
  if ((high & 0xff00_0000) !== 0 || (low & 0x1fe) !== 0) return false;
  const offset = entryOffset(high, low);
  return offset === 0 || (offset % clusterSize === 0 && (low & 1) === 0);
}

/** The entries of a table: {@link allZeroEntry}, {@link allOneEntry}, or a host offset; undefined when one breaks the rules. */
export function decodeBitmapTable(bytes: Uint8Array, clusterSize: number): Float64Array | undefined {
  const view = viewOf(bytes);
  const entries = new Float64Array(bytes.length / bitmapTableEntrySize);
  for (let index = 0; index < entries.length; index += 1) {
    const high = view.getUint32(index * bitmapTableEntrySize);
    const low = view.getUint32(index * bitmapTableEntrySize + 4);
    if (!isBitmapTableEntrySound(high, low, clusterSize)) return undefined;
    const offset = entryOffset(high, low);
    if (!Number.isSafeInteger(offset)) return undefined;
    entries[index] = offset === 0 ? low & 1 : offset;
  }
  return entries;
}

export function encodeBitmapTable(entries: Float64Array): Uint8Array {
  const bytes = new Uint8Array(entries.length * bitmapTableEntrySize);
  const view = viewOf(bytes);
  entries.forEach((entry, index) => {
    writeUint64(view, index * bitmapTableEntrySize, entry);
  });
  return bytes;
}

/** How many bits a disk has at a granularity. */
export function bitmapBitsFor(virtualSize: number, granularityBits: number): number {
  return divideUp(virtualSize, 2 ** granularityBits);
}

/** How many entries the table of a bitmap has, which QEMU wants exactly. */
export function bitmapTableEntriesFor(bits: number, clusterSize: number): number {
  return divideUp(divideUp(bits, 8), clusterSize);
}
