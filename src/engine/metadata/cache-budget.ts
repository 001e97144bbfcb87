// How much memory the caches of all images that are open here may take together.

/** A cache whose length can be limited. Lengths in bytes. */
export interface LimitedCache {
  /** What it keeps when there is enough for everybody. */
  readonly lengthWanted: number;
  /** Keeps at most so much from now on; what it needs to work at all it keeps in any case. */
  limit(length: number): void;
}

/** While there is enough, every cache has what it wants; from then on each has the same part of what it wants. */
export class CacheBudget {
  readonly #length: number;
  readonly #caches = new Set<LimitedCache>();

  /** `length` bytes for all caches together. */
  constructor(length: number) {
    this.#length = length;
  }

  /** The caches of an image that was opened. */
  join(caches: readonly LimitedCache[]): void {
    for (const cache of caches) this.#caches.add(cache);
    this.#share();
  }

  /** The caches of an image that was closed; unknown ones are no harm. */
  leave(caches: readonly LimitedCache[]): void {
    for (const cache of caches) this.#caches.delete(cache);
    this.#share();
  }

  #share(): void {
    let wanted = 0;
    for (const { lengthWanted } of this.#caches) wanted += lengthWanted;
    const part = Math.min(1, this.#length / wanted);
    for (const cache of this.#caches) cache.limit(cache.lengthWanted * part);
  }
}
