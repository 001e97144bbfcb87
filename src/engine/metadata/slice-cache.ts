// A write-back cache of equal slices of metadata clusters: L2 tables or refcount blocks.

import { assert } from '../../base/assert.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf } from '../format/big-endian.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { LimitedCache } from './cache-budget.ts';
import type { CacheCleaning } from './cache-cleaning.ts';

/**
 * A cached stretch of one table. Whoever changes its bytes calls {@link SliceCache.markDirty} before anything else is
 * asked of the cache: a slice may leave the cache with the next `get`.
 */
export interface Slice {
  readonly offset: HostOffset;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export interface SliceCacheParts {
  readonly file: ByteFile;
  /** Bytes of one slice; slices start at multiples of it. */
  readonly sliceLength: number;
  /** So many slices are kept, or fewer where {@link SliceCache.limit} says so; see {@link SliceCache.want}. */
  readonly slicesMax: number;
  /** When what is clean and was not asked for is dropped (OPT-05); undefined for never. */
  readonly cleaning?: CacheCleaning | undefined;
  /** Called before dirty slices are written: makes what they refer to durable first. */
  readonly beforeWrite: () => void;
}

/** How a cache does. Lengths in bytes. */
export interface CacheFigures {
  /** What it keeps now, and the most that it keeps. */
  readonly length: number;
  readonly lengthMax: number;
  readonly sliceLength: number;
  /** How often a slice was there when it was asked for, and how often it was read, since the image was opened. */
  readonly hits: number;
  readonly misses: number;
}

/** Fewer would let a slice leave while its caller still fills it. */
export const slicesMin = 16;

class CachedSlice implements Slice {
  readonly offset: HostOffset;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  dirty = false;
  /** Asked for since the hand of the clock last passed. */
  used = true;
  /** Asked for since the cache was last tidied. */
  touched = true;
  live = true;

  constructor(offset: HostOffset, bytes: Uint8Array) {
    this.offset = offset;
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }
}

/** Keeps slices by the clock rule: one that was not asked for since the hand's last round goes first. */
export class SliceCache implements LimitedCache {
  readonly #parts: SliceCacheParts;
  #slicesWanted: number;
  /** As many as are wanted, or fewer. */
  #slicesMax: number;
  /** In the order of the clock: the hand is at the front. */
  readonly #slices = new Map<number, CachedSlice>();
  readonly #dirty = new Set<CachedSlice>();
  #latest: CachedSlice | undefined;
  #hits = 0;
  #misses = 0;
  #tidiedAtMs: number | undefined;

  constructor(parts: SliceCacheParts) {
    this.#parts = parts;
    this.#slicesWanted = Math.max(slicesMin, parts.slicesMax);
    this.#slicesMax = this.#slicesWanted;
  }

  get sliceLength(): number {
    return this.#parts.sliceLength;
  }

  get lengthWanted(): number {
    return this.#slicesWanted * this.#parts.sliceLength;
  }

  /** Keeps up to `length` bytes from now on, until it is limited again. */
  want(length: number): void {
    this.#slicesWanted = Math.max(slicesMin, Math.floor(length / this.#parts.sliceLength));
    this.limit(this.lengthWanted);
  }

  /** Drops clean slices at once; changed ones leave when they have been written and room is needed. */
  limit(length: number): void {
    const slices = Math.floor(length / this.#parts.sliceLength);
    this.#slicesMax = Math.max(slicesMin, Math.min(slices, this.#slicesWanted));
    for (const slice of this.#slices.values()) {
      if (this.#slices.size <= this.#slicesMax) break;
      if (!slice.dirty && slice !== this.#latest) this.#remove(slice);
    }
  }

  /** To be called again and again, with milliseconds that only grow. */
  tidy(nowMs: number): void {
    const keptMs = this.#parts.cleaning?.keptMs;
    this.#tidiedAtMs ??= nowMs;
    if (keptMs === undefined || nowMs - this.#tidiedAtMs < keptMs) return;
    this.#tidiedAtMs = nowMs;
    for (const slice of this.#slices.values()) {
      if (!slice.touched && !slice.dirty && slice !== this.#latest) this.#remove(slice);
      slice.touched = false;
    }
  }

  get figures(): CacheFigures {
    const { sliceLength } = this.#parts;
    return {
      length: this.#slices.size * sliceLength,
      lengthMax: this.#slicesMax * sliceLength,
      sliceLength,
      hits: this.#hits,
      misses: this.#misses,
    };
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The slice at `offset`, a multiple of the slice length; read when it is not here. Faults of the file. */
  get(offset: HostOffset): Slice {
    if (this.#latest?.offset === offset) {
      this.#hits += 1;
      return this.#latest;
    }
    const known = this.#slices.get(offset);
    if (known !== undefined) {
      this.#hits += 1;
      known.used = true;
      known.touched = true;
      if (this.#latest !== undefined) this.#latest.touched = true;
      this.#latest = known;
      return known;
    }
    assert(offset % this.#parts.sliceLength === 0, 'a slice starts at a multiple of its length');
    this.#misses += 1;
    while (this.#slices.size >= this.#slicesMax) this.#evictOne();
    const slice = new CachedSlice(offset, new Uint8Array(this.#parts.sliceLength));
    this.#parts.file.readAt(offset, slice.bytes);
    this.#slices.set(offset, slice);
    this.#latest = slice;
    return slice;
  }

  /** The slice was changed and reaches the disk with the next write-back. */
  markDirty(slice: Slice): void {
    assert(slice instanceof CachedSlice, 'a slice comes from a cache');
    assert(slice.live, 'a changed slice is still in the cache');
    slice.dirty = true;
    this.#dirty.add(slice);
  }

  /** Writes all dirty slices, neighbours in one piece, after what they wait for. Makes nothing durable itself. */
  writeBack(): void {
    if (this.#dirty.size === 0) return;
    this.#parts.beforeWrite();
    const slices = [...this.#dirty].toSorted((one, other) => one.offset - other.offset);
    let start = 0;
    while (start < slices.length) {
      const run = neighboursFrom(slices, start, this.#parts.sliceLength);
      this.#writeRun(run);
      start += run.length;
    }
  }

  /** Drops the slices of a span without writing them: the clusters belong to nobody any more (T47). */
  forget(offset: HostOffset, length: number): void {
    for (let at: number = offset; at < offset + length; at += this.#parts.sliceLength) {
      const slice = this.#slices.get(at);
      if (slice !== undefined) this.#remove(slice);
    }
  }

  #writeRun(run: readonly CachedSlice[]): void {
    const [first] = run;
    assert(first !== undefined, 'a run of slices is not empty');
    if (run.length === 1) {
      this.#parts.file.writeAt(first.offset, first.bytes);
    } else {
      const joined = new Uint8Array(run.length * this.#parts.sliceLength);
      run.forEach((slice, index) => {
        joined.set(slice.bytes, index * this.#parts.sliceLength);
      });
      this.#parts.file.writeAt(first.offset, joined);
    }
    for (const slice of run) {
      slice.dirty = false;
      this.#dirty.delete(slice);
    }
  }

  #evictOne(): void {
    for (;;) {
      const [slice] = this.#slices.values();
      assert(slice !== undefined, 'a full cache has slices');
      if (!slice.used && slice !== this.#latest) {
        if (slice.dirty) this.writeBack();
        this.#remove(slice);
        return;
      }
      slice.used = false;
      this.#slices.delete(slice.offset);
      this.#slices.set(slice.offset, slice);
    }
  }

  #remove(slice: CachedSlice): void {
    slice.live = false;
    this.#slices.delete(slice.offset);
    this.#dirty.delete(slice);
    if (this.#latest === slice) this.#latest = undefined;
  }
}

/** Slices are joined up to this length, so that one write stays bounded. */
const joinedLengthMax = 1024 * 1024;

function neighboursFrom(slices: readonly CachedSlice[], start: number, sliceLength: number): readonly CachedSlice[] {
  const countMax = Math.max(1, Math.floor(joinedLengthMax / sliceLength));
  let end = start + 1;
  while (end < slices.length && end - start < countMax) {
    const before = slices[end - 1];
    const next = slices[end];
    if (before === undefined || next === undefined || next.offset !== before.offset + sliceLength) break;
    end += 1;
  }
  return slices.slice(start, end);
}

/** The slice length for an image: small enough that a random lookup reads little. */
export function sliceLengthOf(clusterSize: number): number {
  return Math.min(clusterSize, sliceLengthMax);
}

/**
 * OPT-02: QEMU's slice length for disks that its cache cannot cover, here for all: the shortest cache stays short with any
 * cluster size.
 */
const sliceLengthMax = 4096;

/** The offset of the slice that holds byte `at` of the table at `table`. */
export function sliceOffset(table: HostOffset, at: number, sliceLength: number): HostOffset {
  return hostOffset(table + at - (at % sliceLength));
}
