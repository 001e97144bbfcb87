// A file that knows whether it holds anything that a flush would make durable, and so skips flushes that would do nothing.

import type { ByteSpan } from '../../base/byte-span.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';

/** Passes everything on; a flush with nothing new since the last one costs nothing. */
export class TrackedFile implements ByteFile {
  readonly #file: ByteFile;
  #unflushed = false;

  constructor(file: ByteFile) {
    this.#file = file;
  }

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  /** Whether something was written that no flush has covered yet. */
  get unflushed(): boolean {
    return this.#unflushed;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#unflushed = true;
    this.#file.writeAt(offset, source);
  }

  /** Gives back what nobody uses: nothing to make durable. */
  punch(offset: HostOffset, length: number): void {
    this.#file.punch(offset, length);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#unflushed = true;
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.#unflushed = true;
    this.#file.resize(size);
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#file.startWriteBack(offset, length);
  }

  flush(): void {
    if (!this.#unflushed) return;
    this.#file.flush();
    this.#unflushed = false;
  }

  close(): void {
    this.#file.close();
  }
}
