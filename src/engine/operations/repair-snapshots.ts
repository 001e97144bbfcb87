// Repairs the snapshot table: drops what is beyond its limits, and writes it anew where entries are incomplete (CHK-12).

import { present } from '../../base/assert.ts';
import { alignUp, divideUp } from '../../base/integers.ts';
import { KiB } from '../../base/units.ts';
import { FileWindow } from '../file/file-window.ts';
import { viewOf, writeUint64 } from '../format/big-endian.ts';
import { virtualSizeOf } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import { completedExtraLength, completeExtra, extraLengthMax, snapshotFixedLength } from '../format/snapshot-table.ts';
import { takeCensus } from './census.ts';
import { CheckLog } from './check-log.ts';
import { readSnapshotPlaces } from './check-snapshots.ts';
import { readSubject } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import { compareRefcounts } from './compare-refcounts.ts';
import type { SettledRefcounts } from './compare-refcounts.ts';
import { LedgerAllocation } from './ledger-allocation.ts';
import type { Pace } from './pace.ts';
import { rebuildRefcounts } from './rebuild-refcounts.ts';
import type { SnapshotPlaces } from './snapshot-places.ts';
import type { Steps } from './steps.ts';

/** `nb_snapshots` and `snapshots_offset` lie side by side in the header (FMT-13). */
const snapshotPointerAt = 60;
/** How much of a new table is written at once; the longest entry fits (SNT-04, SNT-05). */
const pieceLength = 256 * KiB;

/** Lets the header count only the entries that are kept; what they owned are leaks from now on. */
export function dropSurplusSnapshots(subject: CheckSubject, snapshots: SnapshotPlaces, log: CheckLog): void {
  if (snapshots.dropped === 0) return;
  const count = new Uint8Array(4);
  viewOf(count).setUint32(0, snapshots.count);
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
  const { ledger } = yield* takeCensus(subject, snapshots, new CheckLog(), { mend: false, pace });
  const allocation = new LedgerAllocation(ledger);
  // SNT-08: where no entry is left there is no table, and its offset is 0.
  const clusters = divideUp(completedLength(snapshots), geometry.clusterSize);
  const start = clusters === 0 ? 0 : allocation.takeRun(clusters) * geometry.clusterSize;
  if (!(yield* rebuildRefcounts(subject, ledger, { allocation, pace }))) return undefined;
  if (clusters > 0) yield* writeTable(subject, snapshots, start, pace);
  file.flush();
  const pointer = new Uint8Array(12);
  viewOf(pointer).setUint32(0, snapshots.count);
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

/**
 * Writes every entry with all known extra data and no more than the limit; what it does say stays (T70, T73). Piece by
 * piece: a small file can claim a table of many MiB.
 */
function* writeTable(subject: CheckSubject, snapshots: SnapshotPlaces, offset: number, pace: Pace): Steps<void> {
  const piece = new Uint8Array(pieceLength);
  const view = viewOf(piece);
  const window = new FileWindow(subject.file);
  const currentSize = virtualSizeOf(subject.header);
  let pieceAt = offset;
  let end = 0;
  for (let index = 0; index < snapshots.count; index += 1) {
    const entryAt = snapshots.entryAt(index);
    const extraLength = snapshots.extraLength(index);
    const keptExtra = Math.min(extraLength, extraLengthMax);
    const textLength = snapshots.length(index) - snapshotFixedLength - extraLength;
    const length = snapshotFixedLength + completedExtraLength(extraLength) + textLength;
    let start = alignUp(end, 8);
    if (start + length > piece.length) {
      subject.file.writeAt(hostOffset(pieceAt), piece.subarray(0, start));
      const pause = pace.spend(start);
      if (pause !== undefined) yield pause;
      pieceAt += start;
      start = 0;
      piece.fill(0);
    }
    end = start + length;
    window.copy(entryAt, piece.subarray(start, start + snapshotFixedLength + keptExtra));
    window.copy(entryAt + snapshotFixedLength + extraLength, piece.subarray(end - textLength, end));
    completeExtra(view, start, { keptExtra, currentSize });
  }
  subject.file.writeAt(hostOffset(pieceAt), piece.subarray(0, end));
}

function completedLength(snapshots: SnapshotPlaces): number {
  let end = 0;
  for (let index = 0; index < snapshots.count; index += 1) {
    const extraLength = snapshots.extraLength(index);
    end = alignUp(end, 8) + snapshots.length(index) - extraLength + completedExtraLength(extraLength);
  }
  return end;
}
