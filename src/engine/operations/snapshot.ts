// Internal snapshots: taken, deleted, and reverted to (SNT, OPS-26…OPS-28, ORD-09…ORD-11).
//
//   create   references raised ─ flags cleared ─ L1 copy, new table ─ flush ─ header ─ flush
//   delete   shorter table ─ flush ─ header ─ flush ─ references dropped ─ flags set
//   revert   references raised ─ new L1 ─ flush ─ header (size and L1 in one write) ─ flush ─ old tree dropped ─ flags
//
// Until the header is written the old state holds, afterwards the new one; a crash between leaves references that are too
// high, and flags that do not agree with them, which a repair mends without touching data (ORD-19).

import { Fault } from '../../base/fault.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { snapshotCountMax } from '../format/header.ts';
import { emptyMask } from '../format/features.ts';
import { icountUnknown, newSnapshotRecord } from '../format/snapshot-table.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { WriteParts } from '../image-parts.ts';
import type { MappingTables } from '../metadata/mapping-tables.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { describeSnapshot } from './describe.ts';
import type { SnapshotDescription } from './image-description.ts';
import { runOf, snapshotTree } from './open.ts';
import { offsetOf, publish, refuseDataFile, requireSnapshot, unowned, writeBytes } from './snapshot-switch.ts';
import { partOf, toTheEnd } from './steps.ts';
import type { Progress, Steps } from './steps.ts';
import { dropTree, refreshOwned, treeOver, visitTree } from './tree.ts';

export interface NewSnapshot {
  readonly name: string;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The new id is at least this. */
  readonly idFloor: number;
}

/** Faults `unsupported-option` (DAT-01), `too-many-snapshots`; `refcount-overflow` and `image-full` after undoing everything. */
export function* createSnapshot(parts: WriteParts, wish: NewSnapshot): Steps<SnapshotDescription> {
  const { mapping, snapshots, order, geometry, header } = parts;
  refuseDataFile(parts);
  if (snapshots.count >= snapshotCountMax) {
    throw new Fault('too-many-snapshots', { countMax: snapshotCountMax });
  }
  order.settle();
  const shared = { visits: 0 };
  let finished = false;
  let l1Run: ClusterRun | undefined;
  try {
    yield* passOf(shareTree(parts, mapping, shared), { pass: 0, count: 2, entries: mapping.l1Entries });
    yield* passOf(refreshOwned(parts), { pass: 1, count: 2, entries: mapping.l1Entries });
    const l1 = unowned(mapping.copyOfL1(mapping.l1Entries));
    l1Run = writeBytes(parts, l1);
    const record = newSnapshotRecord({
      l1TableOffset: offsetOf(l1Run, geometry.clusterSize),
      l1Entries: mapping.l1Entries,
      id: snapshots.nextId(wish.idFloor),
      name: wish.name,
      seconds: wish.seconds,
      nanoseconds: wish.nanoseconds,
      vmClock: emptyMask,
      vmStateSize: 0,
      virtualSize: header.virtualSize,
      icount: icountUnknown,
    });
    publish(parts, snapshots.with(record, header.virtualSize));
    // The header names the snapshot: whatever fails from here on, its references stay.
    finished = true;
    if (l1Run !== undefined) parts.overlap.claim(l1Run, 'inactiveL1');
    order.settle();
    return describeSnapshot(record, header.virtualSize);
  } finally {
    if (!finished) {
      if (l1Run !== undefined) parts.allocator.undo(l1Run);
      yield* unshareTree(parts, mapping, shared.visits);
      yield* refreshOwned(parts);
      order.settle();
    }
  }
}

/** Faults `snapshot-not-found`, `unsupported-option` (DAT-01). Once begun it cannot be undone: cancelled or not, it runs to its end. */
export function* deleteSnapshot(parts: WriteParts, snapshot: string): Steps<void> {
  const { snapshots, order, file, header } = parts;
  const index = requireSnapshot(parts, snapshot);
  const record = snapshots.at(index);
  order.settle();
  const tree = snapshotTree(parts, record);
  publish(parts, snapshots.without(index, header.virtualSize));
  file.flush();
  yield* toTheEnd(finishDelete(parts, record, tree));
}

/** Faults `snapshot-not-found`, `bitmaps-prevent-revert` (BMP-10), `unsupported-option` (DAT-01). Cancelled before the switch it leaves nothing. */
export function* revertSnapshot(parts: WriteParts, snapshot: string): Steps<void> {
  const { snapshots, order, header, geometry, mapping, file } = parts;
  const record = snapshots.at(requireSnapshot(parts, snapshot));
  if (header.hasBitmaps) throw new Fault('bitmaps-prevent-revert', { snapshot });
  order.settle();
  const tree = snapshotTree(parts, record);
  const virtualSize = record.virtualSize ?? header.virtualSize;
  const entries = Math.max(record.l1Entries, l1EntriesFor(geometry, virtualSize));
  const l1 = unowned(tree.copyOfL1(entries));
  const shared = { visits: 0 };
  let l1Run: ClusterRun | undefined;
  let switched = false;
  try {
    yield* passOf(shareTree(parts, tree, shared), { pass: 0, count: 3, entries });
    l1Run = writeBytes(parts, l1);
    order.flush();
    const oldTree = treeOver(parts, mapping.place.offset, mapping.copyOfL1(mapping.l1Entries));
    const place = { offset: offsetOf(l1Run, geometry.clusterSize), entries };
    header.switchDisk({ virtualSize, l1TableOffset: place.offset, l1Entries: entries });
    // From here on the new tree counts, whether or not the flush below works.
    switched = true;
    mapping.moveL1(place, l1);
    if (l1Run !== undefined) parts.overlap.claim(l1Run, 'activeL1');
    moveClaims(parts, oldTree);
    parts.unpacked.forgetAll();
    file.flush();
    yield* toTheEnd(finishRevert(parts, oldTree));
  } finally {
    if (!switched) {
      if (l1Run !== undefined) parts.allocator.undo(l1Run);
      yield* unshareTree(parts, tree, shared.visits);
      order.settle();
    }
  }
}

/** Every entry gets the extra data that version 3 asks for (AMD-01, SNT-02); durable with the next settling. */
export function completeSnapshots(parts: WriteParts): void {
  const { snapshots, header } = parts;
  const table = snapshots.completed(header.virtualSize);
  if (table.bytes.length !== snapshots.place.length) publish(parts, table);
}

function* finishDelete(
  parts: WriteParts,
  record: SnapshotRecord,
  tree: MappingTables,
): Generator<Progress, void, undefined> {
  const { l1Entries } = parts.mapping;
  yield* passOf(dropTree(parts, tree, { l1Start: 0 }), { pass: 0, count: 2, entries: l1Entries });
  const l1Length = record.l1Entries * 8;
  if (l1Length > 0) {
    const run = runOf(record.l1TableOffset, l1Length, parts.geometry.clusterSize);
    parts.overlap.release(run, 'inactiveL1');
    parts.order.drop(run, { punch: true });
  }
  parts.order.flush();
  yield* passOf(refreshOwned(parts), { pass: 1, count: 2, entries: l1Entries });
  parts.order.settle();
}

function* finishRevert(parts: WriteParts, oldTree: MappingTables): Generator<Progress, void, undefined> {
  const { l1Entries } = parts.mapping;
  yield* passOf(dropTree(parts, oldTree, { l1Start: 0 }), { pass: 1, count: 3, entries: l1Entries });
  const { offset, entries } = oldTree.place;
  if (entries > 0) {
    const run = runOf(offset, entries * 8, parts.geometry.clusterSize);
    parts.overlap.release(run, 'activeL1');
    parts.order.drop(run, { punch: true });
  }
  parts.order.flush();
  yield* passOf(refreshOwned(parts), { pass: 2, count: 3, entries: l1Entries });
  parts.order.settle();
}

/** A walk over a tree as one of several, each as long as the active one; progress in entries of its L1 table. */
function passOf(
  walk: Steps<void>,
  { pass, count, entries }: { readonly pass: number; readonly count: number; readonly entries: number },
): Steps<void> {
  return partOf(walk, { from: pass * entries, to: (pass + 1) * entries, total: count * entries });
}

/** Only the L2 tables of the active tree are guarded: the old ones are not any more, the new ones are. */
function moveClaims(parts: WriteParts, oldTree: MappingTables): void {
  const { geometry, overlap, mapping } = parts;
  for (const table of oldTree.l2Tables()) overlap.release(runOf(table, 1, geometry.clusterSize), 'activeL2');
  for (const table of mapping.l2Tables()) overlap.claim(runOf(table, 1, geometry.clusterSize), 'activeL2');
}

/** How many visits of a tree have raised references: what an undo takes back. */
interface Shared {
  visits: number;
}

/**
 * One more reference to everything in a tree. Undoing is the caller's: a generator that yields while it is being ended
 * would let its caller go on behind the `yield*` as if nothing had happened.
 */
function* shareTree(parts: WriteParts, tree: MappingTables, shared: Shared): Generator<Progress, void, undefined> {
  yield* visitTree(parts, tree, {
    l1Start: 0,
    visit: (run) => {
      parts.allocator.share(run);
      shared.visits += 1;
    },
    isEnough: () => false,
  });
}

/** Takes back the first `count` visits of {@link shareTree}: nothing on disk names them yet. */
function* unshareTree(parts: WriteParts, tree: MappingTables, count: number): Generator<Progress, void, undefined> {
  let lowered = 0;
  yield* visitTree(parts, tree, {
    l1Start: 0,
    visit: (run) => {
      if (lowered < count) parts.allocator.undo(run);
      lowered += 1;
    },
    isEnough: () => lowered >= count,
  });
}
