// Turns: work that must happen alone waits for the work that asked before it.

/** A queue of one: works begin in the order in which they asked, each after the end of the one before. */
export class Turns {
  #last: Promise<void> = Promise.resolve();
  #asked = 0;

  /** Whether nothing is under way and nothing waits. */
  get idle(): boolean {
    return this.#asked === 0;
  }

  /** Does the work when its turn comes; its failure is the caller's and holds up nobody else. */
  async take<Result>(work: () => Promise<Result>): Promise<Result> {
    const before = this.#last;
    const turn = Promise.withResolvers<undefined>();
    this.#last = turn.promise;
    this.#asked += 1;
    await before;
    try {
      return await work();
    } finally {
      this.#asked -= 1;
      turn.resolve(undefined);
    }
  }
}
