// A file in memory, in pages that exist only where something was written.

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';

/** The bytes of one page, and the file that may change them in place. */
interface Page {
  readonly bytes: Uint8Array;
  readonly owner: Owner;
}

/** Tells files that share pages apart; a new one disowns every page at once. */
type Owner = object;

/** A sparse file of up to 2^53 bytes. {@link fork} copies it at the price of its page list. */
export class MemoryFile implements ByteFile {
  readonly #pages: Map<number, Page>;
  #owner: Owner = {};
  #size: number;
  /** The indexes of all pages in order, made when asked for and forgotten when pages come or go. */
  #order: readonly number[] | undefined;

  private constructor(content: { readonly pages: Map<number, Page>; readonly size: number }) {
    this.#pages = content.pages;
    this.#size = content.size;
  }

  static empty(): MemoryFile {
    return new MemoryFile({ pages: new Map(), size: 0 });
  }

  /** A file that holds a copy of the bytes. */
  static of(bytes: Uint8Array): MemoryFile {
    const file = MemoryFile.empty();
    file.#write(0, bytes);
    return file;
  }

  /** A second file with the same content; afterwards each changes for itself. */
  fork(): MemoryFile {
    this.#owner = {};
    return new MemoryFile({ pages: new Map(this.#pages), size: this.#size });
  }

  get size(): number {
    return this.#size;
  }

  get allocatedSize(): number {
    return this.#pages.size * pageSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    let done = 0;
    while (done < target.length) {
      const at = offset + done;
      const inPage = at % pageSize;
      const count = Math.min(pageSize - inPage, target.length - done);
      const page = this.#pages.get((at - inPage) / pageSize);
      if (page === undefined) target.fill(0, done, done + count);
      if (page !== undefined) target.set(page.bytes.subarray(inPage, inPage + count), done);
      done += count;
    }
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#write(offset, source);
  }

  punch(offset: HostOffset, length: number): void {
    this.#clear({ offset, length: Math.min(offset + length, this.#size) - offset });
  }

  preallocate(offset: HostOffset, length: number): void {
    if (length > 0) this.#grow(offset + length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    const order = this.#pageOrder();
    const pageIndex = Math.floor(offset / pageSize);
    const first = lowerBound(order, pageIndex);
    const firstPage = order[first];
    if (firstPage === undefined || offset >= this.#size) return undefined;
    let after = first + 1;
    while (order[after] === firstPage + (after - first)) after += 1;
    const start = Math.max(offset, firstPage * pageSize);
    const end = Math.min((firstPage + (after - first)) * pageSize, this.#size);
    return { offset: start, length: end - start };
  }

  resize(size: number): void {
    // Cut bytes must not come back when the file grows again.
    if (size < this.#size) this.#clear({ offset: size, length: this.#size - size });
    this.#size = size;
  }

  /** Nothing is paced in memory. */
  startWriteBack(_offset: HostOffset, _length: number): void {
    return;
  }

  /** Memory is as durable as it gets. */
  flush(): void {
    return;
  }

  close(): void {
    return;
  }

  #grow(size: number): void {
    assert(Number.isSafeInteger(size), 'a file ends below 2^53');
    this.#size = Math.max(this.#size, size);
  }

  #write(offset: number, source: Uint8Array): void {
    if (source.length === 0) return;
    this.#grow(offset + source.length);
    let done = 0;
    while (done < source.length) {
      const at = offset + done;
      const inPage = at % pageSize;
      const count = Math.min(pageSize - inPage, source.length - done);
      const bytes = this.#ownedPage((at - inPage) / pageSize);
      bytes.set(source.subarray(done, done + count), inPage);
      done += count;
    }
  }

  #clear(span: ByteSpan): void {
    if (span.length <= 0) return;
    const end = span.offset + span.length;
    for (const index of this.#pageOrder().slice(lowerBound(this.#pageOrder(), Math.floor(span.offset / pageSize)))) {
      const pageStart = index * pageSize;
      if (pageStart >= end) return;
      const from = Math.max(0, span.offset - pageStart);
      const to = Math.min(pageSize, end - pageStart);
      const isRest = from === 0 && pageStart + to >= this.#size;
      if ((from === 0 && to === pageSize) || isRest) this.#dropPage(index);
      else this.#ownedPage(index).fill(0, from, to);
    }
  }

  #dropPage(index: number): void {
    this.#pages.delete(index);
    this.#order = undefined;
  }

  #ownedPage(index: number): Uint8Array {
    const page = this.#pages.get(index);
    if (page !== undefined && page.owner === this.#owner) return page.bytes;
    const bytes = page === undefined ? new Uint8Array(pageSize) : page.bytes.slice();
    this.#pages.set(index, { bytes, owner: this.#owner });
    if (page === undefined) this.#order = undefined;
    return bytes;
  }

  #pageOrder(): readonly number[] {
    this.#order ??= [...this.#pages.keys()].sort((one, other) => one - other);
    return this.#order;
  }
}

/** As file systems have it: small enough that a sparse file stays sparse. */
const pageSize = 4096;

/** The position of the first number in a sorted list that is not below `wanted`. */
function lowerBound(sorted: readonly number[], wanted: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((sorted[middle] ?? wanted) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
