// Where everything lies in an image that is laid out in one go, without an allocator, and its tables as bytes.
//
//   header | refcount table | refcount blocks | LUKS area | L1 table | L2 tables | data
//      1   |      T         |       B         |           |          |           |        clusters, no gap, each used once
//
// So every refcount up to the last cluster is 1, and the refcount blocks, read one after another, are a row of ones.

import { assert } from '../../base/assert.ts';
import { countMax, divideUp, highHalf, lowHalf, twoPow32 } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import type { Geometry } from '../format/geometry.ts';
import { refcountTableLengthMax } from '../format/header.ts';
import { ownedBit } from '../format/l1-entry.ts';

/** What an image is to hold. */
export interface LayoutCounts {
  readonly l1Entries: number;
  readonly l2Tables: number;
  readonly dataClusters: number;
  /** Bytes of the LUKS area; 0 without. */
  readonly luksLength: number;
}

/** The places of one image; offsets in bytes, counts in clusters unless they say otherwise. */
export interface SequentialLayout extends LayoutCounts {
  readonly clusterSize: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountBlocksOffset: number;
  readonly refcountBlocks: number;
  readonly luksOffset: number;
  readonly l1Offset: number;
  readonly l2Offset: number;
  readonly dataOffset: number;
  /** All clusters of the file. */
  readonly clusters: number;
}

/** A row of entries that point to neighbouring clusters. */
export interface PointerRow {
  /** Where the first entry lies in the target, in bytes. */
  readonly at: number;
  readonly count: number;
  /** The host offset in the first entry, in bytes. */
  readonly offset: number;
  readonly clusterSize: number;
  /** Bytes from one entry to the next. */
  readonly entrySize: number;
  /** Whether the entries say that their cluster has one user only (COPIED, MAP-01, MAP-02). */
  readonly owned: boolean;
}

/**
 * Lays an image out. Undefined when it cannot be: the refcount table would pass its limit (LIM-02) or the file would
 * end beyond 2^53 bytes.
 */
export function layoutOf(geometry: Geometry, counts: LayoutCounts): SequentialLayout | undefined {
  const { clusterSize, refcountsPerBlock } = geometry;
  const l1Clusters = divideUp(counts.l1Entries * 8, clusterSize);
  const luksClusters = divideUp(counts.luksLength, clusterSize);
  const described = 1 + luksClusters + l1Clusters + counts.l2Tables + counts.dataClusters;

  // Refcount structures count themselves: grow both until they describe everything (appendix "refcount metadata").
  let refcountBlocks = 1;
  let refcountTableClusters = 1;
  for (;;) {
    const clusters = described + refcountTableClusters + refcountBlocks;
    if (clusters * clusterSize > countMax) return undefined;
    const blocksNeeded = divideUp(clusters, refcountsPerBlock);
    const tableNeeded = divideUp(blocksNeeded * 8, clusterSize);
    if (tableNeeded * clusterSize > refcountTableLengthMax) return undefined;
    if (blocksNeeded === refcountBlocks && tableNeeded === refcountTableClusters) break;
    refcountBlocks = blocksNeeded;
    refcountTableClusters = tableNeeded;
  }

  const refcountBlocksOffset = (1 + refcountTableClusters) * clusterSize;
  const luksOffset = refcountBlocksOffset + refcountBlocks * clusterSize;
  const l1Offset = luksOffset + luksClusters * clusterSize;
  const l2Offset = l1Offset + l1Clusters * clusterSize;
  return {
    ...counts,
    clusterSize,
    refcountTableOffset: clusterSize,
    refcountTableClusters,
    refcountBlocksOffset,
    refcountBlocks,
    luksOffset,
    l1Offset,
    l2Offset,
    dataOffset: l2Offset + counts.l2Tables * clusterSize,
    clusters: described + refcountTableClusters + refcountBlocks,
  };
}

/** Fills `target` with the refcount table from entry `first` on; whole entries (REF-01). */
export function fillRefcountTable(layout: SequentialLayout, first: number, target: Uint8Array): void {
  assert(target.length % 8 === 0, 'a refcount table is filled by whole entries');
  target.fill(0);
  fillPointers(target, {
    at: 0,
    count: Math.max(0, Math.min(target.length / 8, layout.refcountBlocks - first)),
    offset: layout.refcountBlocksOffset + first * layout.clusterSize,
    clusterSize: layout.clusterSize,
    entrySize: 8,
    owned: false,
  });
}

/**
 * Fills `target` with the refcount blocks, joined, from byte `from` on: 1 for each of the first `used` clusters, 0 after
 * them (REF-02, REF-03).
 */
export function fillRefcounts(
  target: Uint8Array,
  options: { readonly from: number; readonly refcountOrder: number; readonly used: number },
): void {
  const { from, refcountOrder, used } = options;
  if (refcountOrder < 3) {
    fillNarrowRefcounts(target, options);
    return;
  }
  // Big-endian: the last byte of each count is its 1.
  const width = 2 ** (refcountOrder - 3);
  target.fill(0);
  const first = Math.floor(from / width);
  const end = Math.min(target.length, used * width - from);
  for (let at = first * width + width - 1 - from; at < end; at += width) target[at] = 1;
}

/** Counts of 1, 2 or 4 bits, packed from the lowest bits of each byte. */
function fillNarrowRefcounts(
  target: Uint8Array,
  options: { readonly from: number; readonly refcountOrder: number; readonly used: number },
): void {
  const { from, refcountOrder, used } = options;
  const width = 2 ** refcountOrder;
  const perByte = 8 / width;
  const ones = 0xff / (2 ** width - 1);
  const wholeBytes = Math.floor(used / perByte);
  const rest = used % perByte;
  const wholeEnd = Math.min(target.length, Math.max(0, wholeBytes - from));
  target.fill(ones, 0, wholeEnd);
  target.fill(0, wholeEnd);
  const restAt = wholeBytes - from;
  if (rest > 0 && restAt >= 0 && restAt < target.length) target[restAt] = ones & (2 ** (rest * width) - 1);
}

/** Writes a row of entries into `target`; the bytes between entries stay as they are. */
export function fillPointers(target: Uint8Array, row: PointerRow): void {
  const view = viewOf(target);
  const owned = row.owned ? ownedBit : 0;
  const end = row.at + row.count * row.entrySize;
  let high = highHalf(row.offset);
  let low = lowHalf(row.offset);
  for (let at = row.at; at < end; at += row.entrySize) {
    view.setUint32(at, (high | owned) >>> 0);
    view.setUint32(at + 4, low);
    low += row.clusterSize;
    if (low >= twoPow32) {
      low -= twoPow32;
      high += 1;
    }
  }
}
