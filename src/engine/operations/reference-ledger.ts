// Where a census books its references: inside the file they count, past its end they are corruptions (CHK-03).

import { divideUp } from '../../base/integers.ts';
import type { CheckLog, FindingMaker } from './check-log.ts';
import { hostClusters, hostClustersMax } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import { ReferenceCounts } from './reference-counts.ts';

const refcountTableEntrySize = 8;
/** What an entry of a rewritten snapshot table takes, with a name of usual length. */
const snapshotEntryLengthUsual = 128;

/** Whose reference it is; `times` tables hold it, `finding` tells the place if it is broken. */
export interface Reference {
  readonly offset: number;
  readonly length: number;
  readonly times: number;
  readonly finding: FindingMaker;
}

export class ReferenceLedger {
  readonly counts: ReferenceCounts;
  /**
   * References to clusters just behind the end of the file. They count for nothing, but a repair that makes the file
   * longer must not give these clusters to anybody else.
   */
  readonly beyond: ReferenceCounts;
  readonly log: CheckLog;
  readonly #clusterSize: number;
  readonly #fileSize: number;
  readonly #beyondEnd: number;
  readonly #fileClusters: number;
  /** One more than the last cluster that counts: a short reference may begin just behind the end of the file. */
  #clusters: number;

  constructor(subject: CheckSubject, log: CheckLog) {
    const { geometry, file } = subject;
    this.counts = new ReferenceCounts({ countMax: geometry.refcountMax });
    this.beyond = new ReferenceCounts({ countMax: geometry.refcountMax });
    this.log = log;
    this.#clusterSize = geometry.clusterSize;
    this.#fileSize = file.size;
    this.#fileClusters = hostClusters(subject);
    this.#clusters = this.#fileClusters;
    const growth = 2 * divideUp(this.#clusters, geometry.refcountsPerBlock) + 1;
    const tables = 2 * divideUp(growth * refcountTableEntrySize, geometry.clusterSize);
    const snapshots = divideUp(subject.header.snapshotCount * snapshotEntryLengthUsual, geometry.clusterSize);
    this.#beyondEnd = Math.min(hostClustersMax, this.#clusters + growth + tables + snapshots);
  }

  get clusters(): number {
    return this.#clusters;
  }

  /** One more than the last cluster of which the file has at least a byte. */
  get fileClusters(): number {
    return this.#fileClusters;
  }

  /** Books a stretch of the file. */
  book(reference: Reference): void {
    const { offset, length, times } = reference;
    if (length <= 0) return;
    const first = Math.floor(offset / this.#clusterSize);
    const end = divideUp(offset + length, this.#clusterSize);
    if (!this.reachesPast(offset + length)) {
      this.bookInside(first, end, times);
      return;
    }
    this.log.corruption(times, reference.finding);
    this.bookPast(first, end, times);
  }

  /** Whether what ends there reaches one cluster or more past the end of the file. */
  reachesPast(end: number): boolean {
    return end - this.#fileSize >= this.#clusterSize;
  }

  /** Books the clusters from `first` to before `end` for references that do not reach past the end. */
  bookInside(first: number, end: number, times: number): void {
    this.#clusters = Math.max(this.#clusters, end);
    for (let cluster = first; cluster < end; cluster += 1) this.bookCluster(cluster, times);
  }

  /** What reaches past the end keeps the clusters that it has inside: they are no leaks. */
  bookPast(first: number, end: number, times: number): void {
    const bookedEnd = Math.min(end, this.#beyondEnd);
    for (let cluster = first; cluster < bookedEnd; cluster += 1) {
      if (cluster < this.#fileClusters) this.bookCluster(cluster, times);
      else this.beyond.add(cluster, times);
    }
  }

  /** Books one cluster that is known to lie inside the file. */
  bookCluster(cluster: number, times: number): void {
    const lost = this.counts.add(cluster, times);
    if (lost === 0) return;
    this.log.corruption(lost, () => ({
      hostOffset: cluster * this.#clusterSize,
      message: `Host cluster ${cluster} is referenced more often than the refcount width can count.`,
    }));
  }
}
