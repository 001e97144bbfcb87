// Makes the file of an image smaller: clusters of zeroes go, what lies at its end moves to free places before, the end is cut.
//
//   a move    the bytes ─ flush ─ the entry names the new place ─ flush ─ the old place is given back
//
// Every move is an ordinary change in the write order, so that a crash at any moment leaves leaks at most. What moves are
// data and blobs that only the active tree uses, its L2 tables and its L1 table; the rest keeps its place, and free
// clusters before it go back to the file system as holes.

import { alignDown, alignUp, divideUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { clusterAt } from '../allocation/refcount-growth.ts';
import { read } from '../data/reader.ts';
import { zeroRuns } from '../data/zero-detection.ts';
import { drain, zeroWhole } from '../data/zeroing.ts';
import { guestOffset, hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { isCompressed } from '../format/l2-entry.ts';
import type { WriteParts } from '../image-parts.ts';
import { moveBlob } from '../mapping/blob-mapper.ts';
import { blobOf, isOwnedPlace, ownedEntry, placeOf, readEntry } from '../mapping/l2-entries.ts';
import { lookup } from '../mapping/lookup.ts';
import { setEntry } from '../mapping/mapper.ts';
import type { Place } from '../mapping/mapper.ts';
import { dropReferences } from '../mapping/references.ts';
import { switchL1 } from './l1-switch.ts';
import { runOf } from './open.ts';
import { cutFile } from './resize.ts';
import { partOf } from './steps.ts';
import type { Progress, Steps } from './steps.ts';

export interface Compacted {
  /** How many bytes fewer the file occupies. */
  readonly reclaimedBytes: number;
}

/** What one step looks at. */
const stepLength = 1 * MiB;
const clustersPerStep = 100_000;
const entriesPerStep = 1024;

/** The guest's bytes stay as they are. Faults of tables and file; what is done by then stays done. */
export function* compact(parts: WriteParts, wish: { readonly detectZeroes: boolean }): Steps<Compacted> {
  const { file, order } = parts;
  order.settle();
  const before = file.allocatedSize;
  // A version 2 overlay has no entry for zeroes (MAP-05).
  const looksForZeroes = wish.detectZeroes && (parts.version === 3 || parts.backing === undefined);
  // The disk is gone through once for zeroes, if they are looked for, and once for what moves; each is half of the way.
  const total = parts.header.virtualSize;
  const half = looksForZeroes ? Math.floor(total / 2) : 0;
  if (looksForZeroes) yield* partOf(dropZeroes(parts), { from: 0, to: half, total });
  order.settle();
  // Nothing of the disk is done by counting, and it does not take long beside what follows.
  const used = yield* partOf(countUsed(parts), { from: half, to: half, total });
  yield* partOf(moveEnd(parts, used), { from: half, to: total, total });
  order.settle();
  yield* partOf(cutFile(parts), { from: total, to: total, total });
  file.flush();
  return { reclaimedBytes: Math.max(0, before - file.allocatedSize) };
}

/** Makes whole clusters that read as zeroes zero in their entries, and takes the places of those that are. */
function* dropZeroes(parts: WriteParts): Generator<Progress, void, undefined> {
  const { clusterSize } = parts.geometry;
  const { virtualSize } = parts.header;
  let at = 0;
  while (at < virtualSize) {
    const rest = virtualSize - at;
    const extent = lookup(parts, guestOffset(at), { lengthMax: Math.min(Math.max(stepLength, clusterSize), rest) });
    const isBare = extent.kind === 'absent' || (extent.kind === 'zero' && extent.host === undefined);
    // Where there are no clusters there is nothing to look at: it is passed over in one go, up to the end of its table.
    const end = at + (isBare ? lookup(parts, guestOffset(at), { lengthMax: rest }) : extent).length;
    const start = alignUp(at, clusterSize);
    const wholeEnd = end === virtualSize ? end : alignDown(end, clusterSize);
    at = end;
    if (wholeEnd > start) {
      if (extent.kind === 'zero' && extent.host !== undefined) makeZero(parts, start, wholeEnd);
      if (extent.kind === 'data' || extent.kind === 'compressed') findZeroes(parts, start, wholeEnd);
    }
    parts.order.relieve();
    yield { done: at, total: virtualSize };
  }
}

function findZeroes(parts: WriteParts, start: number, end: number): void {
  const bytes = new Uint8Array(end - start);
  read(parts, guestOffset(start), bytes);
  const { clusterSize } = parts.geometry;
  for (const run of zeroRuns(bytes, { start: guestOffset(start), clusterSize })) {
    if (run.isZero) makeZero(parts, start + run.from, start + run.end);
  }
}

function makeZero(parts: WriteParts, start: number, end: number): void {
  drain(zeroWhole(parts, { offset: start, length: end - start }, { unmap: true }));
}

/** How many clusters of the file are in use: so many it could have. */
function* countUsed({ file, geometry, refcounts }: WriteParts): Steps<number> {
  const count = divideUp(file.size, geometry.clusterSize);
  let used = 0;
  for (let cluster = 0; cluster < count; cluster += 1) {
    if (refcounts.get(hostCluster(cluster)) > 0) used += 1;
    if (cluster % clustersPerStep === clustersPerStep - 1) yield { done: cluster, total: count };
  }
  return used;
}

/** Moves what the active tree alone has in clusters from `end` on to free ones before. */
function* moveEnd(parts: WriteParts, end: number): Generator<Progress, void, undefined> {
  const { geometry, mapping } = parts;
  const total = parts.header.virtualSize;
  // The last tables may reach beyond the disk, and a VM state lies there.
  const progressAt = (l1Index: number, l2Index: number): Progress => ({
    done: Math.min(l1Index * geometry.l2Span + l2Index * geometry.clusterSize, total),
    total,
  });
  for (let l1Index = 0; l1Index < mapping.l1Entries; l1Index += 1) {
    const table = mapping.l2Table(l1Index);
    // What a snapshot shares stays where it is: every one of its entries would have to follow.
    if (table === undefined || !mapping.ownsL2Table(l1Index)) continue;
    for (let l2Index = 0; l2Index < geometry.l2Entries; l2Index += 1) {
      const hasMoved = moveOne(parts, { place: { table, l2Index }, l1Index, end });
      if (!hasMoved && (l2Index + 1) % entriesPerStep !== 0) continue;
      parts.order.relieve();
      yield progressAt(l1Index, l2Index + 1);
    }
    if (clusterAt(table, geometry) >= end) moveTable(parts, l1Index, table, end);
    yield progressAt(l1Index + 1, 0);
  }
  moveL1(parts, end);
}

function moveOne(
  parts: WriteParts,
  one: { readonly place: Place; readonly l1Index: number; readonly end: number },
): boolean {
  const { geometry, mapping, refcounts, dataFile, snapshots } = parts;
  const { place, end } = one;
  const slice = mapping.slice(place.table, place.l2Index);
  const entry = readEntry(slice.view, geometry, place.l2Index % mapping.entriesPerSlice);
  if (entry.high === 0 && entry.low === 0) return false;
  const guest = guestOffset(one.l1Index * geometry.l2Span + place.l2Index * geometry.clusterSize);
  if (isCompressed(entry.high)) {
    const blob = blobOf(entry, geometry);
    const isBehind = clusterAt(blob.offset + blob.length - 1, geometry) >= end;
    return isBehind && snapshots.count === 0 && moveBlob(parts, { place, entry, end });
  }
  // In a data file everything has the place of its guest offset (DAT-01).
  if (dataFile !== undefined || !isOwnedPlace(entry, geometry)) return false;
  const host = placeOf(entry, geometry);
  if (host === undefined || clusterAt(host, geometry) < end) return false;
  if (refcounts.get(clusterAt(host, geometry)) !== 1) return false;
  const target = freeBefore(parts, end);
  if (target === undefined) return false;
  const bytes = new Uint8Array(geometry.clusterSize);
  try {
    parts.data.readAt(host, guest, bytes);
    parts.data.writeAt(target, guest, bytes);
  } catch (error) {
    parts.allocator.undo({ first: clusterAt(target, geometry), count: 1 });
    throw error;
  }
  parts.order.dataWritten();
  const moved = ownedEntry(target, { zeroes: entry.zeroes, allocated: entry.allocated });
  // The zero flag of a standard entry stays with it.
  setEntry(parts, place, geometry.extendedL2 ? moved : { ...moved, low: moved.low + (entry.low & 1) });
  dropReferences(parts, entry, { punch: true });
  return true;
}

/** A free cluster before `end`, counted now; undefined when there is none. */
function freeBefore(parts: WriteParts, end: number): HostOffset | undefined {
  const run = parts.allocator.allocateUpTo(1);
  if (run.first < end) return hostOffset(run.first * parts.geometry.clusterSize);
  parts.allocator.undo(run);
  return undefined;
}

/** Its entries are in the file before it moves: what the cache has of the old place is forgotten. */
function moveTable(parts: WriteParts, l1Index: number, table: HostOffset, end: number): void {
  const { geometry, file, mapping, mappingCache, overlap, order } = parts;
  order.flush();
  const target = freeBefore(parts, end);
  if (target === undefined) return;
  const run = { first: clusterAt(target, geometry), count: 1 };
  const old = { first: clusterAt(table, geometry), count: 1 };
  try {
    const bytes = new Uint8Array(geometry.clusterSize);
    file.readAt(table, bytes);
    file.writeAt(target, bytes);
  } catch (error) {
    parts.allocator.undo(run);
    throw error;
  }
  mappingCache.forget(table, geometry.clusterSize);
  mappingCache.forget(target, geometry.clusterSize);
  overlap.claim(run, 'activeL2');
  mapping.setL2Table(l1Index, { offset: target, owned: true });
  overlap.release(old, 'activeL2');
  order.drop(old, { punch: true });
}

function moveL1(parts: WriteParts, end: number): void {
  const { mapping, geometry, order } = parts;
  const { offset, entries } = mapping.place;
  if (entries === 0 || clusterAt(offset, geometry) < end) return;
  const { count } = runOf(offset, entries * 8, geometry.clusterSize);
  order.settle();
  const gap = parts.allocator.allocateRun(count);
  parts.allocator.undo(gap);
  if (gap.first >= end) return;
  const old = switchL1(parts, mapping.copyOfL1(entries));
  if (old !== undefined) order.drop(old, { punch: true });
}
