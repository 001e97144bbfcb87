// Turns: work that must happen alone waits for the work that asked before it.

/** What ends the waiting of whoever asked for a turn. */
export interface MayLeave {
  /** How long it waits for its turn to come, in milliseconds, and what it is told after that; as long as it takes when left out. */
  readonly within?: { readonly limitMs: number; readonly late: () => Error };
  readonly signals: readonly AbortSignal[];
  /** Told after the turn of somebody who has left, whatever became of it. */
  readonly onLeft?: () => void;
}

/** Whoever asked does not leave from now on; throws the signal's reason when it has left already. */
export type Stay = () => void;

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
    const mayLeave = { within: { limitMs, late }, signals: [] };
    return this.takeUnless(mayLeave, async () => work());
  }

  /**
   * Like {@link take}, for whoever may leave: told so at once with the signal's reason, whatever goes on in the turn. A work
   * whose turn has not come is not done then; one that has begun goes on as far as {@link Stay}, which throws.
   */
  async takeUnless<Result>(mayLeave: MayLeave, work: (stay: Stay) => Promise<Result>): Promise<Result> {
    for (const signal of mayLeave.signals) signal.throwIfAborted();
    const late = new AbortController();
    const { within } = mayLeave;
    const timer = within && setTimeout(() => late.abort(within.late()), within.limitMs);
    const signal = AbortSignal.any([late.signal, ...mayLeave.signals]);
    const leaving = Promise.withResolvers<never>();
    const leave = (): void => leaving.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
    };
    const stay = (): void => {
      signal.throwIfAborted();
      end();
    };
    const turn = this.take(async () => {
      signal.throwIfAborted();
      clearTimeout(timer);
      return work(stay);
    });
    try {
      return await Promise.race([turn, leaving.promise]);
    } finally {
      end();
      if (signal.aborted && mayLeave.onLeft !== undefined) turn.then(mayLeave.onLeft, mayLeave.onLeft);
    }
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
