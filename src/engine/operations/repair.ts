// Makes a damaged file sound again, as `qemu-img check -r leaks` and `-r all` do (CHK-04…CHK-13).
//
// The order keeps guest data at every crash: broken places leave the L2 tables, then refcounts change, then the owned
// flags, then the snapshot table; new structures are complete before the header names them. Until the end the file is
// marked "dirty".

import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { autoclearBits, bitsOf, incompatibleBits, withBit } from '../format/features.ts';
import type { Mask64 } from '../format/features.ts';
import { takeCensus } from './census.ts';
import type { Census } from './census.ts';
import { CheckLog } from './check-log.ts';
import { checkOwnedFlags } from './check-owned-flags.ts';
import type { CheckReport, RepairMode } from './check-report.ts';
import { readSnapshotPlaces } from './check-snapshots.ts';
import { readSubject } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import { checkAt, isCountable, nothingSeen, reportOf } from './check.ts';
import type { CheckExtent } from './check.ts';
import { compareRefcounts } from './compare-refcounts.ts';
import type { SettledRefcounts } from './compare-refcounts.ts';
import { LedgerAllocation } from './ledger-allocation.ts';
import { Pace } from './pace.ts';
import { rebuildRefcounts } from './rebuild-refcounts.ts';
import { RepairGuard } from './repair-guard.ts';
import { dropSurplusSnapshots, rewriteSnapshotTable } from './repair-snapshots.ts';
import type { SnapshotPlaces } from './snapshot-places.ts';
import type { Steps } from './steps.ts';

/**
 * Repairs the file. Nothing else may read or write it meanwhile. The report is of a second check after the repair,
 * with what the repair fixed (CHK-13). Faults like `check`, and `feature-unknown` where unknown features may own
 * clusters that a repair would free (T78).
 */
export function* repair(file: ByteFile, mode: Exclude<RepairMode, 'none'>): Steps<CheckReport> {
  const subject = readSubject(file);
  refuseUnknownOwners(subject);
  const pace = new Pace();
  const guard = new RepairGuard(file, subject.header);
  const first = yield* repairOnce({ ...subject, file: guard }, mode, pace);
  guard.release(marksAfter(subject, first));
  const { corruptionsFixed, leaksFixed } = first;
  if (corruptionsFixed === 0 && leaksFixed === 0) return first;
  const second = yield* checkAt(file, pace);
  return { ...second, corruptionsFixed, leaksFixed };
}

function refuseUnknownOwners({ header }: CheckSubject): void {
  const known = new Set<number>(Object.values(autoclearBits));
  const autoclear = bitsOf(header.autoclear).filter((bit) => !known.has(bit));
  if (autoclear.length > 0) throw new Fault('feature-unknown', { autoclear });
}

function* repairOnce(damaged: CheckSubject, mode: Exclude<RepairMode, 'none'>, pace: Pace): Steps<CheckReport> {
  const mend = mode === 'all';
  const snapshotLog = new CheckLog();
  const log = new CheckLog();
  const report = (subject: CheckSubject, extent: CheckExtent): CheckReport => {
    log.add(snapshotLog);
    return reportOf(subject, log, extent);
  };
  if (!isCountable(damaged, log)) return report(damaged, nothingSeen);
  const snapshots = readSnapshotPlaces(damaged, snapshotLog, mode);
  if (snapshots === undefined) return report(damaged, nothingSeen);
  dropSurplusSnapshots(damaged, snapshots, snapshotLog);
  const census = yield* takeCensus(damaged, snapshots, log, { mend, pace });
  if (!census.isComplete) return report(damaged, nothingSeen);
  const settled = yield* settleRefcounts({ subject: damaged, snapshots, census, pace }, log, mode);
  if (settled === undefined) return report(damaged, nothingSeen);

  const { subject, comparison } = settled;
  // With "leaks" alone the flags are mended only where they are all that is wrong (CHK-08).
  const isElseSound = log.checkErrors === 0 && log.corruptions === 0 && log.leaks === 0;
  yield* checkOwnedFlags(subject, settled, log, { mend: mend || isElseSound, pace });
  if (mend && snapshotLog.corruptions > 0) yield* mendSnapshotTable({ subject, snapshots, pace }, snapshotLog);
  return report(subject, {
    fragmentation: settled.census.fragmentation,
    imageEndOffset: (comparison.highestCluster + 1) * subject.geometry.clusterSize,
  });
}

/** A file after its census. */
interface Damaged {
  readonly subject: CheckSubject;
  readonly snapshots: SnapshotPlaces;
  readonly census: Census;
  readonly pace: Pace;
}

/** Corrects the stored refcounts, in place or by building them anew; undefined where this mode cannot. */
function* settleRefcounts(
  damaged: Damaged,
  log: CheckLog,
  mode: Exclude<RepairMode, 'none'>,
): Steps<SettledRefcounts | undefined> {
  const { subject, census, pace } = damaged;
  const survey = new CheckLog();
  const look = { fixLeaks: false, fixCorruptions: false, punch: false, settle: false, pace };
  const comparison = yield* compareRefcounts(subject, census, survey, look);
  if (mode === 'all' && (census.refcountDamage !== 'none' || comparison.needsRebuild)) {
    return yield* rebuild(damaged, survey, log);
  }
  if (census.refcountDamage === 'broken' || comparison.needsRebuild) {
    log.add(survey);
    log.error(1, () => ({ message: 'The refcounts must be built anew, which only repair "all" does.' }));
    return undefined;
  }
  if (survey.leaks === 0 && survey.corruptions === 0) {
    log.add(survey);
    return { subject, census, comparison };
  }
  const fix = {
    fixLeaks: true,
    fixCorruptions: mode === 'all',
    // Where the census could not follow an entry, a "leak" may be what it meant: freed, but kept on the disk.
    punch: log.corruptions === 0,
    settle: true,
    pace,
  };
  return { subject, census, comparison: yield* compareRefcounts(subject, census, log, fix) };
}

function* rebuild(damaged: Damaged, survey: CheckLog, log: CheckLog): Steps<SettledRefcounts | undefined> {
  const { pace } = damaged;
  const { ledger } = damaged.census;
  const allocation = new LedgerAllocation(ledger);
  if (!(yield* rebuildRefcounts(damaged.subject, ledger, { allocation, pace }))) {
    log.add(survey);
    log.error(1, () => ({ message: 'The refcount table would grow beyond the limit of the format.' }));
    return undefined;
  }
  // The old structures are referenced no more, and what was wrong with them is gone: count again.
  const subject = readSubject(damaged.subject.file);
  const again = new CheckLog();
  const census = yield* takeCensus(subject, damaged.snapshots, again, { mend: false, pace });
  const punch = again.corruptions === 0;
  const fix = { fixLeaks: true, fixCorruptions: false, punch, settle: true, pace };
  const comparison = yield* compareRefcounts(subject, census, new CheckLog(), fix);
  log.corruptionsFixed += Math.max(0, log.corruptions + survey.corruptions - again.corruptions);
  log.leaksFixed += survey.leaks;
  log.corruptions = again.corruptions;
  return { subject, census, comparison };
}

function* mendSnapshotTable(
  table: { readonly subject: CheckSubject; readonly snapshots: SnapshotPlaces; readonly pace: Pace },
  log: CheckLog,
): Steps<void> {
  const { subject, snapshots, pace } = table;
  const settled = yield* rewriteSnapshotTable(subject, snapshots, pace);
  if (settled === undefined) {
    log.error(1, () => ({ message: 'There is no room for a new snapshot table.' }));
    return;
  }
  // Moving the table can leave a cluster with one owner less; that is our doing, and no damage that was found.
  yield* checkOwnedFlags(settled.subject, settled, new CheckLog(), { mend: true, pace });
  log.corruptionsFixed += log.corruptions;
  log.corruptions = 0;
}

/** BIT-I0, BIT-I1: any repair that leaves no corruption clears both marks; another leaves them as they were. */
function marksAfter({ header }: CheckSubject, report: CheckReport): Mask64 {
  if (report.checkErrors > 0 || report.corruptions > 0) return header.incompatible;
  return withBit(withBit(header.incompatible, incompatibleBits.dirty, false), incompatibleBits.corrupt, false);
}
