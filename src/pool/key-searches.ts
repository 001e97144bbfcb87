// How many keys are computed at a time: each costs seconds of a core, and a hostile image asks for more.

import { patient } from './patience.ts';

/** Looks for one volume key, and stops between two computations once the signal is aborted. */
export type FindKey = (signal: AbortSignal) => Promise<Uint8Array>;

/** Of the four threads that the system computes and reads files on, so many. */
const searchesAtOnceMax = 2;

/** Others wait for their turn. Nobody waits longer than `waitMs`, nor after the own signal was aborted. */
export class KeySearches {
  readonly #waitMs: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: { readonly waitMs: number }) {
    this.#waitMs = options.waitMs;
  }

  /** Faults of the search, and `engine-busy` {waitedMs}. The turn ends when the last computation does, whoever still waits. */
  async find(search: FindKey, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const stopping = new AbortController();
    const work = this.#inTurn(search, stopping.signal);
    try {
      return await patient(work, { signal, waitMs: this.#waitMs });
    } catch (error) {
      stopping.abort(error);
      // Nobody is left for a key that is found all the same, nor for what went wrong.
      work.then(
        (key) => key.fill(0),
        () => undefined,
      );
      throw error;
    }
  }

  async #inTurn(search: FindKey, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#running >= searchesAtOnceMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      signal.throwIfAborted();
      return await search(signal);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
