// How much is read before anybody asks for it: enough for those who take it fast, bounded for all together.

import { assert } from '../base/assert.ts';
import { MiB } from '../base/units.ts';

/** What may lie read and unasked for, in bytes; a client that stops taking holds one chunk of it. */
export const readAheadMax = 32 * MiB;

/** One account for all readers. Whoever gets nothing from it reads when it is asked: slower, and without a share. */
export class ReadAhead {
  readonly #bytesMax: number;
  #taken = 0;

  constructor(options: { readonly bytesMax: number }) {
    this.#bytesMax = options.bytesMax;
  }

  /** Whether so many bytes may be read ahead; {@link give} them back when they are asked for or unwanted. */
  take(length: number): boolean {
    if (this.#taken + length > this.#bytesMax) return false;
    this.#taken += length;
    return true;
  }

  give(length: number): void {
    assert(this.#taken >= length, 'what is given back was taken before');
    this.#taken -= length;
  }
}
