// Hands out host clusters by what a census has counted: a repair cannot trust the stored refcounts.

import { assert } from '../../base/assert.ts';
import type { ReferenceLedger } from './reference-ledger.ts';

/** What it hands out is counted in the ledger as one reference. */
export class LedgerAllocation {
  readonly #ledger: ReferenceLedger;
  #cursor = 0;
  /** One more than the last cluster of the file as it will be. */
  #end: number;
  #adoptedEnd: number;

  constructor(ledger: ReferenceLedger) {
    this.#ledger = ledger;
    this.#end = ledger.fileClusters;
    this.#adoptedEnd = ledger.fileClusters;
  }

  get end(): number {
    return this.#end;
  }

  take(): number {
    this.#cursor = this.#nextFree(this.#cursor);
    this.#mark(this.#cursor);
    return this.#cursor;
  }

  takeRun(length: number): number {
    assert(length > 0, 'a run has at least one cluster');
    for (let start = this.#nextFree(0); ;) {
      let run = 1;
      while (run < length && this.#isFree(start + run)) run += 1;
      if (run === length) {
        for (let cluster = start; cluster < start + length; cluster += 1) this.#mark(cluster);
        return start;
      }
      start = this.#nextFree(start + run);
    }
  }

  giveBack(first: number, length: number): void {
    for (let cluster = first; cluster < first + length; cluster += 1) this.#ledger.counts.set(cluster, 0);
    if (length > 0) this.#cursor = Math.min(this.#cursor, first);
  }

  /**
   * Entries that point past the end of the file point into it once it has grown: from then on they count. True when
   * there were any.
   */
  adoptBeyond(): boolean {
    const { counts, beyond } = this.#ledger;
    let hasAdopted = false;
    for (; this.#adoptedEnd < this.#end; this.#adoptedEnd += 1) {
      const count = beyond.get(this.#adoptedEnd);
      if (count === 0) continue;
      counts.add(this.#adoptedEnd, count);
      hasAdopted = true;
    }
    return hasAdopted;
  }

  #mark(cluster: number): void {
    this.#ledger.counts.set(cluster, 1);
    this.#end = Math.max(this.#end, cluster + 1);
  }

  #isFree(cluster: number): boolean {
    return this.#ledger.counts.get(cluster) === 0 && this.#ledger.beyond.get(cluster) === 0;
  }

  #nextFree(from: number): number {
    let cluster = this.#ledger.counts.nextFree(from);
    while (!this.#isFree(cluster)) cluster = this.#ledger.counts.nextFree(cluster + 1);
    return cluster;
  }
}
