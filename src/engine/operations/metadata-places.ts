// Where metadata lies that a repair of a mapping table must not write over.

import { overlaps } from '../../base/byte-span.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { TableCover } from './table-cover.ts';

/** A damaged entry can name any place as an L2 table: a repair asks here before it writes to one. L2 tables are not kept. */
export class MetadataPlaces {
  readonly #clusterSize: number;
  readonly #activeL1: ByteSpan;
  readonly #others = new TableCover();
  readonly #refcountBlocks = new Set<number>();
  /** The places of all others, merged and in order, once somebody has asked: where they begin and end. */
  #merged: { readonly starts: readonly number[]; readonly ends: readonly number[] } | undefined;

  constructor(options: { readonly clusterSize: number; readonly activeL1: ByteSpan }) {
    this.#clusterSize = options.clusterSize;
    this.#activeL1 = options.activeL1;
  }

  add(offset: number, length: number): void {
    this.#others.add(offset, length);
    this.#merged = undefined;
  }

  /** Refcount blocks can be many and are one cluster each. */
  addRefcountBlock(offset: number): void {
    this.#refcountBlocks.add(Math.floor(offset / this.#clusterSize));
  }

  /** Whether the span holds any metadata. */
  isOwned(span: ByteSpan): boolean {
    return this.isOwnedBesidesL1(span) || overlaps(this.#activeL1, span);
  }

  /** Whether the span holds metadata other than the active L1 table. */
  isOwnedBesidesL1(span: ByteSpan): boolean {
    const first = Math.floor(span.offset / this.#clusterSize);
    const last = Math.floor((span.offset + span.length - 1) / this.#clusterSize);
    for (let cluster = first; cluster <= last; cluster += 1) if (this.#refcountBlocks.has(cluster)) return true;
    this.#merged ??= this.#merge();
    const { starts, ends } = this.#merged;
    const index = firstAbove(ends, span.offset);
    return (starts[index] ?? Infinity) < span.offset + span.length;
  }

  #merge(): { readonly starts: readonly number[]; readonly ends: readonly number[] } {
    const starts: number[] = [];
    const ends: number[] = [];
    for (const { offset, length } of this.#others.stretches(Infinity)) {
      if (ends.at(-1) === offset) {
        ends[ends.length - 1] = offset + length;
      } else {
        starts.push(offset);
        ends.push(offset + length);
      }
    }
    return { starts, ends };
  }
}

/** The index of the first of the ascending numbers that is above `value`, or their count. */
function firstAbove(numbers: readonly number[], value: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((numbers[middle] ?? Infinity) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
