// How long the caches of an open image, and of the layers below it, keep what nobody asks for (OPT-05).

/** Outlives the caches, which are made anew when tables move; holds from the next {@link SliceCache.tidy} on. */
export class CacheCleaning {
  #seconds: number | undefined;

  /** As it was chosen; undefined when nobody has said anything. */
  get seconds(): number | undefined {
    return this.#seconds;
  }

  /** In milliseconds; undefined for as long as there is room. */
  get keptMs(): number | undefined {
    return this.#seconds === undefined || this.#seconds === 0 ? undefined : this.#seconds * 1000;
  }

  /** 0, too, for as long as there is room. */
  choose(seconds: number | undefined): void {
    this.#seconds = seconds;
  }
}
