// Bytes that lie in a file, so that they can be copied without anybody reading them.

import type { ByteSpan } from '../../base/byte-span.ts';
import { MiB } from '../../base/units.ts';
import type { HostOffset } from '../format/offsets.ts';
import { hostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';

/** Bytes in memory, or in a file: whoever passes them on need not know. */
export type ByteSource = Uint8Array | FileSpan;

/** What of it lies beyond the end of the file are zeroes. Nobody changes the file meanwhile. */
export class FileSpan {
  readonly #file: ByteFile;
  /** Where they begin, in bytes of the file. */
  readonly offset: HostOffset;
  readonly length: number;

  constructor(file: ByteFile, span: ByteSpan) {
    this.#file = file;
    this.offset = hostOffset(span.offset);
    this.length = span.length;
  }

  /** A part of it, as of an array. */
  subarray(from: number, end: number = this.length): FileSpan {
    return new FileSpan(this.#file, { offset: this.offset + from, length: end - from });
  }

  /** As one write of another file; what that does not copy by itself is read and written. Faults of both files. */
  copyTo(target: ByteFile, at: HostOffset): void {
    let done = target.copyFrom?.(at, this.#file, this) ?? 0;
    while (done < this.length) {
      const piece = this.subarray(done, Math.min(this.length, done + pieceLengthMax)).read();
      target.writeAt(hostOffset(at + done), piece);
      done += piece.length;
    }
  }

  /** The bytes in memory. */
  read(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    this.#file.readAt(this.offset, bytes);
    return bytes;
  }
}

const pieceLengthMax = 1 * MiB;
