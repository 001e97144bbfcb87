// Counts with another width: all refcount structures made anew beside the old ones (AMD-03, REF-12, ORD-12).
//
//   1. every count fits the new width, or nothing is begun
//   2. clusters are allocated for a block per stretch with counts, and for the table; they are counted themselves, and so
//      may need a further block: repeated until nothing is added
//   3. blocks and table are written ─ flush; nothing names them yet
//   4. whoever asked for it switches width and table in one sector of the header, and drops the old structures afterwards,
//      which the new ones still count

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import { viewOf, writeUint64 } from '../format/big-endian.ts';
import { geometryOf } from '../format/geometry.ts';
import type { Geometry } from '../format/geometry.ts';
import { refcountTableLengthMax } from '../format/header.ts';
import { hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { writeRefcount } from '../format/refcount-block.ts';
import type { WriteParts } from '../image-parts.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import type { Pace } from './pace.ts';
import type { Progress } from './steps.ts';

const tableEntrySize = 8;

/** New structures, complete and durable, that the header does not name yet. */
export interface NewRefcounts {
  readonly tableOffset: HostOffset;
  readonly tableClusters: number;
  /** The old table and the old blocks. */
  readonly before: readonly ClusterRun[];
}

/** What was allocated so far: whoever gives up undoes it. */
export type Allocated = Set<ClusterRun>;

/** What the new structures are made for and from. */
export interface WidthWish {
  readonly refcountOrder: number;
  readonly pace: Pace;
}

/** Fault `refcount-overflow` {hostOffset, refcount, refcountBits} for a count that the new width cannot hold. */
export function* requireFit(parts: WriteParts, wish: WidthWish): Generator<Progress, void, undefined> {
  const { refcountBits, refcountMax, clusterSize } = widened(parts.geometry, wish);
  for (const run of countedRuns(parts)) {
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      const refcount = parts.refcounts.get(hostCluster(cluster));
      if (refcount <= refcountMax) continue;
      throw new Fault('refcount-overflow', { hostOffset: cluster * clusterSize, refcount, refcountBits });
    }
    const pause = wish.pace.spend(clusterSize);
    if (pause !== undefined) yield pause;
  }
}

/** Makes them, where all counts fit. From then on no count may change. Faults `image-full` and those of the file. */
export function* makeRefcounts(
  parts: WriteParts,
  wish: WidthWish & { readonly allocated: Allocated },
): Generator<Progress, NewRefcounts, undefined> {
  const geometry = widened(parts.geometry, wish);
  const work = { parts, geometry, allocated: wish.allocated, pace: wish.pace };
  const layout = yield* layOut(work);
  // The old counts do not change any more: what they say now is what the new ones say.
  parts.order.settle();
  const before = structuresOf(parts);
  yield* writeBlocks(work, layout.blocks);
  const tableOffset = hostOffset(layout.table.first * geometry.clusterSize);
  parts.file.writeAt(tableOffset, tableOf(layout, geometry));
  parts.file.flush();
  return { tableOffset, tableClusters: layout.table.count, before };
}

function widened({ clusterBits, extendedL2 }: Geometry, { refcountOrder }: WidthWish): Geometry {
  return geometryOf({ clusterBits, extendedL2, refcountOrder });
}

interface Work {
  readonly parts: WriteParts;
  /** With the new width. */
  readonly geometry: Geometry;
  readonly allocated: Allocated;
  readonly pace: Pace;
}

interface Layout {
  /** By index in the new table. */
  readonly blocks: ReadonlyMap<number, HostOffset>;
  readonly table: ClusterRun;
}

function* layOut(work: Work): Generator<Progress, Layout, undefined> {
  const { parts, geometry, allocated, pace } = work;
  const { clusterSize } = geometry;
  const blocks = new Map<number, HostOffset>();
  let table: ClusterRun | undefined;
  let highest = 0;
  for (;;) {
    let isSettled = true;
    for (const index of neededBlocks(parts, geometry)) {
      const pause = pace.spend(clusterSize);
      if (pause !== undefined) yield pause;
      if (index === undefined || blocks.has(index)) continue;
      const run = allocate(work, 1);
      blocks.set(index, hostOffset(run.first * clusterSize));
      highest = Math.max(highest, index);
      isSettled = false;
    }
    const needed = divideUp((highest + 1) * tableEntrySize, clusterSize);
    if (needed * clusterSize > refcountTableLengthMax) {
      throw new Fault('image-full', { required: (highest + 1) * geometry.refcountsPerBlock * clusterSize });
    }
    if (table === undefined || table.count < needed) {
      if (table !== undefined) {
        parts.allocator.undo(table);
        allocated.delete(table);
      }
      table = allocate(work, needed);
      isSettled = false;
    }
    if (isSettled) return { blocks, table };
  }
}

function allocate({ parts, allocated }: Work, count: number): ClusterRun {
  const run = parts.allocator.allocateRun(count);
  allocated.add(run);
  return run;
}

/** Blocks of the new width with something to count, from the lowest; undefined for a stretch without. */
function* neededBlocks(parts: WriteParts, geometry: Geometry): Generator<number | undefined, void, undefined> {
  const { refcountsPerBlock } = geometry;
  for (const run of countedRuns(parts)) {
    const end = run.first + run.count;
    for (let at: number = run.first; at < end;) {
      const index = Math.floor(at / refcountsPerBlock);
      const stretchEnd = Math.min(end, (index + 1) * refcountsPerBlock);
      while (at < stretchEnd && parts.refcounts.get(hostCluster(at)) === 0) at += 1;
      yield at < stretchEnd ? index : undefined;
      at = stretchEnd;
    }
  }
}

/** The clusters of each old block. */
function* countedRuns({ refcounts, geometry }: WriteParts): Generator<ClusterRun, void, undefined> {
  const { refcountsPerBlock } = geometry;
  for (let index = 0; index < refcounts.blockEnd; index += 1) {
    if (refcounts.hasBlock(index)) yield { first: hostCluster(index * refcountsPerBlock), count: refcountsPerBlock };
  }
}

function structuresOf({ refcounts, geometry }: WriteParts): readonly ClusterRun[] {
  const runs: ClusterRun[] = [refcounts.tableRun];
  for (let index = 0; index < refcounts.blockEnd; index += 1) {
    if (!refcounts.hasBlock(index)) continue;
    runs.push({ first: hostCluster(refcounts.blockOffset(index) / geometry.clusterSize), count: 1 });
  }
  return runs;
}

function* writeBlocks(work: Work, blocks: Layout['blocks']): Generator<Progress, void, undefined> {
  const { parts, geometry, pace } = work;
  const { clusterSize, refcountsPerBlock, refcountOrder } = geometry;
  const block = new Uint8Array(clusterSize);
  const view = viewOf(block);
  for (const [index, offset] of blocks) {
    block.fill(0);
    for (let at = 0; at < refcountsPerBlock; at += 1) {
      const count = parts.refcounts.get(hostCluster(index * refcountsPerBlock + at));
      if (count > 0) writeRefcount(view, refcountOrder, at, count);
    }
    parts.overlap.admitData(offset, clusterSize);
    parts.file.writeAt(offset, block);
    const pause = pace.spend(clusterSize);
    if (pause !== undefined) yield pause;
  }
}

function tableOf({ blocks, table }: Layout, { clusterSize }: Geometry): Uint8Array {
  const bytes = new Uint8Array(table.count * clusterSize);
  const view = viewOf(bytes);
  for (const [index, offset] of blocks) {
    assert((index + 1) * tableEntrySize <= bytes.length, 'the table has room for every block');
    writeUint64(view, index * tableEntrySize, offset);
  }
  return bytes;
}
