// How much memory the caches of all images that are open here may take together.

/** A cache whose length can be limited. Lengths in bytes. */
export interface LimitedCache {
  /** What it keeps when there is enough for everybody. */
  readonly lengthWanted: number;
  /** Keeps at most so much from now on; what it needs to work at all it keeps in any case. */
  limit(length: number): void;
  /** Drops what was not used for long, if it is to; milliseconds that only grow. */
  tidy(nowMs: number): void;
  readonly figures: CacheTotals;
}

/** How caches do, taken together: what they keep now, and how often something was there or not. */
export interface CacheTotals {
  readonly length: number;
  readonly hits: number;
  readonly misses: number;
}

/** While there is enough, every cache has what it wants; from then on each has the same part of what it wants. */
export class CacheBudget {
  readonly #length: number;
  readonly #caches = new Set<LimitedCache>();
  #hitsBefore = 0;
  #missesBefore = 0;

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
    for (const cache of caches) {
      if (!this.#caches.delete(cache)) continue;
      this.#hitsBefore += cache.figures.hits;
      this.#missesBefore += cache.figures.misses;
    }
    this.#share();
  }

  /** Some of them want more or less than before. */
  shareAnew(): void {
    this.#share();
  }

  /** See {@link LimitedCache.tidy}. */
  tidy(nowMs: number): void {
    for (const cache of this.#caches) cache.tidy(nowMs);
  }

  /** Of all caches that there are, and the counts of those that there were. */
  get totals(): CacheTotals {
    const totals = { length: 0, hits: this.#hitsBefore, misses: this.#missesBefore };
    for (const { figures } of this.#caches) {
      totals.length += figures.length;
      totals.hits += figures.hits;
      totals.misses += figures.misses;
    }
    return totals;
  }

  #share(): void {
    let wanted = 0;
    for (const { lengthWanted } of this.#caches) wanted += lengthWanted;
    const part = Math.min(1, this.#length / wanted);
    for (const cache of this.#caches) cache.limit(cache.lengthWanted * part);
  }
}
