// Hands out host clusters and takes references: the only place where refcounts go up (REF-07).

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { hostCluster } from '../format/offsets.ts';
import type { HostCluster } from '../format/offsets.ts';
import { hostOffsetMax } from '../metadata/host-limits.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { growRefcounts } from './refcount-growth.ts';
import type { GrowthParts } from './refcount-growth.ts';

/** First fit from the lowest free cluster. What is dropped but not durably so counts as used (architecture §6, line 5). */
export class Allocator {
  readonly #parts: GrowthParts;

  constructor(parts: GrowthParts) {
    this.#parts = parts;
  }

  /**
   * Up to `countMax` clusters in a row, at least one, each with a refcount of 1. Their old bytes are anything.
   * Faults `image-full`, `metadata-overlap`, `refcount-entry-invalid` and those of the file.
   */
  allocateUpTo(countMax: number): ClusterRun {
    return this.#allocate({ countMin: 1, countMax });
  }

  /** Exactly `count` clusters in a row. */
  allocateRun(count: number): ClusterRun {
    return this.#allocate({ countMin: count, countMax: count });
  }

  /**
   * One more reference to clusters that a table names, as many as an L2 slice at most. Faults `refcount-overflow`, and
   * `host-offset-invalid` where no block counts them: nothing is changed then.
   */
  share(run: ClusterRun): void {
    this.#admitCounted(run);
    this.#parts.order.beforeRaise();
    this.#parts.refcounts.raise(run);
  }

  /** Takes back clusters that were allocated just now and that nothing names yet (OPS-12). */
  undo(run: ClusterRun): void {
    this.#parts.refcounts.lower(run);
  }

  #allocate(wish: { readonly countMin: number; readonly countMax: number }): ClusterRun {
    const run = this.#find(wish);
    this.#parts.overlap.admitAllocation(run);
    assert(run.first > 0, 'the header is never handed out');
    this.#parts.order.beforeRaise();
    this.#parts.refcounts.raise(run);
    return run;
  }

  #find(wish: { readonly countMin: number; readonly countMax: number }): ClusterRun {
    const { refcounts, geometry } = this.#parts;
    let lowest: HostCluster | undefined;
    let from = refcounts.lowestFree;
    for (;;) {
      const first = refcounts.nextFree(from);
      if (!this.#isCounted(first)) {
        growRefcounts(this.#parts, first, wish.countMin);
        from = first;
        continue;
      }
      lowest ??= first;
      const run = { first, count: this.#freeFrom(first, wish.countMax) };
      if ((first + wish.countMax) * geometry.clusterSize > hostOffsetMax) {
        throw new Fault('image-full', { required: (first + wish.countMax) * geometry.clusterSize });
      }
      if (run.count >= wish.countMin) {
        refcounts.lowestFree = lowest === first ? hostCluster(first + run.count) : lowest;
        return run;
      }
      const behind = hostCluster(first + run.count);
      if (!this.#isCounted(behind)) {
        growRefcounts(this.#parts, behind, wish.countMin);
      }
      from = behind;
    }
  }

  /** How many clusters from `first` on are free and counted, up to `countMax`. */
  #freeFrom(first: HostCluster, countMax: number): number {
    const { refcounts } = this.#parts;
    let count = 1;
    while (count < countMax) {
      const next = hostCluster(first + count);
      if (!this.#isCounted(next) || refcounts.get(next) !== 0) break;
      count += 1;
    }
    return count;
  }

  /** What is in use is counted; a damaged table may name anything. A run that one slice holds lies under two blocks at most. */
  #admitCounted({ first, count }: ClusterRun): void {
    for (const cluster of [first, hostCluster(first + count - 1)]) {
      if (this.#isCounted(cluster)) continue;
      throw new Fault('host-offset-invalid', { hostOffset: cluster * this.#parts.geometry.clusterSize });
    }
  }

  #isCounted(cluster: HostCluster): boolean {
    const { refcounts, geometry } = this.#parts;
    return refcounts.hasBlock(Math.floor(cluster / geometry.refcountsPerBlock));
  }
}
