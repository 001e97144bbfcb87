// The refcounts as the image stores them: the refcount table in memory, its blocks read as they are asked for.

import { divideUp } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import { hostOffset } from '../format/offsets.ts';
import { readRefcount } from '../format/refcount-block.ts';
import { refcountBlockOffset, refcountReservedBitsClear } from '../format/refcount-table-entry.ts';
import type { CheckSubject } from './check-subject.ts';

/** Beyond this QEMU's block layer refuses a read; above 2^53 no file reaches. */
const blockOffsetMax = 2 ** 63 - 2 ** 30;

/** What the refcount table says of one block. */
export type BlockPlace =
  /** No block: all its refcounts are zero. */
  | { readonly kind: 'none' }
  /** `offset` in bytes; beyond the end of the file it reads as zeroes. */
  | { readonly kind: 'placed'; readonly offset: number }
  /** Nothing can be read there. */
  | { readonly kind: 'unreadable'; readonly offset: number };

/** The refcounts that the file holds. */
export class StoredRefcounts {
  readonly #subject: CheckSubject;
  readonly #table: DataView;
  /** How many entries of the table lie inside the file; the rest reads as "no block". */
  readonly #entries: number;
  readonly #cached: Uint8Array;
  #cachedIndex: number | undefined;

  constructor(subject: CheckSubject) {
    const { header, geometry, file } = subject;
    const length = header.refcountTableClusters * geometry.clusterSize;
    const inside = Math.max(0, Math.min(length, file.size - header.refcountTableOffset));
    const table = new Uint8Array(divideUp(inside, 8) * 8);
    file.readAt(header.refcountTableOffset, table);
    this.#subject = subject;
    this.#table = viewOf(table);
    this.#entries = table.length / 8;
    this.#cached = new Uint8Array(geometry.clusterSize);
  }

  /** Table entries that may name a block. */
  get entries(): number {
    return this.#entries;
  }

  /** Whether the reserved bits of an entry are clear. */
  isEntrySound(index: number): boolean {
    return refcountReservedBitsClear(this.#table.getUint32(index * 8 + 4));
  }

  place(index: number): BlockPlace {
    if (index >= this.#entries) return { kind: 'none' };
    const offset = refcountBlockOffset(this.#table.getUint32(index * 8), this.#table.getUint32(index * 8 + 4));
    if (offset === 0) return { kind: 'none' };
    const aligned = offset % this.#subject.geometry.clusterSize === 0;
    return aligned && offset < blockOffsetMax ? { kind: 'placed', offset } : { kind: 'unreadable', offset };
  }

  /** Reads the block at `offset` into `target`, one cluster long. */
  readBlock(offset: number, target: Uint8Array): void {
    if (offset >= this.#subject.file.size) {
      target.fill(0);
      return;
    }
    this.#subject.file.readAt(hostOffset(offset), target);
  }

  /** One refcount, or undefined where its block cannot be read. For single questions, not for loops over clusters. */
  get(cluster: number): number | undefined {
    const { refcountsPerBlock, refcountOrder } = this.#subject.geometry;
    const index = Math.floor(cluster / refcountsPerBlock);
    const place = this.place(index);
    if (place.kind === 'none') return 0;
    if (place.kind === 'unreadable') return undefined;
    if (this.#cachedIndex !== index) {
      this.readBlock(place.offset, this.#cached);
      this.#cachedIndex = index;
    }
    return readRefcount(viewOf(this.#cached), refcountOrder, cluster % refcountsPerBlock);
  }

  /** Forgets the block that {@link get} keeps: after blocks were written. */
  forget(): void {
    this.#cachedIndex = undefined;
  }
}
