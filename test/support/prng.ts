// Chance from a seed: the same seed gives the same run.

import { assert } from '../../src/base/assert.ts';

/** A small fast generator (mulberry32); good enough to choose test cases, and for nothing else. */
export class Prng {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 up to, but not including, `bound` (at most 2^32). */
  below(bound: number): number {
    assert(bound > 0, 'there is something to choose from');
    return Math.floor((this.#next() / 0x1_0000_0000) * bound);
  }

  /** True in `percent` of all cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<Value>(values: readonly Value[]): Value {
    const value = values[this.below(values.length)];
    assert(value !== undefined, 'values to pick from are defined');
    return value;
  }

  /** So many bytes, none of them zero, so that lost bytes never look like written ones. */
  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 1) bytes[at] = 1 + (this.#next() % 255);
    return bytes;
  }

  /** An independent generator, so that what one part draws does not shift what another part sees. */
  fork(): Prng {
    return new Prng(this.#next());
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}
