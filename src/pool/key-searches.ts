// How many keys are computed at a time: each costs seconds of a core, and a hostile image asks for more.

import type { NewEncryption } from '../engine/image.ts';
import { patient } from './patience.ts';

/** Looks for a key, or makes one, and stops between two computations once the signal is aborted. */
export type FindKey<Found> = (signal: AbortSignal) => Promise<Found>;

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
  async find<Found>(
    search: FindKey<Found>,
    options: { readonly signal: AbortSignal | undefined; readonly wipe: (found: Found) => void },
  ): Promise<Found> {
    const { signal, wipe } = options;
    const stopping = new AbortController();
    const work = this.#inTurn(search, stopping.signal);
    try {
      return await patient(work, { signal, waitMs: this.#waitMs });
    } catch (error) {
      stopping.abort(error);
      // Nobody is left for a key that is found all the same, nor for what went wrong.
      work.then(wipe, () => undefined);
      throw error;
    }
  }

  /** Makes the key of a new image, lets `use` have it, and wipes it. */
  async withNewKey<Result>(
    make: FindKey<unknown>,
    options: { readonly signal: AbortSignal | undefined; readonly use: (made: NewEncryption) => Promise<Result> },
  ): Promise<Result> {
    const wipe = ({ volumeKey }: NewEncryption): void => void volumeKey.fill(0);
    const made = await this.find(make as FindKey<NewEncryption>, { signal: options.signal, wipe });
    try {
      return await options.use(made);
    } finally {
      wipe(made);
    }
  }

  async #inTurn<Found>(search: FindKey<Found>, signal: AbortSignal): Promise<Found> {
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
