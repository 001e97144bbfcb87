// The lanes of a pool: which of them are up, which has the least to do, and whether they answer.

import { present } from '../base/assert.ts';
import type { Lane } from './lane.ts';

export class LaneCrew {
  readonly all: readonly Lane[];
  readonly #greetings = new Map<Lane, Promise<unknown>>();
  /** Threads that come up later: until then they get no work, and nobody waits for them. */
  readonly #asleep = new Set<Lane>();
  #closed = false;

  constructor(lanes: readonly Lane[]) {
    this.all = lanes;
  }

  get awake(): readonly Lane[] {
    return this.#asleep.size === 0 ? this.all : this.all.filter((lane) => !this.#asleep.has(lane));
  }

  /** The one with the fewest images, and of those the one with the least to do. */
  get leastLoaded(): Lane {
    const [first, ...others] = this.awake;
    return others.reduce((best, lane) => (isLighter(lane, best) ? lane : best), present(first, 'a pool has a lane'));
  }

  sum(of: (lane: Lane) => number): number {
    return this.all.reduce((all, lane) => all + of(lane), 0);
  }

  /** Answered once the thread is up and reads its messages. However many ask, a thread that does not answer is asked once. */
  greet(lane: Lane): Promise<unknown> {
    const known = this.#greetings.get(lane);
    if (known !== undefined) return known;
    const asked = { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 };
    const greeting = lane.request({ kind: 'hello' }, asked).finally(() => this.#greetings.delete(lane));
    this.#greetings.set(lane, greeting);
    return greeting;
  }

  /**
   * Starts the threads one after the other, so that the first is up early. `first` is done when it is, `all` when no other
   * is still to come; each faults `engine-lost` {reason} for a thread that does not come up.
   */
  wake(): { readonly first: Promise<void>; readonly all: Promise<void> } {
    const [lane, ...later] = this.all;
    for (const each of later) this.#asleep.add(each);
    const first = this.greet(present(lane, 'a pool has a lane')).then(() => undefined);
    return {
      first,
      all: first.then(
        () => this.#wakeEach(later),
        () => undefined,
      ),
    };
  }

  /** A thread that ends from now on has not failed. */
  close(): void {
    this.#closed = true;
  }

  async #wakeEach(lanes: readonly Lane[]): Promise<void> {
    for (const lane of lanes) {
      if (this.#closed) return;
      try {
        await this.greet(lane).catch((error: unknown) => this.#throwUnlessClosed(error));
      } finally {
        // One that does not come up is tried again for the next request.
        this.#asleep.delete(lane);
      }
    }
  }

  #throwUnlessClosed(error: unknown): void {
    if (!this.#closed) throw error;
  }
}

function isLighter(one: Lane, other: Lane): boolean {
  if (one.openImages !== other.openImages) return one.openImages < other.openImages;
  return one.load < other.load;
}
