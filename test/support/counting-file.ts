// A file in memory that counts flushes and remembers what was written where: for tests of order and cost.

import type { ByteSpan } from '../../src/base/byte-span.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { HostOffset } from '../../src/engine/format/offsets.ts';

export class CountingFile implements ByteFile {
  readonly #file: MemoryFile;
  flushCount = 0;
  /** Writes and flushes in order; a flush is `undefined`. */
  readonly log: (ByteSpan | undefined)[] = [];

  constructor(file: MemoryFile) {
    this.#file = file;
  }

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.log.push({ offset, length: source.length });
    this.#file.writeAt(offset, source);
  }

  punch(offset: HostOffset, length: number): void {
    this.#file.punch(offset, length);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.#file.resize(size);
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#file.startWriteBack(offset, length);
  }

  flush(): void {
    this.flushCount += 1;
    this.log.push(undefined);
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }
}
