// The state of a virtual machine, bound to a snapshot (MAP-11, SNT-03, OPS-34): written whole, beside the old one.
//
//   write   clusters and L2 tables of the new state ─ L1 copy, new snapshot table ─ flush ─ header ─ flush ─ old state dropped
//
// Nothing on disk names the new state before the header does: a crash leaves the old state whole and leaks at most.

import { endOf } from '../../base/byte-span.ts';
import { Fault } from '../../base/fault.ts';
import { alignDown, alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import { read } from '../data/reader.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { NodeFile } from '../file/node-file.ts';
import { guestOffset, hostCluster, hostOffset } from '../format/offsets.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { ReadParts, WriteParts } from '../image-parts.ts';
import { writeUnowned } from '../mapping/mapper.ts';
import type { GuestBefore } from '../mapping/surroundings.ts';
import type { MappingTables } from '../metadata/mapping-tables.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { runOf, snapshotTree } from './open.ts';
import { offsetOf, publish, requireSnapshot, unowned, writeBytes } from './snapshot-switch.ts';
import { toTheEnd } from './steps.ts';
import type { Progress, Steps } from './steps.ts';
import { refreshOwned, treeOver, visitTree } from './tree.ts';
import { l1EntriesWithState, vmStateL1Start, vmStateSpan } from './vm-state-place.ts';

/** A snapshot's tree to read from, its entry, and the size of its disk. */
export interface VmStateView {
  readonly parts: ReadParts;
  readonly record: SnapshotRecord;
  readonly size: number;
}

/** What is written at a time, in bytes; at least a cluster. */
const pieceLengthMin = 1 * MiB;

/**
 * Gives a snapshot the bytes of `source` (a path, or an open file), all of them, as its VM state; none for an empty one. Faults `snapshot-not-found`,
 * `content-too-large`, `image-full`, and those of the files; a fault or a cancel leaves the state of before.
 */
export function* writeVmState(
  parts: WriteParts,
  wish: { readonly snapshot: string; readonly source: string | ByteFile },
): Steps<void> {
  const { source } = wish;
  if (typeof source !== 'string') {
    yield* replaceState(parts, { ...wish, source });
    return;
  }
  const file = NodeFile.open(source, { writable: false, locks: 'none' });
  try {
    yield* replaceState(parts, { ...wish, source: file });
  } finally {
    file.close();
  }
}

function* replaceState(parts: WriteParts, wish: { readonly snapshot: string; readonly source: ByteFile }): Steps<void> {
  const { geometry, snapshots, order, header, file } = parts;
  const { source } = wish;
  const index = requireSnapshot(parts, wish.snapshot);
  const record = snapshots.at(index);
  const l1Start = vmStateL1Start(geometry, record, header.virtualSize);
  const entries = l1EntriesWithState(geometry, l1Start, source.size);
  order.settle();
  const before = snapshotTree(parts, record);
  const l1 = new Uint8Array(entries * 8);
  l1.set(before.copyOfL1(l1Start));
  // A tree of its own over the same cache: its new tables are found there until the snapshot table names them.
  const draft: WriteParts = { ...parts, mapping: treeOver(parts, record.l1TableOffset, l1), backing: undefined };
  let l1Run: ClusterRun | undefined;
  let switched = false;
  try {
    yield* copyIn(draft, {
      source,
      start: l1Start * geometry.l2Span,
      storedFrom: parts.backing?.size ?? 0,
    });
    l1Run = writeBytes(parts, unowned(draft.mapping.copyOfL1(entries)));
    const l1TableOffset = offsetOf(l1Run, geometry.clusterSize);
    const tree = { l1TableOffset, l1Entries: entries, vmStateSize: source.size };
    publish(parts, snapshots.withTree(index, tree, header.virtualSize));
    // The header names the new state: whatever fails from here on, it stays.
    switched = true;
    releaseTables(parts, draft.mapping, l1Start);
    if (l1Run !== undefined) parts.overlap.claim(l1Run, 'inactiveL1');
    file.flush();
    yield* toTheEnd(dropState(parts, { record, tree: before, l1Start }));
  } finally {
    if (!switched) {
      if (l1Run !== undefined) parts.allocator.undo(l1Run);
      yield* undo(draft, l1Start);
      order.settle();
    }
  }
}

/** Fills `target` from byte `offset` of the VM state of a snapshot on. Fault `range-not-satisfiable` {size}. */
export function readVmState(view: VmStateView, offset: number, target: Uint8Array): void {
  const { parts, record, size } = view;
  const span = vmStateSpan(parts.geometry, record, size);
  if (offset + target.length > span.length) throw new Fault('range-not-satisfiable', { size: span.length });
  read({ ...parts, backing: undefined }, guestOffset(span.offset + offset), target);
}

/** Beyond what is written a cluster of VM state holds zeroes. */
const zeroesBefore: GuestBefore = {
  read: (_at, target) => {
    target.fill(0);
  },
  isZero: () => true,
};

/**
 * Copies a file behind the disk. Holes and clusters of zeroes are left out: what is absent there reads as zeroes, unless
 * the layer below reaches so far that QEMU would see its bytes.
 */
function* copyIn(
  draft: WriteParts,
  work: {
    readonly source: ByteFile;
    readonly start: number;
    /** Before this guest offset zeroes are stored, too. */
    readonly storedFrom: number;
  },
): Generator<Progress, void, undefined> {
  const { source, start, storedFrom } = work;
  const { clusterSize } = draft.geometry;
  const total = source.size;
  const piece = new Uint8Array(Math.min(Math.max(pieceLengthMin, clusterSize), alignUp(total, clusterSize)));
  let at = 0;
  while (at < total) {
    const isStored = start + at < storedFrom;
    const data = isStored ? { offset: at, length: piece.length } : source.nextData(hostOffset(at));
    if (data === undefined) return;
    at = Math.max(at, alignDown(data.offset, clusterSize));
    const end = Math.min(total, alignUp(endOf(data), clusterSize));
    while (at < end) {
      const bytes = piece.subarray(0, Math.min(piece.length, end - at));
      source.readAt(hostOffset(at), bytes);
      writePiece(draft, { offset: start + at, bytes, isStored });
      at += bytes.length;
      yield { done: at, total };
    }
  }
}

/** Starts on a cluster. */
function writePiece(
  draft: WriteParts,
  piece: { readonly offset: number; readonly bytes: Uint8Array; readonly isStored: boolean },
): void {
  const { clusterSize } = draft.geometry;
  const { bytes, isStored } = piece;
  const isLeftOut = (at: number): boolean => !isStored && isZeroes(bytes.subarray(at, at + clusterSize));
  let at = 0;
  while (at < bytes.length) {
    if (isLeftOut(at)) {
      at += clusterSize;
      continue;
    }
    let end = at + clusterSize;
    while (end < bytes.length && !isLeftOut(end)) end += clusterSize;
    const run = bytes.subarray(at, end);
    let done = 0;
    while (done < run.length) {
      const offset = guestOffset(piece.offset + at + done);
      done += writeUnowned(draft, offset, {
        source: slicePart(draft, offset, run.subarray(done)),
        before: zeroesBefore,
      });
    }
    at = end;
  }
}

/** The part that one L2 slice maps. */
function slicePart(draft: WriteParts, offset: number, bytes: Uint8Array): Uint8Array {
  const sliceSpan = draft.mapping.entriesPerSlice * draft.geometry.clusterSize;
  return bytes.subarray(0, sliceSpan - (offset % sliceSpan));
}

/** Tables of snapshots are not guarded: only those of the active tree are. */
function releaseTables(parts: WriteParts, tree: MappingTables, l1Start: number): void {
  const { geometry, overlap } = parts;
  for (let l1Index = l1Start; l1Index < tree.l1Entries; l1Index += 1) {
    const table = tree.l2Table(l1Index);
    if (table !== undefined) overlap.release(runOf(table, 1, geometry.clusterSize), 'activeL2');
  }
}

/**
 * The state of before and its L1 table, which nothing on disk names any more. The active tree shares them after a revert,
 * and a snapshot of then: their flags become true again (T02).
 */
function* dropState(
  parts: WriteParts,
  before: { readonly record: SnapshotRecord; readonly tree: MappingTables; readonly l1Start: number },
): Generator<Progress, void, undefined> {
  const { order, overlap, refcounts, geometry } = parts;
  const { l1TableOffset, l1Entries } = before.record;
  const seen = { isShared: false };
  const visits = visitTree(parts, before.tree, {
    l1Start: before.l1Start,
    visit: (run) => {
      for (let step = 0; step < run.count && !seen.isShared; step += 1) {
        seen.isShared = refcounts.get(hostCluster(run.first + step)) > 1;
      }
      order.drop(run, { punch: true });
    },
    isEnough: () => false,
  });
  for (const step of visits) {
    order.relieve();
    yield step;
  }
  if (l1Entries > 0) {
    const run = runOf(l1TableOffset, l1Entries * 8, geometry.clusterSize);
    overlap.release(run, 'inactiveL1');
    order.drop(run, { punch: true });
  }
  order.flush();
  if (seen.isShared) yield* refreshOwned(parts);
  order.settle();
}

/** Gives back what nothing on disk names, and forgets its tables before somebody else gets their clusters (T47). */
function* undo(draft: WriteParts, l1Start: number): Generator<Progress, void, undefined> {
  const { mapping, geometry, mappingCache, allocator } = draft;
  yield* visitTree(draft, mapping, {
    l1Start,
    visit: (run) => {
      allocator.undo(run);
    },
    isEnough: () => false,
  });
  releaseTables(draft, mapping, l1Start);
  for (let l1Index = l1Start; l1Index < mapping.l1Entries; l1Index += 1) {
    const table = mapping.l2Table(l1Index);
    if (table !== undefined) mappingCache.forget(table, geometry.clusterSize);
  }
}
