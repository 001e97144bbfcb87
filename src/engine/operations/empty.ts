// Drops all guest data of an image, so that the layer below shows through (OPS-24).
//
//   empty L1 table elsewhere ─ flush ─ header names it ─ flush                          from here on the image is empty
//   then, where only the active tree and the tables have clusters: what is left is counted anew
//          refcount table without the blocks that count nothing any more ─ flush ─ the others ─ flush ─ file cut
//   or     what the old tree names is dropped, reference by reference
//
// The first way takes hardly longer for a full image than for an empty one. Counts only fall in it, after the last
// reference is durably gone, so that a crash at any moment leaves leaks at most: it needs no dirty bit.

import type { ByteSpan } from '../../base/byte-span.ts';
import { GiB, MiB } from '../../base/units.ts';
import { clusterAt } from '../allocation/refcount-growth.ts';
import { viewOf } from '../format/big-endian.ts';
import { hostOffset } from '../format/offsets.ts';
import { writeRefcount } from '../format/refcount-block.ts';
import type { WriteParts } from '../image-parts.ts';
import type { MappingTables } from '../metadata/mapping-tables.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { switchL1 } from './l1-switch.ts';
import { runOf } from './open.ts';
import { toTheEnd } from './steps.ts';
import type { Progress, Steps } from './steps.ts';
import { dropTree, treeOver } from './tree.ts';

/**
 * Size, snapshots and what lies below stay. A fault before the switch, `image-full` for one, leaves the image as it was.
 * `reload` reads the tables of the file again, and gives the parts that hold from then on.
 */
export function* empty(parts: WriteParts, reload: () => WriteParts): Steps<void> {
  const { header, bitmaps, mapping, overlap, geometry } = parts;
  bitmaps.mark({ offset: 0, length: header.virtualSize });
  const oldTree = treeOver(parts, mapping.place.offset, mapping.copyOfL1(mapping.l1Entries));
  const oldL1 = switchL1(parts, new Uint8Array(mapping.l1Entries * 8));
  for (const table of oldTree.l2Tables()) overlap.release(runOf(table, 1, geometry.clusterSize), 'activeL2');
  parts.unpacked.forgetAll();
  yield* toTheEnd(hasTreeOnly(parts) ? countAnew(parts, reload) : dropOld(parts, { tree: oldTree, l1: oldL1 }));
}

/** Whether all clusters but those of the tables are the active tree's. */
function hasTreeOnly({ header, snapshots }: WriteParts): boolean {
  const { bitmaps, encryption, unknown } = header.extensions;
  return (
    snapshots.count === 0 &&
    bitmaps === undefined &&
    encryption === undefined &&
    unknown.length === 0 &&
    !header.hasDataFile
  );
}

function* dropOld(
  parts: WriteParts,
  old: { readonly tree: MappingTables; readonly l1: ClusterRun | undefined },
): Generator<Progress, void, undefined> {
  parts.order.flush();
  yield* clearDataFile(parts);
  yield* dropTree(parts, old.tree, { l1Start: 0 });
  if (old.l1 !== undefined) parts.order.drop(old.l1, { punch: true });
  parts.order.settle();
}

/** How much of a data file one step gives back. */
const clearLengthMax = 1 * GiB;

/** The entries that named the bytes are durably gone: before, a crash would have found zeroes where the data was. */
function* clearDataFile({ dataFile, header }: WriteParts): Generator<Progress, void, undefined> {
  const total = header.virtualSize;
  for (let offset = 0; dataFile !== undefined && offset < total; offset += clearLengthMax) {
    dataFile.clear({ offset, length: Math.min(clearLengthMax, total - offset) }, { keep: false });
    yield { done: offset, total };
  }
}

/** Leaves header, refcount table, L1 table, and the refcount blocks that count those or each other. */
function* countAnew(parts: WriteParts, reload: () => WriteParts): Generator<Progress, void, undefined> {
  parts.order.settle();
  const after = yield* keepUsed(parts, reload);
  if (!lowerL1(after)) {
    yield* cutFile(after);
    return;
  }
  after.order.settle();
  yield* cutFile(yield* keepUsed(after, reload));
}

function* keepUsed(parts: WriteParts, reload: () => WriteParts): Generator<Progress, WriteParts, undefined> {
  const { file } = parts;
  try {
    const used = usedClusters(parts);
    writeTable(parts, used.blocks);
    file.flush();
    yield* writeBlocks(parts, used);
    file.flush();
  } catch (error) {
    reload();
    throw error;
  }
  return reload();
}

/** What an empty image uses. */
interface Used {
  readonly runs: readonly ClusterRun[];
  /** The refcount blocks that count `runs` and themselves, by their index in the table. */
  readonly blocks: ReadonlySet<number>;
}

function usedClusters({ refcounts, geometry, mapping }: WriteParts): Used {
  const { clusterSize, refcountsPerBlock } = geometry;
  const { offset, entries } = mapping.place;
  const runs = [runOf(0, clusterSize, clusterSize), refcounts.tableRun];
  if (entries > 0) runs.push(runOf(offset, entries * 8, clusterSize));
  const blocks = new Set<number>();
  for (const run of runs) {
    const last = Math.floor((run.first + run.count - 1) / refcountsPerBlock);
    for (let index = Math.floor(run.first / refcountsPerBlock); index <= last; index += 1) {
      if (blocks.has(index)) continue;
      blocks.add(index);
      // The loop comes to it, and counts it with its own block.
      runs.push({ first: clusterAt(refcounts.blockOffset(index), geometry), count: 1 });
    }
  }
  return { runs, blocks };
}

/** How much one write of the table brings. */
const pieceLengthMax = 1 * MiB;

/** Takes out the blocks that count nothing any more; what they counted, themselves included, is leaked until the end. */
function writeTable({ refcounts, file, geometry }: WriteParts, blocks: ReadonlySet<number>): void {
  const { first, count } = refcounts.tableRun;
  const table = refcounts.grownTable(count).subarray(0, refcounts.blockEnd * 8);
  for (let index = 0; index * 8 < table.length; index += 1) {
    if (!blocks.has(index)) table.fill(0, index * 8, (index + 1) * 8);
  }
  for (let at = 0; at < table.length; at += pieceLengthMax) {
    file.writeAt(hostOffset(first * geometry.clusterSize + at), table.subarray(at, at + pieceLengthMax));
  }
}

function* writeBlocks(parts: WriteParts, used: Used): Generator<Progress, void, undefined> {
  const { refcounts, file, geometry } = parts;
  const { clusterSize, refcountsPerBlock, refcountOrder } = geometry;
  let done = 0;
  for (const index of used.blocks) {
    const block = new Uint8Array(clusterSize);
    const start = index * refcountsPerBlock;
    for (const { first, count } of used.runs) {
      const end = Math.min(first + count, start + refcountsPerBlock);
      for (let cluster = Math.max(first, start); cluster < end; cluster += 1) {
        writeRefcount(viewOf(block), refcountOrder, cluster - start, 1);
      }
    }
    file.writeAt(refcounts.blockOffset(index), block);
    done += 1;
    yield { done, total: used.blocks.size };
  }
}

/** The L1 table was put where there was room beside everything else; now there may be room further down: it is moved. */
function lowerL1(parts: WriteParts): boolean {
  const { mapping, geometry, order } = parts;
  const { offset, entries } = mapping.place;
  if (entries === 0) return false;
  const { first, count } = runOf(offset, entries * 8, geometry.clusterSize);
  if (firstGap(usedRuns(parts), count) > first) return false;
  const old = switchL1(parts, mapping.copyOfL1(entries));
  if (old !== undefined) order.drop(old, { punch: true });
  return true;
}

/** In the order of the file. */
function usedRuns(parts: WriteParts): readonly ClusterRun[] {
  return usedClusters(parts).runs.toSorted((one, other) => one.first - other.first);
}

/** Where the first `count` clusters in a row begin that nobody uses. */
function firstGap(runs: readonly ClusterRun[], count: number): number {
  let end = 0;
  for (const run of runs) {
    if (run.first - end >= count) break;
    end = Math.max(end, run.first + run.count);
  }
  return end;
}

/** How much of the file is given back in one step. */
const punchLengthMax = 1 * GiB;

/** The file ends with its last used cluster, and what is free before goes back to the file system: no hurry with either. */
function* cutFile(parts: WriteParts): Generator<Progress, void, undefined> {
  const { file, geometry } = parts;
  const { clusterSize } = geometry;
  let end = 0;
  for (const run of usedRuns(parts)) {
    yield* punch(parts, { offset: end, length: run.first * clusterSize - end });
    end = Math.max(end, (run.first + run.count) * clusterSize);
  }
  if (end < file.size) file.resize(end);
}

function* punch({ file }: WriteParts, gap: ByteSpan): Generator<Progress, void, undefined> {
  for (let done = 0; done < gap.length; done += punchLengthMax) {
    file.punch(hostOffset(gap.offset + done), Math.min(punchLengthMax, gap.length - done));
    yield { done, total: gap.length };
  }
}
