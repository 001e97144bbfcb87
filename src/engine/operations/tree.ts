// A whole mapping tree: every reference that it holds, and the owned flags of the active one.

import { isOwned, ownedBit } from '../format/l1-entry.ts';
import { isCompressed } from '../format/l2-entry.ts';
import { hostCluster } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { readEntry, writeEntry } from '../mapping/l2-entries.ts';
import { referencesOf } from '../mapping/references.ts';
import { MappingTables } from '../metadata/mapping-tables.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import type { Progress } from './steps.ts';

/** L2 slices that one step visits. */
const slicesPerStep = 64;

/** What is done to references of a tree, to clusters in a row. */
export type Visit = (run: ClusterRun) => void;

/**
 * Visits every reference of a tree, always in the same order; yields between slices. An L2 table comes after what it
 * names: whoever gives references back reads a table to its end before it goes. `isEnough` stops it early.
 */
export function* visitTree(
  parts: Pick<WriteParts, 'geometry'>,
  mapping: MappingTables,
  work: { readonly l1Start: number; readonly visit: Visit; readonly isEnough: () => boolean },
): Generator<Progress, void, undefined> {
  const { geometry } = parts;
  let slices = 0;
  for (let l1Index = work.l1Start; l1Index < mapping.l1Entries; l1Index += 1) {
    const table = mapping.l2Table(l1Index);
    if (table === undefined) continue;
    for (let l2Index = 0; l2Index < geometry.l2Entries; l2Index += mapping.entriesPerSlice) {
      visitSlice(parts, mapping, { table, l2Index, ...work });
      slices += 1;
      if (slices % slicesPerStep === 0) yield { done: l1Index, total: mapping.l1Entries };
    }
    if (work.isEnough()) return;
    work.visit({ first: hostCluster(table / geometry.clusterSize), count: 1 });
  }
}

function visitSlice(
  parts: Pick<WriteParts, 'geometry'>,
  mapping: MappingTables,
  work: {
    readonly table: HostOffset;
    readonly l2Index: number;
    readonly visit: Visit;
    readonly isEnough: () => boolean;
  },
): void {
  const { view } = mapping.slice(work.table, work.l2Index);
  let pending: { first: number; count: number } | undefined;
  const visitPending = (): void => {
    if (pending !== undefined) work.visit({ first: hostCluster(pending.first), count: pending.count });
    pending = undefined;
  };
  for (let index = 0; index < mapping.entriesPerSlice; index += 1) {
    const entry = readEntry(view, parts.geometry, index);
    if (entry.high === 0 && entry.low === 0) continue;
    const run = referencesOf(entry, parts);
    if (run === undefined) continue;
    if (work.isEnough()) break;
    if (pending !== undefined && pending.first + pending.count === run.first && !isCompressed(entry.high)) {
      pending.count += run.count;
      continue;
    }
    visitPending();
    pending = { first: run.first, count: run.count };
    // A blob may share its clusters with the next one: it is visited by itself.
    if (isCompressed(entry.high)) visitPending();
  }
  visitPending();
}

/**
 * Makes the owned flags of the active tree true again: set exactly where a refcount is 1 (T01, T02, MAP-04). Changes of
 * flags reach the disk like any change of an entry.
 */
export function* refreshOwned(parts: WriteParts): Generator<Progress, void, undefined> {
  const { geometry, mapping, refcounts } = parts;
  let slices = 0;
  for (let l1Index = 0; l1Index < mapping.l1Entries; l1Index += 1) {
    const table = mapping.l2Table(l1Index);
    if (table === undefined) continue;
    const owned = refcounts.get(hostCluster(table / geometry.clusterSize)) === 1;
    if (owned !== mapping.ownsL2Table(l1Index)) mapping.setL2Table(l1Index, { offset: table, owned });
    for (let l2Index = 0; l2Index < geometry.l2Entries; l2Index += mapping.entriesPerSlice) {
      refreshSlice(parts, table, l2Index);
      slices += 1;
      if (slices % slicesPerStep === 0) yield { done: l1Index, total: mapping.l1Entries };
    }
  }
}

function refreshSlice(parts: WriteParts, table: HostOffset, l2Index: number): void {
  const { geometry, mapping, refcounts } = parts;
  const slice = mapping.slice(table, l2Index);
  for (let index = 0; index < mapping.entriesPerSlice; index += 1) {
    const entry = readEntry(slice.view, geometry, index);
    if ((entry.high === 0 && entry.low === 0) || isCompressed(entry.high)) continue;
    const run = referencesOf(entry, parts);
    if (run === undefined) continue;
    const owned = refcounts.get(run.first) === 1;
    if (owned === isOwned(entry.high)) continue;
    const high = owned ? (entry.high | ownedBit) >>> 0 : (entry.high & ~ownedBit) >>> 0;
    writeEntry(slice.view, geometry, index, { ...entry, high });
    mapping.markDirty(slice);
  }
}

/** Drops every reference of a tree from `l1Start` on, which nothing on disk names any more. */
export function* dropTree(
  parts: WriteParts,
  tree: MappingTables,
  from: { readonly l1Start: number },
): Generator<Progress, void, undefined> {
  const steps = visitTree(parts, tree, {
    l1Start: from.l1Start,
    visit: (run) => {
      parts.order.drop(run, { punch: true });
    },
    isEnough: () => false,
  });
  for (const step of steps) {
    parts.order.relieve();
    yield step;
  }
}

/** A tree over an L1 table in memory, through the same cache as the active one. */
export function treeOver(parts: WriteParts, offset: HostOffset, l1: Uint8Array): MappingTables {
  const { file, geometry, mappingCache } = parts;
  return new MappingTables(
    { file, geometry, cache: mappingCache, sliceLength: mappingCache.sliceLength },
    { offset, entries: l1.length / 8 },
    l1,
  );
}
