// Reads many small pieces that lie one behind the other: the file is asked once for a window, not once for each piece.

import { assert } from '../../base/assert.ts';
import { KiB } from '../../base/units.ts';
import { hostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';

const windowLength = 64 * KiB;

/** Good as long as nobody writes to the stretch that is read. Behind the end of the file are zeroes. */
export class FileWindow {
  /** The window; {@link seek} says where in it something lies. */
  readonly bytes = new Uint8Array(windowLength);
  readonly view = new DataView(this.bytes.buffer);
  readonly #file: ByteFile;
  #start = 0;
  #filled = false;

  constructor(file: ByteFile) {
    this.#file = file;
  }

  /** Makes the window hold `length` bytes, at most 64 KiB, from `offset` on; returns where in {@link view} they begin. */
  seek(offset: number, length: number): number {
    assert(length <= windowLength, 'what is looked at fits the window');
    const isInside = this.#filled && offset >= this.#start && offset + length <= this.#start + windowLength;
    if (!isInside) this.#fill(offset);
    return offset - this.#start;
  }

  /** Copies what lies at `offset` over all of `target`. */
  copy(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const length = Math.min(target.length - done, windowLength);
      const at = this.seek(offset + done, length);
      target.set(this.bytes.subarray(at, at + length), done);
      done += length;
    }
  }

  #fill(offset: number): void {
    this.#start = offset;
    this.#filled = true;
    if (offset < this.#file.size) this.#file.readAt(hostOffset(offset), this.bytes);
    else this.bytes.fill(0);
  }
}
