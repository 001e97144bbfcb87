// Buffers of answered reads that came back: the next read of the same length is spared a new one, and a collection.

import { isMarkedAsUntransferable } from 'node:worker_threads';

import { isPowerOfTwo } from '../base/integers.ts';
import { KiB, MiB } from '../base/units.ts';

/** Smaller ones cost less to make than to keep. */
const lengthMin = 32 * KiB;

/** What is kept, in bytes. */
const keptMax = 32 * MiB;

/** Keeps the lengths that are asked for again and again: powers of two. */
export class SpareBuffers {
  readonly #byLength = new Map<number, Set<ArrayBuffer>>();
  #kept = 0;

  /** Keeps the buffer that the bytes fill, or leaves it to the collector. Twice is no harm. */
  give(bytes: Uint8Array): void {
    const { buffer } = bytes;
    const { byteLength } = buffer;
    if (byteLength < lengthMin || bytes.length !== byteLength) return;
    if (!(buffer instanceof ArrayBuffer) || !isPowerOfTwo(byteLength)) return;
    if (this.#kept + byteLength > keptMax || isMarkedAsUntransferable(buffer)) return;
    const spares = this.#byLength.get(byteLength) ?? new Set();
    this.#byLength.set(byteLength, spares);
    if (spares.has(buffer)) return;
    spares.add(buffer);
    this.#kept += byteLength;
  }

  /** A buffer of exactly this length, with whatever it held before; undefined when there is none. */
  take(length: number): ArrayBuffer | undefined {
    const spares = this.#byLength.get(length);
    for (const buffer of spares ?? []) {
      spares?.delete(buffer);
      this.#kept -= length;
      if (!buffer.detached) return buffer;
    }
    return undefined;
  }
}
