// Makes a file durable while it is still being written: the disk works on what is there, and the last sync has little left.

import { MiB } from '../base/units.ts';

/**
 * How much is written between two syncs. Starting the write-back would not do: a disk with a cache of its own does most
 * of the work when it is told to empty it, which only a sync does. One at the end would stall it for all others.
 */
const syncEvery = 32 * MiB;

/** Syncs go on one after the other, beside the writing. None of them promises anything: who needs that syncs at the end. */
export class SyncAhead {
  readonly #sync: () => Promise<void>;
  #unsynced = 0;
  /** The sync that is under way, or was last, and how it ends. */
  #underWay: Promise<{ readonly error: unknown } | undefined> | undefined;
  #isBusy = false;

  /** `sync` makes durable what was written so far. */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** So many bytes more were written. Waits when the disk is a whole sync behind, and throws what that sync has thrown. */
  async wrote(length: number): Promise<void> {
    this.#unsynced += length;
    if (this.#unsynced < syncEvery) return;
    this.#unsynced = 0;
    await this.finish();
    this.#begin();
  }

  /** As {@link wrote}, for whoever cannot wait: while the disk is behind, nothing is begun. */
  passed(length: number): void {
    this.#unsynced += length;
    if (this.#unsynced < syncEvery || this.#isBusy) return;
    this.#unsynced = 0;
    this.#begin();
  }

  /** Waits for the sync that is under way, and throws what it has thrown. */
  async finish(): Promise<void> {
    const failure = await this.#underWay;
    this.#underWay = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** Waits for the sync that is under way, however it ends: what was written is given up. */
  async abandon(): Promise<void> {
    await this.#underWay;
    this.#underWay = undefined;
  }

  #begin(): void {
    this.#isBusy = true;
    this.#underWay = outcomeOf(this.#sync()).finally(() => {
      this.#isBusy = false;
    });
  }
}

/** A failure waits until somebody asks for it. */
async function outcomeOf(work: Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return { error };
  }
}
