// A file that knows whether it holds anything that a flush would make durable, and so skips flushes that would do nothing.

import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { MiB } from '../../base/units.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';

/** How much is written in a row before its way to the disk is started. */
const writeBackLength = 8 * MiB;

/** Passes everything on; a flush with nothing new since the last one costs nothing. */
export class TrackedFile implements ByteFile {
  readonly #file: ByteFile;
  #unflushed = false;
  /** What was written in a row since the last write-back was started. */
  #run: ByteSpan = { offset: 0, length: 0 };

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
    this.#pace(offset, source.length);
  }

  get descriptor(): number | undefined {
    return this.#file.descriptor;
  }

  get copyBlock(): number | undefined {
    return this.#file.copyBlock;
  }

  copyFrom(offset: HostOffset, source: ByteFile, span: ByteSpan): number {
    this.#unflushed = true;
    const copied = this.#file.copyFrom?.(offset, source, span) ?? 0;
    if (copied > 0) this.#pace(offset, copied);
    return copied;
  }

  /** Gives back what nobody uses: nothing to make durable. */
  punch(offset: HostOffset, length: number): void {
    this.#file.punch(offset, length);
  }

  /** Gives back what somebody reads as zeroes from now on: as much of a change as a write. */
  erase(offset: HostOffset, length: number): void {
    this.#unflushed = true;
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

  /** Bulk writes go to the disk while more of them come in, or the next flush would stall the thread for all of them. */
  #pace(offset: number, length: number): void {
    const follows = offset === endOf(this.#run);
    this.#run = follows ? { offset: this.#run.offset, length: this.#run.length + length } : { offset, length };
    if (this.#run.length < writeBackLength) return;
    this.#file.startWriteBack(hostOffset(this.#run.offset), this.#run.length);
    this.#run = { offset: endOf(this.#run), length: 0 };
  }
}
