// Turns: work that must happen alone waits for the work that asked before it.

/** A queue of one: works begin in the order in which they asked, each after the end of the one before. */
export class Turns {
  #last: Promise<void> = Promise.resolve();
  #asked = 0;

  /** Whether nothing is under way and nothing waits. */
  get idle(): boolean {
    return this.#asked === 0;
  }

  /** Like {@link take}, unless the turn does not come in time: then the work is not done, and `late` says so. */
  async takeWithin<Result>(limitMs: number, work: () => Promise<Result>, late: () => Error): Promise<Result> {
    const state = { isLate: false };
    const limit = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      state.isLate = true;
      limit.reject(late());
    }, limitMs);
    const turn = this.take(async () => {
      clearTimeout(timer);
      return state.isLate ? await limit.promise : await work();
    });
    return Promise.race([turn, limit.promise]);
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
