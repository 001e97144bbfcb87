// The snapshot table as a check sees it: columns of numbers, for a small file can claim 65,536 entries.

import { present } from '../../base/assert.ts';
import { snapshotEntryLength } from '../format/snapshot-table.ts';

/** Entries by index, in the order of the table; offsets and lengths in bytes. */
export class SnapshotPlaces {
  readonly tableOffset: number;
  /** How many entries at the end a repair drops (SNT-05). */
  dropped = 0;
  #count = 0;
  readonly #entryAt: Float64Array;
  readonly #l1TableOffset: Float64Array;
  readonly #l1Entries: Uint32Array;
  readonly #extraLength: Uint32Array;
  readonly #length: Float64Array;

  constructor(table: { readonly offset: number; readonly countMax: number }) {
    this.tableOffset = table.offset;
    this.#entryAt = new Float64Array(table.countMax);
    this.#l1TableOffset = new Float64Array(table.countMax);
    this.#l1Entries = new Uint32Array(table.countMax);
    this.#extraLength = new Uint32Array(table.countMax);
    this.#length = new Float64Array(table.countMax);
  }

  /** Notes the next entry: it lies at `entryAt` in the file, and its fixed part at `at` in the view. */
  add(entryAt: number, view: DataView, at: number): void {
    const index = this.#count;
    this.#entryAt[index] = entryAt;
    this.#l1TableOffset[index] = view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4);
    this.#l1Entries[index] = view.getUint32(at + 8);
    this.#extraLength[index] = view.getUint32(at + 36);
    this.#length[index] = snapshotEntryLength(view, at);
    this.#count += 1;
  }

  get count(): number {
    return this.#count;
  }

  /** Without padding behind the last entry. */
  get tableLength(): number {
    const last = this.#count - 1;
    return last < 0 ? 0 : this.entryAt(last) + this.length(last) - this.tableOffset;
  }

  entryAt(index: number): number {
    return present(this.#entryAt[index], outside);
  }

  /** May be above 2^53 in a broken image. */
  l1TableOffset(index: number): number {
    return present(this.#l1TableOffset[index], outside);
  }

  l1Entries(index: number): number {
    return present(this.#l1Entries[index], outside);
  }

  extraLength(index: number): number {
    return present(this.#extraLength[index], outside);
  }

  /** Of the entry, without padding. */
  length(index: number): number {
    return present(this.#length[index], outside);
  }
}

const outside = 'an entry is asked for by an index inside the table';
