// Repairs the snapshot table: drops what is beyond its limits, and writes it anew where entries are incomplete (CHK-12).

import { present } from '../../base/assert.ts';
import { alignUp, divideUp } from '../../base/integers.ts';
import { FileWindow } from '../file/file-window.ts';
import { viewOf, writeUint64, writeVirtualSize } from '../format/big-endian.ts';
import { virtualSizeOf } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import { extraLengthMax, snapshotFixedLength } from '../format/snapshot-table.ts';
import { takeCensus } from './census.ts';
import { CheckLog } from './check-log.ts';
import { readSnapshotPlaces } from './check-snapshots.ts';
import type { SnapshotPlace, SnapshotPlaces } from './check-snapshots.ts';
import { readSubject } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import { compareRefcounts } from './compare-refcounts.ts';
import type { SettledRefcounts } from './compare-refcounts.ts';
import { LedgerAllocation } from './ledger-allocation.ts';
import type { Pace } from './pace.ts';
import { rebuildRefcounts } from './rebuild-refcounts.ts';
import type { Steps } from './steps.ts';

/** `nb_snapshots` and `snapshots_offset` lie side by side in the header (FMT-13). */
const snapshotPointerAt = 60;
/** VM state size, disk size and icount: what QEMU writes (SNT-02). */
const knownExtraLength = 24;
/** Where the fixed part of an entry keeps these lengths. */
const vmStateSizeAt = 32;
const extraLengthAt = 36;

/** Lets the header count only the entries that are kept; what they owned are leaks from now on. */
export function dropSurplusSnapshots(subject: CheckSubject, snapshots: SnapshotPlaces, log: CheckLog): void {
  if (snapshots.dropped === 0) return;
  const count = new Uint8Array(4);
  viewOf(count).setUint32(0, snapshots.entries.length);
  subject.file.writeAt(hostOffset(snapshotPointerAt), count);
  subject.file.flush();
  log.corruptions -= snapshots.dropped;
  log.corruptionsFixed += snapshots.dropped;
}

/**
 * Writes the whole table to free clusters, every entry with the known extra data, and switches the header to it. The
 * refcount structures are built anew on the way, so the new table is counted before it is named. The refcounts were
 * right before, and are again; the owned flags are to be judged by them anew. Undefined when there is no room.
 */
export function* rewriteSnapshotTable(
  subject: CheckSubject,
  snapshots: SnapshotPlaces,
  pace: Pace,
): Steps<SettledRefcounts | undefined> {
  const { file, geometry } = subject;
  const table = encodeTable(subject, snapshots);
  const { ledger } = yield* takeCensus(subject, snapshots, new CheckLog(), { mend: false, pace });
  const allocation = new LedgerAllocation(ledger);
  // SNT-08: where no entry is left there is no table, and its offset is 0.
  const clusters = divideUp(table.length, geometry.clusterSize);
  const start = clusters === 0 ? 0 : allocation.takeRun(clusters) * geometry.clusterSize;
  if (!(yield* rebuildRefcounts(subject, ledger, { allocation, pace }))) return undefined;
  if (clusters > 0) file.writeAt(hostOffset(start), table);
  file.flush();
  const pointer = new Uint8Array(12);
  viewOf(pointer).setUint32(0, snapshots.entries.length);
  writeUint64(viewOf(pointer), 4, start);
  file.writeAt(hostOffset(snapshotPointerAt), pointer);
  file.flush();
  return yield* freeOldStructures(subject, pace);
}

/** The old table and the old refcount structures are leaks now. */
function* freeOldStructures(old: CheckSubject, pace: Pace): Steps<SettledRefcounts> {
  const subject = readSubject(old.file);
  const log = new CheckLog();
  const snapshots = present(readSnapshotPlaces(subject, log, 'leaks'), 'the table just written can be read');
  const census = yield* takeCensus(subject, snapshots, log, { mend: false, pace });
  const fix = { fixLeaks: true, fixCorruptions: false, punch: log.corruptions === 0, settle: true, pace };
  return { subject, census, comparison: yield* compareRefcounts(subject, census, log, fix) };
}

function encodeTable(subject: CheckSubject, snapshots: SnapshotPlaces): Uint8Array {
  const { entries } = snapshots;
  const table = new Uint8Array(entries.reduce((end, place) => alignUp(end, 8) + completedLength(place), 0));
  const into = { table, view: viewOf(table), window: new FileWindow(subject.file) };
  let end = 0;
  for (const place of entries) {
    const start = alignUp(end, 8);
    end = start + completedLength(place);
    completeEntry(subject, place, { ...into, start, end });
  }
  return table;
}

function completedExtraLength(place: SnapshotPlace): number {
  return Math.max(Math.min(place.extraLength, extraLengthMax), knownExtraLength);
}

function completedLength(place: SnapshotPlace): number {
  return place.length - place.extraLength + completedExtraLength(place);
}

/** Fills in the entry with all known extra data and no more than the limit; what it does say stays (T70, T73). */
function completeEntry(
  subject: CheckSubject,
  place: SnapshotPlace,
  into: {
    readonly table: Uint8Array;
    readonly view: DataView;
    readonly window: FileWindow;
    readonly start: number;
    readonly end: number;
  },
): void {
  const { table, view, window, start, end } = into;
  const extraAt = start + snapshotFixedLength;
  const keptExtra = Math.min(place.extraLength, extraLengthMax);
  const extraLength = completedExtraLength(place);
  window.copy(place.entryAt, table.subarray(start, extraAt + keptExtra));
  const textStart = extraAt + extraLength;
  const textAt = place.entryAt + snapshotFixedLength + place.extraLength;
  if (textStart < end) window.copy(textAt, table.subarray(textStart, end));
  view.setUint32(start + extraLengthAt, extraLength);
  if (keptExtra < 8) writeUint64(view, extraAt, view.getUint32(start + vmStateSizeAt));
  if (keptExtra < 16) writeVirtualSize(view, extraAt + 8, virtualSizeOf(subject.header));
  // An icount of all ones is "unknown".
  if (keptExtra < knownExtraLength) table.fill(0xff, extraAt + 16, extraAt + knownExtraLength);
}
