// The pool itself: which image is open on which thread, who joins it, when it closes, and how often it was lost.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { Codecs } from './codecs.ts';
import type { CallOptions, EngineHandle, EnginePool, PoolFigures, RunOptions } from './engine-pool.ts';
import { closedFault } from './failures.ts';
import { moveImage } from './image-move.ts';
import { KeySearches } from './key-searches.ts';
import { LaneBalance } from './lane-balance.ts';
import { LaneCrew } from './lane-crew.ts';
import { Lane } from './lane.ts';
import type { Connect, News } from './lane.ts';
import type { PoolLimits } from './limits.ts';
import type { RequestBody } from './messages.ts';
import { patient, settled } from './patience.ts';
import { PinnedHandle } from './pinned-handle.ts';
import { PinnedImage } from './pinned-image.ts';
import { SpareBuffers } from './spare-buffers.ts';
import type {
  AdmitRequest,
  CheckReport,
  CreateRequest,
  ImageDescription,
  JudgeHeadRequest,
  MeasuredSize,
  MeasureRequest,
  OpenRequest,
} from './protocol.ts';
import { StuckImages } from './stuck-images.ts';

/** Something that went wrong while nobody was waiting for it: a thread died, our own code broke, an image could not be closed. */
export interface PoolFailure {
  /** What was being done, in a few words. */
  readonly doing: string;
  readonly imageId: string | undefined;
  readonly error: unknown;
}

/** What every pool is told. */
export interface PoolOptions {
  /** How long an image stays open after its last release, in milliseconds. */
  readonly imageIdleMs: number;
  readonly limits: PoolLimits;
  /** For the log. */
  readonly report: (failure: PoolFailure) => void;
}

/** A pool over some lanes; what stands behind a lane is its subclass's business. */
export class LanePool implements EnginePool {
  readonly #crew: LaneCrew;
  readonly #options: PoolOptions;
  readonly #codecs: Codecs;
  /** By image id: what is open, and what is being opened or closed. */
  readonly #pins = new Map<string, PinnedImage>();
  readonly #pinsByNumber = new Map<number, PinnedImage>();
  /** Open images that nobody uses, the longest unused first, with the timers that close them. */
  readonly #idle = new Map<PinnedImage, NodeJS.Timeout>();
  readonly #losses = new Map<string, number>();
  readonly #stuck = new StuckImages();
  readonly #spares = new SpareBuffers();
  readonly #searches: KeySearches;
  readonly #balance = new LaneBalance();
  readonly #looking: NodeJS.Timeout | undefined;
  #lastNumber = 0;
  #threadsLost = 0;
  #imagesMoved = 0;
  #closed = false;

  constructor(options: PoolOptions & { readonly connects: readonly Connect[]; readonly codecs: Codecs }) {
    this.#options = options;
    this.#codecs = options.codecs;
    this.#searches = new KeySearches({ waitMs: options.limits.keyWaitMs });
    const lanes = options.connects.map((connect) => {
      const lane: Lane = new Lane({
        connect,
        limits: options.limits,
        codecs: options.codecs,
        onNews: (news) => this.#learn(news),
        onDeath: (reason) => this.#bury(lane, reason),
        onSilence: (reason, gone) => this.#giveUp(lane, reason, gone),
      });
      return lane;
    });
    this.#crew = new LaneCrew(lanes);
    if (lanes.length > 1) this.#looking = setInterval(() => this.#look(), options.limits.balanceMs).unref();
  }

  async open(request: OpenRequest, options: CallOptions): Promise<EngineHandle> {
    const patience = { signal: options.signal, waitMs: this.#options.limits.gateWaitMs };
    for (;;) {
      if (this.#closed) throw closedFault();
      this.requireUnstuck(request.imageId);
      options.signal?.throwIfAborted();
      const pin = this.#pins.get(request.imageId);
      if (pin !== undefined && pin.isOpenAs(request)) return this.#join(pin);
      await patient(this.#prepare(pin, request), patience);
    }
  }

  async create(request: CreateRequest, options: RunOptions): Promise<ImageDescription> {
    return (await this.#runOnFile({ kind: 'create', request }, options)) as ImageDescription;
  }

  withNewKey: EnginePool['withNewKey'] = (request, options, use) => {
    const make = (signal: AbortSignal): Promise<unknown> =>
      this.#runOnFile({ kind: 'makeKey', request }, { signal, onProgress: undefined });
    return this.#searches.withNewKey(make, { signal: options.signal, use });
  };

  async judgeHead(request: JudgeHeadRequest, options: CallOptions): Promise<void> {
    await this.#runOnFile({ kind: 'judgeHead', request }, { ...options, onProgress: undefined });
  }

  async measure(request: MeasureRequest, options: CallOptions): Promise<MeasuredSize> {
    return (await this.#runOnFile({ kind: 'measure', request }, { ...options, onProgress: undefined })) as MeasuredSize;
  }

  async admit(
    request: AdmitRequest,
    options: RunOptions,
  ): Promise<{ description: ImageDescription; report: CheckReport }> {
    const admitted = await this.#runOnFile({ kind: 'admit', request }, options);
    return admitted as { description: ImageDescription; report: CheckReport };
  }

  requireUnstuck(imageId: string): void {
    this.#stuck.requireFree(imageId);
  }

  async evict(imageId: string): Promise<void> {
    for (;;) {
      this.requireUnstuck(imageId);
      const pin = this.#pins.get(imageId);
      if (pin === undefined) return;
      await this.#leadOut(pin);
    }
  }

  recycle(bytes: Uint8Array): void {
    this.#spares.give(bytes);
  }

  get patienceMs(): number {
    return this.#options.limits.gateWaitMs;
  }

  figures(): PoolFigures {
    return {
      threads: this.#crew.all.length,
      openImages: this.#crew.sum((lane) => lane.openImages),
      queuedRequests: this.#crew.sum((lane) => lane.load),
      queuedBytes: this.#crew.sum((lane) => lane.loadBytes),
      threadsLost: this.#threadsLost,
      imagesMoved: this.#imagesMoved,
      cacheBytes: this.#crew.sum(({ caches }) => caches.length),
      cacheHits: this.#crew.sum(({ caches }) => caches.hits),
      cacheMisses: this.#crew.sum(({ caches }) => caches.misses),
    };
  }

  /**
   * Moves an open image to a thread, by its place among them; whether it was moved. One that is used for something long
   * stays where it is. (What was open on a thread that has died is no matter of moving: it is opened anew.)
   */
  async relocate(imageId: string, index: number): Promise<boolean> {
    const pin = this.#pins.get(imageId);
    const to = present(this.#crew.all[index], 'the pool has the thread');
    if (pin === undefined || !pin.isMovable || pin.moving !== undefined || pin.lane === to) return false;
    return this.#move(pin, to);
  }

  async ping(): Promise<void> {
    if (this.#closed) throw closedFault();
    const patience = { signal: undefined, waitMs: this.#options.limits.pingWaitMs };
    await Promise.all(this.#crew.awake.map((lane) => patient(this.#crew.greet(lane), patience)));
  }

  stopPacking(): void {
    void this.#codecs.close();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#looking);
    this.#crew.close();
    for (const lane of this.#crew.all) lane.cancelAll(closedFault());
    while (this.#pins.size > 0) {
      await Promise.all([...this.#pins.values()].map((pin) => this.#closeSoon(pin)));
    }
    await Promise.all(this.#crew.all.map((lane) => lane.untilIdle()));
    await Promise.all(this.#crew.all.map((lane) => lane.end()));
    await this.#codecs.close();
  }

  /** As {@link LaneCrew.wake}. */
  protected wake(): ReturnType<LaneCrew['wake']> {
    return this.#crew.wake();
  }

  /** One thing nearer to the image being open as requested. */
  #prepare(pin: PinnedImage | undefined, request: OpenRequest): Promise<void> {
    if (pin === undefined) return this.#pin(request);
    if (pin.closing !== undefined) return pin.closing;
    if (pin.moving !== undefined) return pin.moving;
    if (pin.opening === undefined) return this.#openOn(pin, request);
    const { writable, done } = pin.opening;
    // Whoever wants something else than the others may still get it when they do not.
    return writable === request.writable ? done : settled(done);
  }

  #pin(request: OpenRequest): Promise<void> {
    const lane = this.#crew.leastLoaded;
    if (lane.openImages >= this.#options.limits.openImagesMax) return this.#makeRoom();
    this.#lastNumber += 1;
    const pin = new PinnedImage({ imageId: request.imageId, number: this.#lastNumber, lane });
    this.#pins.set(pin.imageId, pin);
    this.#pinsByNumber.set(pin.number, pin);
    lane.openImages += 1;
    return this.#openOn(pin, request);
  }

  /** The image that nobody has used for longest gives way. */
  async #makeRoom(): Promise<void> {
    const [pin] = this.#idle.keys();
    if (pin === undefined) throw new Fault('engine-busy', { openImagesMax: this.#options.limits.openImagesMax });
    await this.#closeUnasked(pin);
  }

  #openOn(pin: PinnedImage, request: OpenRequest): Promise<void> {
    const { writable } = request;
    this.#stir(pin);
    const done = this.#request(pin.lane, { kind: 'open', image: pin.number, request }).then(
      () => {
        pin.opening = undefined;
        pin.isOpen = true;
        pin.writable ||= writable;
        pin.openedWith = request;
        if (pin.users === 0) this.#rest(pin);
      },
      (error: unknown) => {
        pin.opening = undefined;
        if (!pin.isOpen) this.#forget(pin, closedFault());
        if (pin.users === 0) this.#rest(pin);
        throw error;
      },
    );
    pin.opening = { writable, done };
    return done;
  }

  #join(pin: PinnedImage): EngineHandle {
    this.#stir(pin);
    pin.enter();
    return new PinnedHandle({
      pin,
      spares: this.#spares,
      searches: this.#searches,
      countLosses: (imageId) => this.#losses.get(imageId) ?? 0,
      onRelease: () => {
        pin.leave();
        if (pin.users === 0) this.#rest(pin);
      },
    });
  }

  /** Nobody uses the image: it closes some time later, unless somebody comes. */
  #rest(pin: PinnedImage): void {
    if (this.#pinsByNumber.get(pin.number) !== pin) return;
    if (pin.closing !== undefined || pin.opening !== undefined || pin.moving !== undefined) return;
    this.#stir(pin);
    const timer = setTimeout(() => void this.#closeUnasked(pin), this.#options.imageIdleMs);
    this.#idle.set(pin, timer);
  }

  #stir(pin: PinnedImage): void {
    clearTimeout(this.#idle.get(pin));
    this.#idle.delete(pin);
  }

  #close(pin: PinnedImage): Promise<void> {
    this.#stir(pin);
    const closed = this.#request(pin.lane, { kind: 'close', image: pin.number }).finally(() =>
      this.#forget(pin, closedFault()),
    );
    // The fault is for whoever wanted it closed; others only wait until the file is free.
    pin.closing = settled(closed);
    return closed;
  }

  async #closeUnasked(pin: PinnedImage): Promise<void> {
    try {
      await this.#close(pin);
    } catch (error) {
      this.#options.report({ doing: 'closing an image', imageId: pin.imageId, error });
    }
  }

  #look(): void {
    const { openImagesMax } = this.#options.limits;
    const relief = this.#balance.look(this.#crew.awake, [...this.#pins.values()]);
    if (relief !== undefined && relief.to.openImages < openImagesMax) void this.#move(relief.pin, relief.to);
  }

  #move(pin: PinnedImage, to: Lane): Promise<boolean> {
    this.#stir(pin);
    const moved = this.#moveAsked(pin, to).finally(() => {
      pin.moving = undefined;
      if (pin.users === 0) this.#rest(pin);
    });
    pin.moving = settled(moved);
    return moved;
  }

  async #moveAsked(pin: PinnedImage, to: Lane): Promise<boolean> {
    const { limits, report } = this.#options;
    try {
      const moved = await moveImage(pin, { to, limits, lose: (failure) => this.#lose(pin, failure) });
      if (moved) this.#imagesMoved += 1;
      return moved;
    } catch (error) {
      report({ doing: 'moving an image to another thread', imageId: pin.imageId, error });
      return false;
    }
  }

  /** One thing nearer to the image being closed for want of users. */
  #leadOut(pin: PinnedImage): Promise<void> {
    if (pin.closing !== undefined) return pin.closing;
    if (pin.moving !== undefined) return pin.moving;
    if (pin.opening !== undefined) return settled(pin.opening.done);
    return pin.users > 0 ? pin.untilUnused() : this.#close(pin);
  }

  /** One thing nearer to the image being closed, used or not. */
  #closeSoon(pin: PinnedImage): Promise<void> {
    if (pin.closing !== undefined) return pin.closing;
    if (pin.moving !== undefined) return pin.moving;
    return pin.opening === undefined ? this.#closeUnasked(pin) : settled(pin.opening.done);
  }

  #runOnFile(body: RequestBody, options: RunOptions): Promise<unknown> {
    if (this.#closed) return Promise.reject(closedFault());
    const { signal, onProgress } = options;
    return this.#crew.leastLoaded.request(body, { signal, onProgress, buffer: undefined, bytes: 0 });
  }

  async #request(lane: Lane, body: RequestBody): Promise<void> {
    await lane.request(body, { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 });
  }

  #learn(news: News): void {
    const pin = news.image === undefined ? undefined : this.#pinsByNumber.get(news.image);
    switch (news.kind) {
      case 'state':
        if (pin !== undefined) {
          pin.virtualSize = news.virtualSize;
          pin.generation = news.generation;
        }
        break;
      case 'lost':
        if (pin?.isHeld === true) pin.lossOnTheWay = new Fault(news.code, news.context);
        else if (pin !== undefined) this.#lose(pin, new Fault(news.code, news.context));
        break;
      case 'bug':
        this.#options.report({ doing: 'using an image', imageId: pin?.imageId, error: news.stack });
        break;
    }
  }

  /** A thread has ended by itself, or was given up. */
  #bury(lane: Lane, reason: string): void {
    this.#threadsLost += 1;
    for (const pin of [...this.#pins.values()]) {
      if (pin.lane === lane) this.#lose(pin, new Fault('engine-lost', { reason }));
    }
    this.#options.report({ doing: 'running an engine thread', imageId: undefined, error: reason });
  }

  /** The thread may still be in the middle of a write: until it has ended nobody else opens its files. */
  #giveUp(lane: Lane, reason: string, gone: Promise<void>): void {
    const held = [...this.#pins.values()].filter((pin) => pin.lane === lane).map(({ imageId }) => imageId);
    this.#stuck.hold(held, { reason, gone });
    this.#bury(lane, reason);
  }

  #lose(pin: PinnedImage, failure: Fault): void {
    if (pin.writable) this.#losses.set(pin.imageId, (this.#losses.get(pin.imageId) ?? 0) + 1);
    this.#forget(pin, failure);
  }

  /** The image is no longer open. Handles on it get `failure` from now on. */
  #forget(pin: PinnedImage, failure: Fault): void {
    if (!this.#pinsByNumber.delete(pin.number)) return;
    this.#stir(pin);
    if (this.#pins.get(pin.imageId) === pin) this.#pins.delete(pin.imageId);
    pin.lane.openImages -= 1;
    pin.fail(failure);
  }
}
