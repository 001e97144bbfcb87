// The only door to bytes. Every call completes or faults; nothing is partial.

import type { ByteSpan } from '../../base/byte-span.ts';
import type { HostOffset } from '../format/offsets.ts';

/** A file of bytes. Faults: `io-error`, `insufficient-storage`; offsets and lengths in bytes. */
export interface ByteFile {
  /** The length of the file in bytes. */
  readonly size: number;
  /** The bytes that the file occupies on its file system. */
  readonly allocatedSize: number;
  /** Fills `target`; bytes beyond the end of the file read as zeroes. */
  readAt(offset: HostOffset, target: Uint8Array): void;
  /** Writes all of `source`, growing the file if needed. */
  writeAt(offset: HostOffset, source: Uint8Array): void;
  /** Gives the bytes back to the file system where it can; they read as zeroes afterwards, and the size stays. */
  punch(offset: HostOffset, length: number): void;
  /** Reserves space, growing the file if needed; unwritten bytes read as zeroes. */
  preallocate(offset: HostOffset, length: number): void;
  /** The next stretch at or after `offset` that occupies space, or none. */
  nextData(offset: HostOffset): ByteSpan | undefined;
  /** Cuts the file or grows it with zeroes. */
  resize(size: number): void;
  /** Starts writing a span to the disk without waiting for it: pacing for bulk writers, never durability. */
  startWriteBack(offset: HostOffset, length: number): void;
  /** The kernel's number of the file, for whose bytes are copied by it; left out where they do not lie in a file of its. */
  readonly descriptor?: number | undefined;
  /**
   * In blocks of so many bytes what lies in other files is taken by {@link copyFrom}, which is better than reading it here;
   * left out, or undefined, where it is not.
   */
  readonly copyBlock?: number | undefined;
  /**
   * As {@link writeAt}, of bytes of another file that nobody reads on the way. Returns how many of them, from the start of
   * the span on, are copied; the rest the file system does not copy, or they lie beyond the end of `source`.
   */
  copyFrom?(offset: HostOffset, source: ByteFile, span: ByteSpan): number;
  /** When this returns, everything written before it survives a crash. */
  flush(): void;
  /** Releases the file; no other call may follow. */
  close(): void;
}
