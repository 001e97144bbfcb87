// How much of bodies is held at a time while their clients send the rest: slow clients must not fill the memory.

import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';

/** What all bodies together may hold, in bytes. */
export const heldBytesMax = 256 * MiB;
/** How long a body waits for its place, in milliseconds: those before it need not be slow. */
const placeWaitMs = 10_000;

/** A part of the room; given back once. */
export type BodyPlace = Disposable;

interface Waiter {
  readonly length: number;
  readonly admit: () => void;
}

/** Places are given in the order in which they were asked for. */
export class BodyRoom {
  readonly #waitMs: number;
  readonly #waiting: Waiter[] = [];
  #free: number;

  constructor(options: { readonly bytesMax: number; readonly waitMs: number }) {
    this.#free = options.bytesMax;
    this.#waitMs = options.waitMs;
  }

  /** A place for so many bytes, or undefined when there is none now. */
  tryTake(length: number): BodyPlace | undefined {
    if (this.#waiting.length > 0 || length > this.#free) return undefined;
    return this.#place(length);
  }

  /** A place for so many bytes, no more than there are in all, as soon as there is one. Faults `engine-busy` after a while. */
  async take(length: number): Promise<BodyPlace> {
    const place = this.tryTake(length);
    if (place !== undefined) return place;
    const admitted = Promise.withResolvers<BodyPlace>();
    const waiter = { length, admit: () => admitted.resolve(this.#place(length)) };
    this.#waiting.push(waiter);
    const timer = setTimeout(() => {
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      admitted.reject(new Fault('engine-busy', { heldBytesMax }));
      this.#admit();
    }, this.#waitMs);
    try {
      return await admitted.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #place(length: number): BodyPlace {
    this.#free -= length;
    return {
      [Symbol.dispose]: () => {
        this.#free += length;
        this.#admit();
      },
    };
  }

  #admit(): void {
    for (let [first] = this.#waiting; first !== undefined && first.length <= this.#free; [first] = this.#waiting) {
      this.#waiting.shift();
      first.admit();
    }
  }
}

/** The room of the service. */
export function bodyRoom(): BodyRoom {
  return new BodyRoom({ bytesMax: heldBytesMax, waitMs: placeWaitMs });
}
