// Presence: how many are in, and a way to wait until the last one has left.

import { assert } from '../base/assert.ts';

/** Counts who is in. */
export class Presence {
  #count = 0;
  #empty: PromiseWithResolvers<undefined> | undefined;

  get count(): number {
    return this.#count;
  }

  come(): void {
    this.#count += 1;
  }

  leave(): void {
    assert(this.#count > 0, 'only who is in leaves');
    this.#count -= 1;
    if (this.#count > 0) return;
    this.#empty?.resolve(undefined);
    this.#empty = undefined;
  }

  /** Counts a work in for as long as it takes. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    this.come();
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  /** Waits until nobody is in. */
  async untilEmpty(): Promise<void> {
    while (this.#count > 0) {
      this.#empty ??= Promise.withResolvers<undefined>();
      await this.#empty.promise;
    }
  }

  /** Waits until nobody is in, at most so long; false when somebody still is. */
  async emptyWithin(limitMs: number): Promise<boolean> {
    if (this.#count === 0) return true;
    const limit = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => limit.resolve(false), limitMs);
    try {
      return await Promise.race([this.untilEmpty().then(() => true), limit.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
