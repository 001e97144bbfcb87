// Which image goes to another thread: one of several busy ones on the same thread, while another has nothing to do.

import type { Lane } from './lane.ts';
import type { PinnedImage } from './pinned-image.ts';

/** An image is busy that was asked so often between two looks, or that works on something long. */
const busyRequestsMin = 32;
/** A thread is crowded with so many busy images. */
const crowdedImagesMin = 2;

/** What is to be moved. */
export interface Relief {
  readonly pin: PinnedImage;
  readonly to: Lane;
}

/** Looks again and again; one look alone moves nothing, because a move costs a flush and what the caches knew. */
export class LaneBalance {
  readonly #countsBefore = new WeakMap<PinnedImage, number>();
  #crowdedBefore: ReadonlySet<Lane> = new Set();

  /**
   * The least busy image that can be moved of a thread that was crowded at the last look, too, and the thread that has
   * nothing to do; undefined when all is well.
   */
  look(lanes: readonly Lane[], pins: readonly PinnedImage[]): Relief | undefined {
    const busy = pins.map((pin) => ({ pin, requests: this.#requestsOf(pin) })).filter(isBusy);
    const crowded = new Set(
      lanes.filter((lane) => busy.filter(({ pin }) => pin.lane === lane).length >= crowdedImagesMin),
    );
    const crowdedLong = this.#crowdedBefore.intersection(crowded);
    this.#crowdedBefore = crowded;
    const to = lanes.find((lane) => lane.load === 0 && busy.every(({ pin }) => pin.lane !== lane));
    const [least] = busy
      .filter(({ pin }) => crowdedLong.has(pin.lane) && pin.isMovable && pin.moving === undefined)
      .toSorted((one, other) => one.requests - other.requests);
    return to === undefined || least === undefined ? undefined : { pin: least.pin, to };
  }

  /** Since the last look. */
  #requestsOf(pin: PinnedImage): number {
    const before = this.#countsBefore.get(pin) ?? 0;
    this.#countsBefore.set(pin, pin.requestCount);
    return pin.requestCount - before;
  }
}

function isBusy({ pin, requests }: { readonly pin: PinnedImage; readonly requests: number }): boolean {
  return requests >= busyRequestsMin || pin.isAtWork;
}
