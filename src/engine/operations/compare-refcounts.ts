// Compares the census with the stored refcounts, cluster by cluster, and corrects them where it is told to.

import { divideUp } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import { hostOffset } from '../format/offsets.ts';
import { readRefcount, writeRefcount } from '../format/refcount-block.ts';
import type { Census } from './census.ts';
import type { CheckLog } from './check-log.ts';
import type { CheckSubject } from './check-subject.ts';
import type { Pace } from './pace.ts';
import { chunkLength, countIn } from './reference-counts.ts';
import type { CountChunk } from './reference-counts.ts';
import type { Steps } from './steps.ts';

/** What a comparison may change. */
export interface ComparisonOptions {
  /** Lower refcounts that are too high (CHK-04). */
  readonly fixLeaks: boolean;
  /** Raise refcounts that are too low but not zero (CHK-05). */
  readonly fixCorruptions: boolean;
  /** Give the bytes of freed clusters back to the file system. */
  readonly punch: boolean;
  /** Leave the stored refcounts (up to {@link settledMax}) in the census's counters: the flags are judged by them. */
  readonly settle: boolean;
  readonly pace: Pace;
}

export interface Comparison {
  /** The last cluster with a stored or a true reference. */
  readonly highestCluster: number;
  /** A cluster is in use and its stored refcount is zero. */
  readonly needsRebuild: boolean;
  /** Refcount table entries whose block cannot be read. */
  readonly unreadable: ReadonlySet<number>;
}

/** Stored refcounts as right as they can be made, and what was learnt on the way. */
export interface SettledRefcounts {
  readonly subject: CheckSubject;
  readonly census: Census;
  readonly comparison: Comparison;
}

/** A stored refcount above this is as good as this one: the flags ask for exactly 1. */
const settledMax = 0xff;

const noCounts: CountChunk = new Uint8Array(chunkLength);

/** Walks all clusters of the file in order. */
export function* compareRefcounts(
  subject: CheckSubject,
  census: Census,
  log: CheckLog,
  options: ComparisonOptions,
): Steps<Comparison> {
  const comparer = new Comparer(subject, census, log, options);
  const { clusterSize, refcountsPerBlock } = subject.geometry;
  const blocks = divideUp(census.ledger.clusters, refcountsPerBlock);
  const { pace } = options;
  pace.expect(blocks * clusterSize);
  for (let index = 0; index < blocks; index += 1) {
    comparer.compareBlock(index);
    const pause = pace.spend(clusterSize);
    if (pause === undefined) continue;
    comparer.settleStep();
    yield pause;
  }
  comparer.settleStep();
  census.stored.forget();
  return comparer.comparison;
}

class Comparer {
  readonly #subject: CheckSubject;
  readonly #census: Census;
  readonly #log: CheckLog;
  readonly #options: ComparisonOptions;
  readonly #block: Uint8Array;
  readonly #view: DataView;
  readonly #unreadable = new Set<number>();
  #highest = 0;
  #needsRebuild = false;
  #isBlockDirty = false;
  #hasUnflushed = false;
  /** Clusters that were freed since the last flush, as runs `[first, count]`. */
  #freed: [number, number][] = [];

  constructor(subject: CheckSubject, census: Census, log: CheckLog, options: ComparisonOptions) {
    this.#subject = subject;
    this.#census = census;
    this.#log = log;
    this.#options = options;
    this.#block = new Uint8Array(subject.geometry.clusterSize);
    this.#view = viewOf(this.#block);
  }

  get comparison(): Comparison {
    return { highestCluster: this.#highest, needsRebuild: this.#needsRebuild, unreadable: this.#unreadable };
  }

  /** Compares the clusters that refcount table entry `index` covers. */
  compareBlock(index: number): void {
    const { refcountsPerBlock } = this.#subject.geometry;
    const { counts, clusters } = this.#census.ledger;
    const first = index * refcountsPerBlock;
    const count = Math.min(refcountsPerBlock, clusters - first);
    const place = this.#census.stored.place(index);
    if (place.kind === 'unreadable') {
      this.#unreadable.add(index);
      this.#log.error(count, () => ({
        hostOffset: this.#subject.header.refcountTableOffset + index * 8,
        message: `The refcounts of ${count} clusters from cluster ${first} on cannot be read; repair "all" builds them anew.`,
      }));
      return;
    }
    if (place.kind === 'none') {
      if (!counts.hasAny(first, count)) return;
      this.#block.fill(0);
    } else {
      this.#census.stored.readBlock(place.offset, this.#block);
    }
    for (let slot = 0; slot < count;) {
      const chunkEnd = (Math.floor((first + slot) / chunkLength) + 1) * chunkLength;
      const pieceEnd = Math.min(count, chunkEnd - first);
      this.#comparePiece(first, slot, pieceEnd);
      slot = pieceEnd;
    }
    if (!this.#isBlockDirty || place.kind !== 'placed') return;
    this.#subject.file.writeAt(hostOffset(place.offset), this.#block);
    this.#isBlockDirty = false;
    this.#hasUnflushed = true;
  }

  /** Makes what was written since the last step durable, then punches what it freed. */
  settleStep(): void {
    if (!this.#hasUnflushed) return;
    this.#subject.file.flush();
    this.#hasUnflushed = false;
    const { clusterSize } = this.#subject.geometry;
    const { file } = this.#subject;
    for (const [first, count] of this.#freed) {
      const offset = first * clusterSize;
      const length = Math.min(count * clusterSize, file.size - offset);
      if (length > 0) file.punch(hostOffset(offset), length);
    }
    this.#freed = [];
  }

  /** Compares the slots `from … to` of the block; they lie in one chunk of counters. */
  #comparePiece(first: number, from: number, to: number): void {
    const view = this.#view;
    const order = this.#subject.geometry.refcountOrder;
    const { counts } = this.#census.ledger;
    const chunkFirst = Math.floor((first + from) / chunkLength) * chunkLength;
    const chunk = counts.chunkIfAny(chunkFirst / chunkLength) ?? noCounts;
    const shift = first - chunkFirst;
    let highest = -1;
    for (let slot = from; slot < to; slot += 1) {
      const stored = order === 4 ? view.getUint16(slot * 2) : readRefcount(view, order, slot);
      const counted = countIn(chunk, slot + shift);
      if (stored !== 0 || counted !== 0) highest = slot;
      if (stored !== counted) this.#differ(first, slot, { stored, counted });
    }
    if (highest >= 0) this.#highest = first + highest;
  }

  #differ(first: number, slot: number, found: { readonly stored: number; readonly counted: number }): void {
    const { stored, counted } = found;
    const { settle } = this.#options;
    const cluster = first + slot;
    if (stored === 0) this.#needsRebuild = true;
    if (this.#fix(cluster, slot, found)) return;
    if (stored < counted) this.#log.corruption(1, () => this.#finding(cluster, found));
    else this.#log.leak(() => this.#finding(cluster, found));
    if (settle) this.#census.ledger.counts.set(cluster, Math.min(stored, settledMax));
  }

  /** Corrects the refcount in the block, where it may; the census's counter is right already. */
  #fix(cluster: number, slot: number, found: { readonly stored: number; readonly counted: number }): boolean {
    const { stored, counted } = found;
    const isLeak = stored > counted;
    if (stored === 0 || !(isLeak ? this.#options.fixLeaks : this.#options.fixCorruptions)) return false;
    writeRefcount(this.#view, this.#subject.geometry.refcountOrder, slot, counted);
    this.#isBlockDirty = true;
    if (isLeak) this.#log.leaksFixed += 1;
    else this.#log.corruptionsFixed += 1;
    if (counted === 0 && this.#options.punch) this.#noteFreed(cluster);
    return true;
  }

  #noteFreed(cluster: number): void {
    const last = this.#freed.at(-1);
    if (last !== undefined && last[0] + last[1] === cluster) last[1] += 1;
    else this.#freed.push([cluster, 1]);
  }

  #finding(
    cluster: number,
    { stored, counted }: { readonly stored: number; readonly counted: number },
  ): { readonly hostOffset: number; readonly message: string } {
    return {
      hostOffset: cluster * this.#subject.geometry.clusterSize,
      message: `Host cluster ${cluster} has refcount ${stored} and ${counted} references.`,
    };
  }
}
