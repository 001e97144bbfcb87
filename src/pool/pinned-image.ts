// An image as the pool knows it: the thread it is pinned to, who uses it, and what its thread has told of it.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { ImageNumber } from './messages.ts';
import type { Lane } from './lane.ts';
import type { OpenRequest } from './protocol.ts';

/** One opening of an image on one thread. */
export class PinnedImage {
  readonly imageId: string;
  readonly number: ImageNumber;
  readonly lane: Lane;
  /** Whether it is open for writing. */
  writable = false;
  virtualSize = 0;
  generation = 0;
  /** Whether the thread has opened it. */
  isOpen = false;
  /** Set while the thread opens it, first or again for writing. */
  opening: { readonly writable: boolean; readonly done: Promise<void> } | undefined;
  /** Set while the thread closes it; never rejected. */
  closing: Promise<void> | undefined;
  #users = 0;
  #failure: Fault | undefined;
  readonly #waiting: (() => void)[] = [];

  constructor(parts: { readonly imageId: string; readonly number: ImageNumber; readonly lane: Lane }) {
    this.imageId = parts.imageId;
    this.number = parts.number;
    this.lane = parts.lane;
  }

  /** An image that stayed open behind a caller who left may count on from below what its row gives out by now. */
  isOpenAs(request: OpenRequest): boolean {
    if (!this.isOpen || this.closing !== undefined || this.generation < request.generation) return false;
    return this.writable || !request.writable;
  }

  /** How many handles are on it. */
  get users(): number {
    return this.#users;
  }

  enter(): void {
    this.#users += 1;
  }

  leave(): void {
    assert(this.#users > 0, 'only who has entered leaves');
    this.#users -= 1;
    if (this.#users === 0) this.#wake();
  }

  /** A new fault for everything that is asked of an image that is gone; undefined while it is there. */
  get failure(): Fault | undefined {
    return this.#failure && new Fault(this.#failure.code, this.#failure.context);
  }

  /** The image is gone; the first reason counts. */
  fail(failure: Fault): void {
    this.#failure ??= failure;
    this.#wake();
  }

  /** Until nobody uses it, or it is gone. */
  untilUnused(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
