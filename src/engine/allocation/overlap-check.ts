// Nothing but its owner writes metadata: the host clusters of all tables, kept as a set (OPT-11 "cached", T51).

import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';

/** Clusters of one word of the set; small enough for a small integer. */
const clustersPerWord = 30;

/** A sparse set of host clusters. */
class ClusterSet {
  readonly #words = new Map<number, number>();

  has(cluster: number): boolean {
    const word = this.#words.get(Math.floor(cluster / clustersPerWord)) ?? 0;
    return ((word >>> (cluster % clustersPerWord)) & 1) === 1;
  }

  add(cluster: number): void {
    const key = Math.floor(cluster / clustersPerWord);
    this.#words.set(key, (this.#words.get(key) ?? 0) | (1 << (cluster % clustersPerWord)));
  }

  delete(cluster: number): void {
    const key = Math.floor(cluster / clustersPerWord);
    const word = (this.#words.get(key) ?? 0) & ~(1 << (cluster % clustersPerWord));
    if (word === 0) this.#words.delete(key);
    else this.#words.set(key, word);
  }
}

/**
 * Covers the header, the active L1 table and its L2 tables, the refcount table and its blocks, the snapshot table, the
 * L1 tables of snapshots and the bitmap directory. A cluster that two owners claim belongs to a broken image: neither
 * may write it.
 */
export class OverlapCheck {
  readonly #clusterSize: number;
  readonly #claimed = new ClusterSet();
  readonly #disputed = new ClusterSet();
  #hasDisputes = false;

  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize;
  }

  /** A table takes these clusters. */
  claim(run: ClusterRun): void {
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      if (this.#claimed.has(cluster)) {
        this.#disputed.add(cluster);
        this.#hasDisputes = true;
      }
      this.#claimed.add(cluster);
    }
  }

  /** A table gives these clusters up. */
  release(run: ClusterRun): void {
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      if (!this.#disputed.has(cluster)) this.#claimed.delete(cluster);
    }
  }

  /** Guest data may be written to this span of the file, in bytes. Fault `metadata-overlap`. */
  admitData(offset: number, length: number): void {
    const end = divideUp(offset + length, this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster += 1) {
      if (this.#claimed.has(cluster)) this.#refuse(cluster);
    }
  }

  /** A table at `offset` may be changed by its owner. Fault `metadata-overlap`. */
  admitTable(offset: number): void {
    if (!this.#hasDisputes) return;
    const cluster = Math.floor(offset / this.#clusterSize);
    if (this.#disputed.has(cluster)) this.#refuse(cluster);
  }

  /** The allocator found these clusters free, so no table may lie there. Fault `metadata-overlap`. */
  admitAllocation(run: ClusterRun): void {
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      if (this.#claimed.has(cluster)) this.#refuse(cluster);
    }
  }

  #refuse(cluster: number): never {
    throw new Fault('metadata-overlap', { hostOffset: cluster * this.#clusterSize });
  }
}
