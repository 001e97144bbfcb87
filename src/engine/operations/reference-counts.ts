// How often each host cluster is referenced: counters that take a byte a cluster, made where they are needed.

import { assert, present } from '../../base/assert.ts';

/** Counters of one chunk. */
export const chunkLength = 0x1_0000;
const chunkBits = 16;
const chunkMask = 0xffff;
/** What a counter of one byte holds; a chunk with a larger one is widened. */
const narrowMax = 0xff;

/** Narrow until one of its counters needs more than a byte. */
export type CountChunk = Uint8Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** Counts by cluster index (below 2^31), each saturating at `countMax` as the image's refcounts would. */
export class ReferenceCounts {
  readonly countMax: number;
  readonly #chunks: (CountChunk | undefined)[] = [];

  constructor(options: { readonly countMax: number }) {
    this.countMax = options.countMax;
  }

  /** The first cluster behind the last chunk. */
  get end(): number {
    return this.#chunks.length * chunkLength;
  }

  get(cluster: number): number {
    return this.#chunks[cluster >>> chunkBits]?.[cluster & chunkMask] ?? 0;
  }

  /** Raises a count; returns by how much it would have passed {@link countMax}. */
  add(cluster: number, count: number): number {
    const sum = this.get(cluster) + count;
    const kept = Math.min(sum, this.countMax);
    this.set(cluster, kept);
    return sum - kept;
  }

  set(cluster: number, count: number): void {
    assert(cluster >= 0 && cluster < 2 ** 31 + chunkLength, 'a counted cluster is below the limit of a check');
    const index = cluster >>> chunkBits;
    let chunk = this.chunkAt(index);
    if (count > narrowMax && chunk instanceof Uint8Array) {
      chunk = Float64Array.from(chunk);
      this.#chunks[index] = chunk;
    }
    chunk[cluster & chunkMask] = count;
  }

  /** The counters `index * chunkLength …`, made if they are not there yet. */
  chunkAt(index: number): CountChunk {
    while (this.#chunks.length <= index) this.#chunks.push(undefined);
    const known = this.#chunks[index];
    if (known !== undefined) return known;
    const chunk = new Uint8Array(chunkLength);
    this.#chunks[index] = chunk;
    return chunk;
  }

  /** The counters `index * chunkLength …`, or undefined where all are zero. */
  chunkIfAny(index: number): CountChunk | undefined {
    return this.#chunks[index];
  }

  /** Whether any of `count` clusters from `first` on is referenced. */
  hasAny(first: number, count: number): boolean {
    const end = Math.min(first + count, this.end);
    for (let at = first; at < end; at = (Math.floor(at / chunkLength) + 1) * chunkLength) {
      const chunk = this.#chunks[at >>> chunkBits];
      if (chunk === undefined) continue;
      const from = at & chunkMask;
      const to = Math.min(from + end - at, chunkLength);
      for (let slot = from; slot < to; slot += 1) if (chunk[slot] !== 0) return true;
    }
    return false;
  }

  /** The first cluster at or after `from` that nothing references. */
  nextFree(from: number): number {
    for (let at = from; at < this.end; at = (Math.floor(at / chunkLength) + 1) * chunkLength) {
      const chunk = this.#chunks[at >>> chunkBits];
      if (chunk === undefined) return at;
      const slot = chunk.indexOf(0, at & chunkMask);
      if (slot >= 0) return (at >>> chunkBits) * chunkLength + slot;
    }
    return Math.max(from, this.end);
  }
}

/** A narrow chunk, or undefined where the slow way is needed. */
export function narrow(chunk: CountChunk): Uint8Array<ArrayBuffer> | undefined {
  return chunk instanceof Uint8Array ? chunk : undefined;
}

/** Reads a slot that is known to be there. */
export function countIn(chunk: CountChunk, slot: number): number {
  return present(chunk[slot], 'a slot lies inside its chunk');
}
