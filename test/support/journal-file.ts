// A file that remembers every change, so that a test can lay out what a crash would have left.

import type { ByteSpan } from '../../src/base/byte-span.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { HostOffset } from '../../src/engine/format/offsets.ts';

/** One change of the file, or the moment at which everything before it became durable. */
export type JournalEntry =
  | { readonly kind: 'write'; readonly offset: HostOffset; readonly bytes: Uint8Array }
  | { readonly kind: 'punch'; readonly offset: HostOffset; readonly length: number }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'flush' };

export class JournalFile implements ByteFile {
  readonly journal: JournalEntry[] = [];
  /** Bytes asked for by reads. */
  bytesRead = 0;
  readonly #file: MemoryFile;
  readonly #start: MemoryFile;

  constructor(bytes: Uint8Array) {
    this.#file = MemoryFile.of(bytes);
    this.#start = this.#file.fork();
  }

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.bytesRead += target.length;
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#do({ kind: 'write', offset, bytes: source.slice() });
  }

  punch(offset: HostOffset, length: number): void {
    this.#do({ kind: 'punch', offset, length });
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.#do({ kind: 'resize', size });
  }

  startWriteBack(): void {
    // Pacing only: nothing becomes durable by it.
  }

  flush(): void {
    this.journal.push({ kind: 'flush' });
  }

  close(): void {
    this.#file.close();
  }

  /**
   * Every file that a crash may have left, by one rule: all changes before some flush are there, and of those between it
   * and the crash all, all but one, or only one.
   */
  *crashes(): Generator<MemoryFile> {
    const durable = this.#start.fork();
    let pending: JournalEntry[] = [];
    for (const entry of [...this.journal, { kind: 'flush' } as const]) {
      if (entry.kind !== 'flush') {
        pending.push(entry);
        yield replayed(durable, pending);
        continue;
      }
      for (const one of pending) {
        yield replayed(durable, [one]);
        yield replayed(
          durable,
          pending.filter((other) => other !== one),
        );
      }
      for (const change of pending) apply(durable, change);
      pending = [];
    }
  }

  #do(entry: JournalEntry): void {
    this.journal.push(entry);
    apply(this.#file, entry);
  }
}

function replayed(durable: MemoryFile, changes: readonly JournalEntry[]): MemoryFile {
  const file = durable.fork();
  for (const change of changes) apply(file, change);
  return file;
}

function apply(file: MemoryFile, entry: JournalEntry): void {
  switch (entry.kind) {
    case 'write':
      file.writeAt(entry.offset, entry.bytes);
      return;
    case 'punch':
      file.punch(entry.offset, entry.length);
      return;
    case 'resize':
      file.resize(entry.size);
      return;
    case 'flush':
  }
}
