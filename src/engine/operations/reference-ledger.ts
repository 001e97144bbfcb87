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
    const end = offset + length;
    if (end - this.#fileSize >= this.#clusterSize) {
      this.log.corruption(times, reference.finding);
      this.#bookPieces(reference);
      return;
    }
    const first = Math.floor(offset / this.#clusterSize);
    const last = Math.floor((end - 1) / this.#clusterSize);
    this.#clusters = Math.max(this.#clusters, last + 1);
    for (let cluster = first; cluster <= last; cluster += 1) this.bookCluster(cluster, times);
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

  /** What reaches past the end keeps the clusters that it has inside: they are no leaks. */
  #bookPieces({ offset, length, times }: Reference): void {
    const first = Math.floor(offset / this.#clusterSize);
    const last = Math.min(Math.floor((offset + length - 1) / this.#clusterSize), this.#beyondEnd - 1);
    for (let cluster = first; cluster <= last; cluster += 1) {
      if (cluster < this.#fileClusters) this.bookCluster(cluster, times);
      else this.beyond.add(cluster, times);
    }
  }
}
