// Makes a stretch of the disk writable. Finds places, fills what the caller does not, and points the L2 entries there.

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { alignUp } from '../../base/integers.ts';
import type { ByteSource } from '../file/file-span.ts';
import { hostCluster, hostOffset } from '../format/offsets.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import type { Slice } from '../metadata/slice-cache.ts';
import { isOwnedPlace, judgeEntry, ownedEntry, placeOf, readEntry, writeEntry } from './l2-entries.ts';
import type { L2Entry } from './l2-entries.ts';
import { dropReferences, referencesOf } from './references.ts';
import { planSubclusters } from './subclusters.ts';
import { writeSurrounded } from './surroundings.ts';
import type { GuestBefore } from './surroundings.ts';
import { ensureOwnTable } from './table-ownership.ts';

/** Where entries of one L2 table are, within its current slice. */
export interface Place {
  readonly table: HostOffset;
  readonly l2Index: number;
}

/** What is written to one cluster, and the entry that it has now. */
interface ClusterWrite {
  readonly source: ByteSource;
  readonly before: GuestBefore;
  readonly place: Place;
  readonly entry: L2Entry;
}

/**
 * Writes the start of `source` at `at`, where the disk is not data that is owned already: into new clusters, or into the
 * one that a zero cluster kept. Returns how many bytes it took; at least one, none beyond the L2 slice. Line 1 of the
 * write order: the bytes are in the file before the entry that names them is in the cache.
 */
export function writeUnowned(
  parts: WriteParts,
  at: GuestOffset,
  write: { readonly source: ByteSource; readonly before: GuestBefore },
): number {
  const { geometry, mapping } = parts;
  const table = ensureOwnTable(parts, Math.floor(at / geometry.l2Span));
  const place = { table, l2Index: Math.floor((at % geometry.l2Span) / geometry.clusterSize) };
  const entry = entryAt(parts, place);
  judgeOld(parts, entry);
  if (geometry.extendedL2) return writeSubclusters(parts, at, { ...write, place, entry });
  if (isOwnedPlace(entry, geometry)) return writeKeptPlace(parts, at, { ...write, place, entry });
  const wanted = countUnowned(parts, place, clustersTouched(at, write.source.length, geometry.clusterSize));
  const run = placesFor(parts, at, wanted);
  const length = Math.min(write.source.length, run.count * geometry.clusterSize - (at % geometry.clusterSize));
  const used = { first: run.first, count: clustersTouched(at, length, geometry.clusterSize) };
  assert(used.count === run.count, 'every allocated cluster is written');
  fill(parts, run, () => {
    const start = hostOffset(run.first * geometry.clusterSize);
    writeClusters(parts, { start, at, source: write.source.subarray(0, length), before: write.before });
  });
  link(parts, place, run);
  assert(mapping.l2Table(Math.floor(at / geometry.l2Span)) === table, 'the L2 table stays');
  return length;
}

/** MAP-07, T05: the kept cluster holds old bytes, so all of it is written before the zero flag goes. */
function writeKeptPlace(parts: WriteParts, at: GuestOffset, write: ClusterWrite): number {
  const { geometry } = parts;
  const host = placeOf(write.entry, geometry);
  assert(host !== undefined, 'a kept place is there');
  admitData(parts, { offset: host, length: geometry.clusterSize });
  const length = Math.min(write.source.length, geometry.clusterSize - (at % geometry.clusterSize));
  writeClusters(parts, { start: host, at, source: write.source.subarray(0, length), before: write.before });
  parts.order.dataWritten();
  setEntry(parts, write.place, ownedEntry(host, { zeroes: 0, allocated: 0 }));
  return length;
}

/** One cluster with extended L2 entries (SUB-06, SUB-07). */
function writeSubclusters(parts: WriteParts, at: GuestOffset, write: ClusterWrite): number {
  const { geometry } = parts;
  const inCluster = at % geometry.clusterSize;
  const length = Math.min(write.source.length, geometry.clusterSize - inCluster);
  // In a data file a cluster has one place for good, whether or not its entry says so yet.
  const owned = geometry.externalData || isOwnedPlace(write.entry, geometry);
  const plan = planSubclusters(write.entry, geometry, { offset: inCluster, length, owned });
  const run = owned && !geometry.externalData ? undefined : placesFor(parts, at, 1);
  const host = run === undefined ? placeOf(write.entry, geometry) : hostOffset(run.first * geometry.clusterSize);
  assert(host !== undefined, 'a written cluster has a place');
  const { copied } = plan;
  const put = (): void => {
    writeSurrounded(parts.data, {
      host: hostOffset(host + inCluster),
      at,
      source: write.source.subarray(0, length),
      headLength: inCluster - copied.offset,
      tailLength: endOf(copied) - (inCluster + length),
      before: write.before,
    });
  };
  if (run === undefined) {
    admitData(parts, { offset: host, length: geometry.clusterSize });
    put();
    parts.order.dataWritten();
    setEntry(parts, write.place, ownedEntry(host, plan.bits));
    return length;
  }
  fill(parts, run, put);
  setEntry(parts, write.place, ownedEntry(host, plan.bits));
  dropReferences(parts, write.entry, { punch: false });
  return length;
}

/** Writes `source` into clusters of its own. `start`: where the first cluster lies. */
function writeClusters(
  parts: WriteParts,
  write: {
    readonly start: HostOffset;
    readonly at: GuestOffset;
    readonly source: ByteSource;
    readonly before: GuestBefore;
  },
): void {
  const { clusterSize } = parts.geometry;
  const { start, at, source, before } = write;
  const headLength = at % clusterSize;
  const tailLength = alignUp(headLength + source.length, clusterSize) - (headLength + source.length);
  writeSurrounded(parts.data, { host: hostOffset(start + headLength), at, source, headLength, tailLength, before });
}

/** Up to `countMax` clusters for what is written at `at`: new ones, or their own places in the data file (DAT-01). */
export function placesFor(parts: WriteParts, at: GuestOffset, countMax: number): ClusterRun {
  const { allocator, geometry } = parts;
  if (!geometry.externalData) return allocator.allocateUpTo(countMax);
  return { first: hostCluster(Math.floor(at / geometry.clusterSize)), count: countMax };
}

/** Guest data may be written to a span of the image file; metadata lies nowhere in a data file. Fault `metadata-overlap`. */
export function admitData(parts: WriteParts, span: ByteSpan): void {
  if (!parts.geometry.externalData) parts.overlap.admitData(span.offset, span.length);
}

/** Runs `put`; when it fails the clusters are given back, since nothing names them yet (OPS-12, T50). */
function fill(parts: WriteParts, run: ClusterRun, put: () => void): void {
  try {
    put();
  } catch (error) {
    if (!parts.geometry.externalData) parts.allocator.undo(run);
    throw error;
  }
  parts.order.dataWritten();
}

/** Points the entries from `place` on to the clusters of `run`, and drops what they referred to. */
function link(parts: WriteParts, place: Place, run: ClusterRun): void {
  const { geometry } = parts;
  const { slice, index } = sliceAt(parts, place);
  for (let step = 0; step < run.count; step += 1) {
    const before = readEntry(slice.view, geometry, index + step);
    const host = (run.first + step) * geometry.clusterSize;
    writeEntry(slice.view, geometry, index + step, ownedEntry(host, { zeroes: 0, allocated: 0 }));
    dropReferences(parts, before, { punch: false });
  }
  parts.mapping.markDirty(slice);
}

export function setEntry(parts: WriteParts, place: Place, entry: L2Entry): void {
  const { slice, index } = sliceAt(parts, place);
  writeEntry(slice.view, parts.geometry, index, entry);
  parts.mapping.markDirty(slice);
}

export function entryAt(parts: WriteParts, place: Place): L2Entry {
  const { slice, index } = sliceAt(parts, place);
  return readEntry(slice.view, parts.geometry, index);
}

export function sliceAt(parts: WriteParts, place: Place): { readonly slice: Slice; readonly index: number } {
  const slice = parts.mapping.slice(place.table, place.l2Index);
  return { slice, index: place.l2Index % parts.mapping.entriesPerSlice };
}

/** How many entries from `place` on, within the slice and at most `countMax`, are not owned places. */
function countUnowned(parts: WriteParts, place: Place, countMax: number): number {
  const { slice, index } = sliceAt(parts, place);
  const end = Math.min(parts.mapping.entriesPerSlice, index + countMax);
  let count = 1;
  while (index + count < end) {
    const entry = readEntry(slice.view, parts.geometry, index + count);
    if (isOwnedPlace(entry, parts.geometry)) break;
    judgeOld(parts, entry);
    count += 1;
  }
  return count;
}

/** An entry that is about to be replaced is sound: its references can be dropped afterwards. */
export function judgeOld(parts: WriteParts, entry: L2Entry): void {
  judgeEntry(entry, parts.geometry, parts.version);
  referencesOf(entry, parts);
}

function clustersTouched(at: number, length: number, clusterSize: number): number {
  return Math.ceil(((at % clusterSize) + length) / clusterSize);
}
