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
import { entryOffset } from './l1-entry.ts';

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

/** The kind of a standard entry. */
export function standardKind(high: number, low: number): ClusterKind {
  if ((high & compressedBit) !== 0) return 'compressed';
  const placed = entryOffset(high, low) !== 0;
  if ((low & zeroBit) !== 0) return placed ? 'zero-placed' : 'zero';
  return placed ? 'data' : 'unallocated';
}

/** Whether an extended entry's two words go together (SUB-04, SUB-05); judged over all 32 subclusters. */
export function isExtendedEntryValid(high: number, low: number, zeroes: number, allocated: number): boolean {
  if (isCompressed(high)) return true;
  if ((zeroes & allocated) !== 0) return false;
  return allocated === 0 || entryOffset(high, low) !== 0;
}

/** The kind of one subcluster of an extended entry. `zeroes` and `allocated`: the halves of the second word. */
export function subclusterKind(
  high: number,
  low: number,
  bits: { readonly zeroes: number; readonly allocated: number; readonly index: number },
): ClusterKind {
  if (isCompressed(high)) return 'compressed';
  if (!isExtendedEntryValid(high, low, bits.zeroes, bits.allocated)) return 'invalid';
  const placed = entryOffset(high, low) !== 0;
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
