// Says in the words of version 2 what zero clusters say: there they have none (AMD-02, T12).
//
//   zero, without a layer below   absent: nothing shows through
//   zero, over a layer below      a new cluster of zeroes
//   zero, placed                  zeroes in the place, unless something else is read there: then as without a place (T04)
//
// The guest reads the same before and after each step, so a table is changed in place whoever shares it: new clusters are
// counted once for each of its users.

import type { WriteParts } from '../image-parts.ts';
import { guestOffset, hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { entryHigh, entryLow } from '../format/l1-entry.ts';
import { isCompressed, zeroBit } from '../format/l2-entry.ts';
import { emptyEntry, placeOf } from '../mapping/l2-entries.ts';
import type { L2Entry } from '../mapping/l2-entries.ts';
import { entryAt, setEntry } from '../mapping/mapper.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { allTables } from './all-tables.ts';
import type { FoundTable } from './all-tables.ts';
import type { Pace } from './pace.ts';
import { stepLengthMax } from './steps.ts';
import type { Progress } from './steps.ts';

/** Standard entries only. Cancelled or not, the image is sound; what is done stays done. Faults of allocator and file. */
export function* expandZeroes(parts: WriteParts, pace: Pace): Generator<Progress, void, undefined> {
  for (const found of allTables(parts)) {
    const steps = found === undefined ? [] : expandTable(parts, found);
    for (const length of steps) {
      parts.order.relieve();
      const pause = pace.spend(length);
      if (pause !== undefined) yield pause;
    }
  }
}

/** Yields how much was done, in bytes. */
function* expandTable(parts: WriteParts, found: FoundTable): Generator<number, void, undefined> {
  const { geometry, overlap } = parts;
  let isChanged = false;
  for (let l2Index = 0; l2Index < geometry.l2Entries;) {
    const entry = entryAt(parts, { table: found.table, l2Index });
    if (isCompressed(entry.high) || (entry.low & zeroBit) === 0) {
      l2Index += 1;
      continue;
    }
    if (!isChanged) overlap.admitTable(found.table);
    isChanged = true;
    const count = expandSome(parts, { ...found, l2Index, entry });
    l2Index += count;
    yield count * geometry.clusterSize;
  }
  yield geometry.clusterSize;
}

/** The zero entry at a place of a table. */
interface ZeroEntry extends FoundTable {
  readonly l2Index: number;
  readonly entry: L2Entry;
}

/** Returns how many entries it has changed. */
function expandSome(parts: WriteParts, zero: ZeroEntry): number {
  const { geometry, refcounts, backing } = parts;
  const { table, l2Index, entry, users } = zero;
  const host = placeOf(entry, geometry);
  if (host !== undefined) {
    const place = { first: hostCluster(host / geometry.clusterSize), count: 1 };
    if (refcounts.get(place.first) === users) {
      parts.overlap.admitData(host, geometry.clusterSize);
      fillZeroes(parts, host, zero, 1);
      setEntry(parts, { table, l2Index }, entryFor(host, users));
      return 1;
    }
    if (backing === undefined) setEntry(parts, { table, l2Index }, emptyEntry);
    else placeNew(parts, zero, 1);
    for (let user = 0; user < users; user += 1) parts.order.drop(place, { punch: false });
    return 1;
  }
  if (backing !== undefined) return placeNew(parts, zero, countPlain(parts, zero));
  setEntry(parts, { table, l2Index }, emptyEntry);
  return 1;
}

/** How many zero entries without a place follow each other within a slice, up to what one step may write. */
function countPlain(parts: WriteParts, { table, l2Index }: ZeroEntry): number {
  const { geometry, mapping } = parts;
  const sliceEnd = l2Index - (l2Index % mapping.entriesPerSlice) + mapping.entriesPerSlice;
  const end = Math.min(sliceEnd, l2Index + Math.max(1, Math.floor(stepLengthMax / geometry.clusterSize)));
  let at = l2Index + 1;
  for (; at < end; at += 1) {
    const { high, low } = entryAt(parts, { table, l2Index: at });
    if (high !== 0 || low !== zeroBit) break;
  }
  return at - l2Index;
}

/** Points entries to new clusters of zeroes; returns how many. */
function placeNew(parts: WriteParts, zero: ZeroEntry, countMax: number): number {
  const { geometry, allocator } = parts;
  const { table, l2Index, users } = zero;
  const run = allocator.allocateUpTo(countMax);
  let counted = 1;
  try {
    for (; counted < users; counted += 1) allocator.share(run);
    fillZeroes(parts, hostOffset(run.first * geometry.clusterSize), zero, run.count);
  } catch (error) {
    for (; counted > 0; counted -= 1) allocator.undo(run);
    throw error;
  }
  for (let step = 0; step < run.count; step += 1) {
    const host = hostOffset((run.first + step) * geometry.clusterSize);
    setEntry(parts, { table, l2Index: l2Index + step }, entryFor(host, users));
  }
  return run.count;
}

function entryFor(host: HostOffset, users: number): L2Entry {
  return { ...emptyEntry, high: entryHigh(host, users === 1), low: entryLow(host) };
}

/** Line 1 of the write order: the zeroes are in the file before an entry names them. */
function fillZeroes(parts: WriteParts, host: HostOffset, zero: ZeroEntry, count: ClusterRun['count']): void {
  const { geometry, data, order, file } = parts;
  const { clusterSize, l2Span } = geometry;
  const guest = zero.l1Index * l2Span + zero.l2Index * clusterSize;
  const length = count * clusterSize;
  if (host >= data.zeroesFrom) file.resize(Math.max(file.size, host + length));
  else data.writeAt(host, guestOffset(guest), new Uint8Array(length));
  order.dataWritten();
}
