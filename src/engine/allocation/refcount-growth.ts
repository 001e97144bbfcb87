// More refcount blocks, and a longer refcount table: the one algorithm that must describe itself while it moves.
//
// A cluster `at` is wanted that no block counts, nor any cluster behind it. New blocks go right there, so that they count
// themselves; behind them the new table, if the old one is too short; behind that `count` clusters are promised free:
//
//   … used, counted ………│ block │ block │ table … │ promised, free …………… │
//                        at      at+1    at+blocks  at+blocks+table          all of it counted by the new blocks
//
// How many blocks are needed depends on how many clusters blocks and table take themselves: a fixpoint, reached upwards.
//
//   blocks written (they count themselves and the table) ─ flush ─ table entries          the table is long enough
//   blocks and whole new table written ─ flush ─ header names the new table ─ next flush ─ old table dropped
//
// A crash before the last write of either line leaves bytes that nothing names. (REF-08, REF-09, ORD-07, ORD-08, T42–T44)

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { divideUp, highHalf, lowHalf } from '../../base/integers.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf } from '../format/big-endian.ts';
import type { Geometry } from '../format/geometry.ts';
import { refcountTableLengthMax } from '../format/header.ts';
import { hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostCluster } from '../format/offsets.ts';
import { writeRefcount } from '../format/refcount-block.ts';
import type { HeaderArea } from '../metadata/header-area.ts';
import { hostOffsetMax } from '../metadata/host-limits.ts';
import type { ClusterRun, RefcountTables } from '../metadata/refcount-tables.ts';
import type { SliceCache } from '../metadata/slice-cache.ts';
import type { WriteOrder } from '../metadata/write-order.ts';
import type { OverlapCheck } from './overlap-check.ts';

export interface GrowthParts {
  readonly file: ByteFile;
  readonly geometry: Geometry;
  readonly header: HeaderArea;
  readonly refcounts: RefcountTables;
  readonly refcountCache: SliceCache;
  readonly order: WriteOrder;
  readonly overlap: OverlapCheck;
}

interface Plan {
  readonly blocks: number;
  /** Clusters of the new table; 0 when the old one has room. */
  readonly tableClusters: number;
}

/** REF-09: a table that grows, grows by half. */
const tableHeadroom = 1.5;

/**
 * Makes clusters from `at` on countable: `at` has no block. When no later cluster has one either, at least `count`
 * clusters in a row become free and counted; else one block is added and the caller looks again. Faults `image-full`.
 */
export function growRefcounts(parts: GrowthParts, at: HostCluster, count: number): void {
  const { geometry, refcounts } = parts;
  const firstIndex = Math.floor(at / geometry.refcountsPerBlock);
  assert(!refcounts.hasBlock(firstIndex), 'a cluster without a block is to be counted');
  const atTheEnd = firstIndex >= refcounts.blockEnd;
  const plan = atTheEnd ? planGrowth(parts, at, count) : { blocks: 1, tableClusters: 0 };
  const end = at + plan.blocks + plan.tableClusters + count;
  if (end * geometry.clusterSize > hostOffsetMax) throw imageFull(end, geometry);
  parts.overlap.admitAllocation(ownRun(at, plan));
  writeBlocks(parts, at, plan);
  if (plan.tableClusters === 0) enterBlocks(parts, at, plan);
  else moveTable(parts, at, plan);
}

/** What the blocks and the table take for themselves. */
function ownRun(at: HostCluster, plan: Plan): ClusterRun {
  return { first: at, count: plan.blocks + plan.tableClusters };
}

function claimOwn(overlap: OverlapCheck, at: HostCluster, plan: Plan): void {
  overlap.claim({ first: at, count: plan.blocks }, 'refcountBlock');
  overlap.claim({ first: hostCluster(at + plan.blocks), count: plan.tableClusters }, 'refcountTable');
}

function planGrowth(parts: GrowthParts, at: HostCluster, count: number): Plan {
  const { geometry, refcounts } = parts;
  const { refcountsPerBlock, clusterSize } = geometry;
  const firstIndex = Math.floor(at / refcountsPerBlock);
  let blocks = 1;
  let tableClusters = 0;
  for (;;) {
    const last = at + blocks + tableClusters + count - 1;
    const blocksNeeded = Math.floor(last / refcountsPerBlock) - firstIndex + 1;
    const entriesNeeded = firstIndex + Math.max(blocks, blocksNeeded);
    const clustersNeeded =
      entriesNeeded <= refcounts.entryCount ? 0 : tableClustersFor(entriesNeeded, clusterSize, last, geometry);
    if (blocksNeeded <= blocks && clustersNeeded <= tableClusters) return { blocks, tableClusters };
    blocks = Math.max(blocks, blocksNeeded);
    tableClusters = Math.max(tableClusters, clustersNeeded);
  }
}

function tableClustersFor(entries: number, clusterSize: number, last: number, geometry: Geometry): number {
  const clustersMin = divideUp(entries * 8, clusterSize);
  if (clustersMin * clusterSize > refcountTableLengthMax) throw imageFull(last + 1, geometry);
  const clustersMax = Math.floor(refcountTableLengthMax / clusterSize);
  return Math.min(clustersMax, Math.ceil(clustersMin * tableHeadroom));
}

/** The new blocks as one piece; the counts of blocks and table in them are 1. */
function writeBlocks(parts: GrowthParts, at: HostCluster, plan: Plan): void {
  const { geometry, file } = parts;
  const { clusterSize, refcountsPerBlock, refcountOrder } = geometry;
  const firstIndex = Math.floor(at / refcountsPerBlock);
  const bytes = new Uint8Array(plan.blocks * clusterSize);
  const view = viewOf(bytes);
  const start = at - firstIndex * refcountsPerBlock;
  for (let index = 0; index < plan.blocks + plan.tableClusters; index += 1) {
    // Blocks are contiguous, and so are the counts in them: one index runs through all.
    writeRefcount(view, refcountOrder, start + index, 1);
  }
  file.writeAt(hostOffset(at * clusterSize), bytes);
  // What the cache still knows of this place belonged to a block that is gone (T47).
  parts.refcountCache.forget(hostOffset(at * clusterSize), bytes.length);
}

/** The blocks are durable before the order's next stage writes the entries that name them (ORD-07). */
function enterBlocks(parts: GrowthParts, at: HostCluster, plan: Plan): void {
  const { geometry, refcounts, order, overlap } = parts;
  const firstIndex = Math.floor(at / geometry.refcountsPerBlock);
  order.beforeRaise();
  for (let index = 0; index < plan.blocks; index += 1) {
    refcounts.setBlock(firstIndex + index, hostOffset((at + index) * geometry.clusterSize));
  }
  claimOwn(overlap, at, plan);
}

function moveTable(parts: GrowthParts, at: HostCluster, plan: Plan): void {
  const { file, geometry, header, refcounts, order, overlap } = parts;
  const { clusterSize, refcountsPerBlock } = geometry;
  const offset = hostOffset((at + plan.blocks) * clusterSize);
  const entries = refcounts.grownTable(plan.tableClusters);
  const view = viewOf(entries);
  const firstIndex = Math.floor(at / refcountsPerBlock);
  for (let index = 0; index < plan.blocks; index += 1) {
    const block = (at + index) * clusterSize;
    view.setUint32((firstIndex + index) * 8, highHalf(block));
    view.setUint32((firstIndex + index) * 8 + 4, lowHalf(block));
  }
  file.writeAt(offset, entries);
  // The switch below is durable before the next L2 entry, which waits for a flush from here on.
  order.beforeRaise();
  // Blocks, table and the blocks of entries that were not written yet are durable before the header names them.
  file.flush();
  header.switchRefcountTable({ offset, clusters: plan.tableClusters });
  const before = refcounts.moveTable({ offset, clusters: plan.tableClusters, entries });
  overlap.release(before, 'refcountTable');
  claimOwn(overlap, at, plan);
  order.drop(before, { punch: true });
}

function imageFull(clusters: number, geometry: Geometry): Fault {
  return new Fault('image-full', { required: clusters * geometry.clusterSize });
}

export function clusterAt(offset: number, geometry: Geometry): HostCluster {
  return hostCluster(Math.floor(offset / geometry.clusterSize));
}
