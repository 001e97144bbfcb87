// Checks a file: counts all references, compares them with the stored refcounts, and tells what it found (CHK-01…15).

import { divideUp } from '../../base/integers.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { virtualSizeOf } from '../format/header.ts';
import { takeCensus } from './census.ts';
import { CheckLog } from './check-log.ts';
import { checkOwnedFlags } from './check-owned-flags.ts';
import type { CheckReport } from './check-report.ts';
import { readSnapshotPlaces } from './check-snapshots.ts';
import { hostClusters, hostClustersMax, readSubject } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import { compareRefcounts } from './compare-refcounts.ts';
import type { Fragmentation } from './l2-census.ts';
import { Pace } from './pace.ts';
import type { Steps } from './steps.ts';

/**
 * Judges a file without changing it. Nothing may write to it meanwhile, and nothing may be held back in caches. Faults
 * of the format codecs where no check is possible; everything else is in the report.
 */
export function* check(file: ByteFile): Steps<CheckReport> {
  return yield* checkAt(file, new Pace());
}

/** The same as a part of something longer, whose progress goes on. */
export function* checkAt(file: ByteFile, pace: Pace): Steps<CheckReport> {
  const subject = readSubject(file);
  const log = new CheckLog();
  if (!isCountable(subject, log)) return reportOf(subject, log, nothingSeen);
  const snapshots = readSnapshotPlaces(subject, log, 'none');
  if (snapshots === undefined) return reportOf(subject, log, nothingSeen);
  const census = yield* takeCensus(subject, snapshots, log, { mend: false, pace });
  const { fragmentation } = census;
  if (!census.isComplete) return reportOf(subject, log, { fragmentation, imageEndOffset: 0 });
  const options = { fixLeaks: false, fixCorruptions: false, punch: false, settle: true, pace };
  const comparison = yield* compareRefcounts(subject, census, log, options);
  yield* checkOwnedFlags(subject, { census, comparison }, log, { mend: false, pace });
  const imageEndOffset = (comparison.highestCluster + 1) * subject.geometry.clusterSize;
  return reportOf(subject, log, { fragmentation, imageEndOffset });
}

/** What a report tells beside the counters of its log. */
export interface CheckExtent {
  readonly fragmentation: Fragmentation;
  /** Where the last used host cluster ends, in bytes; 0 when the check did not get that far. */
  readonly imageEndOffset: number;
}

export const nothingSeen: CheckExtent = {
  fragmentation: { allocatedClusters: 0, fragmentedClusters: 0, compressedClusters: 0 },
  imageEndOffset: 0,
};

/** CHK-18. */
export function isCountable(subject: CheckSubject, log: CheckLog): boolean {
  if (hostClusters(subject) <= hostClustersMax) return true;
  log.error(1, () => ({ message: `The file has more than ${hostClustersMax} clusters, too many to count.` }));
  return false;
}

export function reportOf(subject: CheckSubject, log: CheckLog, extent: CheckExtent): CheckReport {
  const { checkErrors, corruptions, leaks, corruptionsFixed, leaksFixed } = log;
  return {
    checkErrors,
    corruptions,
    leaks,
    corruptionsFixed,
    leaksFixed,
    imageEndOffset: extent.imageEndOffset,
    totalClusters: divideUp(virtualSizeOf(subject.header), subject.geometry.clusterSize),
    ...extent.fragmentation,
    clean: checkErrors === 0 && corruptions === 0 && leaks === 0,
    findings: log.findings,
  };
}
