// An image as the pool knows it: the thread it is pinned to, who uses it, and what its thread has told of it.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { closedFault } from './failures.ts';
import { HeldRequests } from './held-requests.ts';
import type { ImageNumber, RequestBody } from './messages.ts';
import type { Lane, RequestOptions } from './lane.ts';
import type { PoolLimits } from './limits.ts';
import type { OpenRequest } from './protocol.ts';

/** What goes on for a while, with more of the image than a message tells: until it is over the image stays where it is. */
const lastingKinds: readonly RequestBody['kind'][] = ['run', 'findKey', 'planSlots'];

/** One opening of an image on one thread. */
export class PinnedImage {
  readonly imageId: string;
  readonly number: ImageNumber;
  /** The thread that has it, or is about to. */
  lane: Lane;
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
  /** Set while it goes from one thread to another; never rejected. */
  moving: Promise<void> | undefined;
  /** What was told of its end while its requests were held. */
  lossOnTheWay: Fault | undefined;
  /** What it was opened with last. */
  openedWith: OpenRequest | undefined;
  /** Planned exports, and those that are being planned: they stay with the thread that laid them out. */
  plans = 0;
  /** How often it was asked for something, to know the busy ones. */
  requestCount = 0;
  #lasting = 0;
  /** A run may have put it on other files than those that it was opened with. */
  #isRebased = false;
  #held: HeldRequests | undefined;
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

  /** Whether a long request is under way. */
  get isAtWork(): boolean {
    return this.#lasting > 0;
  }

  /** Whether another thread could go on with it now. */
  get isMovable(): boolean {
    if (!this.isOpen || this.opening !== undefined || this.closing !== undefined) return false;
    return this.#lasting === 0 && this.plans === 0 && !this.#isRebased;
  }

  /** A request of whoever has a handle. Faults as {@link Lane.request}, and with {@link failure}. */
  request(body: RequestBody, options: RequestOptions): Promise<unknown> {
    const { failure } = this;
    if (failure !== undefined) return Promise.reject(failure);
    // Only a pool that ends closes what somebody still has; the thread would not know the image any more.
    if (this.closing !== undefined) return Promise.reject(closedFault());
    return this.#held === undefined ? this.#send(body, options) : this.#held.add(body, options);
  }

  /** Requests wait from now on, and what is told of its end is kept in {@link lossOnTheWay}. */
  hold(limits: PoolLimits): void {
    this.lossOnTheWay = undefined;
    this.#held = new HeldRequests(limits);
  }

  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  seatOn(lane: Lane): void {
    this.lane.openImages -= 1;
    this.lane = lane;
    lane.openImages += 1;
  }

  /** Requests go to the thread again, those that have waited first. */
  letGo(): void {
    const held = this.#held;
    this.#held = undefined;
    held?.letGo((body, options) => this.#send(body, options));
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
    this.#held?.fail(() => new Fault(failure.code, failure.context));
    this.#wake();
  }

  /** Until nobody uses it, or it is gone. */
  untilUnused(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #send(body: RequestBody, options: RequestOptions): Promise<unknown> {
    this.requestCount += 1;
    const answer = this.lane.request(body, options);
    if (!lastingKinds.includes(body.kind)) return answer;
    if (body.kind === 'run' && body.run.name === 'rebase') this.#isRebased = true;
    this.#lasting += 1;
    const over = (): void => {
      this.#lasting -= 1;
    };
    answer.then(over, over);
    return answer;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
