// One image in use: who is in, what is under way, and the turns in which it is opened, closed, stilled and given up.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { ImageRecord } from '../catalog/catalog.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { CallName, EngineCalls, EngineRuns, RunName } from '../pool/protocol.ts';
import { callOptionsOf, mayLeaveOf, readingRuns, runOptionsOf } from './image-caller.ts';
import type { CallerOptions, ImagePulse, RunCaller } from './image-caller.ts';
import type { ImageInUseParts } from './image-in-use-parts.ts';
import { IdleWatch } from './idle-watch.ts';
import { closeOrDoubt, countDoubt, leavesImageUnknown, recordAfter, settleLoss } from './image-failures.ts';
import type { Retirement } from './image-retirement.ts';
import { patiently } from './job-patience.ts';
import { abandonImage, learn, requireDetached, requireUsable } from './opening.ts';
import type { Opening } from './opening.ts';
import { openWithRoom } from './opening-with-room.ts';
import { Presence } from './presence.ts';
import { explainStorage } from './storage-faults.ts';
import { Turns } from './turns.ts';
import type { MayLeave } from './turns.ts';

/**
 * The fast path asks memory only: while the image is open (for writing, if the caller changes it), a call goes straight
 * to the handle. Everything else waits for its turn, finds the image open or opens it again, and goes on; so the file
 * can be closed and opened again beneath callers that stay.
 */
export class ImageInUse {
  readonly id: string;
  /** One structural operation at a time. Taken before {@link #turns}, never inside them. */
  readonly structural = new Turns();
  /** While somebody is in here nobody changes the image. See {@link keep}. */
  readonly keepers = new Presence();
  idleSince = 0;
  /** Why nobody new comes in; undefined while everybody may. */
  closedTo: Fault | undefined;
  /** Somebody else has the file open for writing: why it is not opened here. */
  lent: Fault | undefined;
  #name: string;
  readonly #parts: ImageInUseParts<ImageInUse>;
  readonly #turns = new Turns();
  readonly #visits = new Presence();
  readonly #calls = new Presence();
  readonly #runs = new Presence();
  readonly #cutting = new AbortController();
  #opening: Opening | undefined;
  #pulse: ImagePulse = { virtualSize: 0, generation: 0, lossCount: 0 };
  /** Calls wait for their turn: the file is being closed. */
  #held = false;
  /** The open image is lost or cannot be relied on: it must be opened again. */
  #lost: Fault | undefined;
  /** Why nobody gets anything any more. */
  #cut: Fault | undefined;
  readonly #idleWatch: IdleWatch;

  constructor(parts: ImageInUseParts<ImageInUse>, image: { readonly id: string; readonly name: string }) {
    this.#parts = parts;
    this.id = image.id;
    this.#name = image.name;
    const onIdle = (): void => {
      // Whoever has a lease comes back.
      if (parts.leases.isLeased(image.id)) this.#idleWatch.restart();
      else this.#inBackground('closing an image that nobody uses', () => this.closeIfIdle());
    };
    this.#idleWatch = new IdleWatch({ idleMs: parts.imageIdleMs, onIdle });
  }

  get name(): string {
    return this.#name;
  }

  /** Open, with nobody in and nothing under way. */
  get idle(): boolean {
    return this.#opening !== undefined && this.#visits.count === 0 && this.#turns.idle;
  }

  get open(): boolean {
    return this.#opening !== undefined;
  }

  get writable(): boolean {
    return this.#opening?.writable === true;
  }

  /** Open, so that a reader goes straight to the handle. */
  get answers(): boolean {
    return this.#admits(false) && this.closedTo === undefined;
  }

  get runCount(): number {
    return this.#runs.count;
  }

  get pulse(): ImagePulse {
    const { virtualSize, generation, lossCount } = this.#opening?.handle ?? this.#pulse;
    return { virtualSize, generation, lossCount: lossCount + (this.#parts.doubts.get(this.id) ?? 0) };
  }

  /** As {@link enter}, at once; undefined where the image must be opened first, or nobody comes in. */
  enterNow(caller: CallerOptions): ImageRecord | undefined {
    if (this.closedTo !== undefined || !this.#admits(caller.changes)) return undefined;
    this.#visits.come();
    return this.#now.record;
  }

  /** Lets a caller in; {@link leave} must follow. Faults `image-not-ready`, `image-has-dependents`. */
  async enter(caller: CallerOptions): Promise<ImageRecord> {
    if (this.closedTo !== undefined) throw this.closedTo;
    try {
      const inTurn = (stay: () => void): Promise<ImageRecord> => this.#enterOpen(caller, stay);
      return this.enterNow(caller) ?? (await this.#turns.takeUnless(this.#mayLeave(caller), inTurn));
    } catch (error) {
      this.#watchIdle();
      throw error;
    }
  }

  leave(): void {
    this.#visits.leave();
    this.#watchIdle();
  }

  rename(name: string): void {
    this.#name = name;
    if (this.#opening !== undefined) this.#put(this.#opening.handle, { ...this.#opening.record, name });
  }

  /** Does a work with the open image: at once while it is open, otherwise in turn; for a job, when nothing is busy. */
  during<Result>(
    caller: CallerOptions,
    work: (opening: Opening) => Promise<Result>,
    verb: { readonly changes: boolean },
  ): Promise<Result> {
    return patiently(caller.patience, async () => {
      const opening = this.#admits(caller.changes) ? this.#begin() : await this.#beginInTurn(caller);
      try {
        return await work(opening);
      } catch (error) {
        this.#judge(error, verb);
        this.#put(opening.handle, await recordAfter(this.#parts, opening, error));
        throw await explainStorage(this.#parts.directory, error);
      } finally {
        this.#calls.leave();
      }
    });
  }

  /** Whether the handle is one of those that the image is open with. */
  holds(handle: EngineHandle): boolean {
    const opening = this.#opening;
    return opening !== undefined && (opening.handle === handle || opening.earlier.includes(handle));
  }

  call<Name extends CallName>(
    name: Name,
    args: EngineCalls[Name]['args'],
    caller: CallerOptions,
  ): Promise<EngineCalls[Name]['result']> {
    const changes = name === 'write' || name === 'flush';
    return this.during(caller, ({ handle }) => handle.call(name, args, callOptionsOf(caller)), { changes });
  }

  async run<Name extends RunName>(
    name: Name,
    args: EngineRuns[Name]['args'],
    caller: RunCaller,
  ): Promise<EngineRuns[Name]['result']> {
    const options = runOptionsOf(caller, this.#cutting.signal);
    const run = ({ handle }: Opening) => this.#runs.during(() => handle.run(name, args, options));
    return this.during(caller, run, { changes: !readingRuns.includes(name) });
  }

  /** Tells the image's thread what concerns whoever is in, if the image is open. */
  async tell(news: (opening: Opening) => Promise<void>): Promise<void> {
    // Whatever is being opened now may have asked before.
    if (this.#opening === undefined) await this.#turns.take(async () => undefined);
    if (this.#opening !== undefined) await news(this.#opening);
  }

  /** Asks the open file what it is now, and stores it. */
  async learn(caller: CallerOptions): Promise<ImageRecord> {
    const work = async ({ handle, record: before }: Opening): Promise<ImageRecord> => {
      const record = await learn(this.#parts, handle, before);
      this.#put(handle, record);
      return record;
    };
    return this.during(caller, work, { changes: false });
  }

  /**
   * Does a work while nobody changes the image and its file is not open for writing; whoever is in goes on afterwards. In
   * a turn of {@link structural}. Faults `image-in-use` when what is under way does not end in time.
   */
  async still<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#turns.take(async () => {
      if (this.writable || (this.open && this.lent !== undefined)) await this.#stop();
      return work();
    });
  }

  /** From now on nobody changes the image until the caller leaves {@link keepers}; readers go on. As {@link still}, for whoever is in. */
  async keep(): Promise<void> {
    await this.#turns.take(async () => {
      if (this.writable) await this.#stop();
      this.keepers.come();
    });
  }

  /** Closes the file if nobody uses the image. */
  async closeIfIdle(): Promise<void> {
    try {
      await this.#turns.take(async () => {
        if (this.#visits.count === 0 && this.#opening !== undefined) await closeOrDoubt(this.#parts, this.#take());
      });
    } finally {
      this.#tellIfUnused();
    }
  }

  /** Ends the use in its turn; callers get a grace. Faults `image-in-use` while a run is under way or it is kept. */
  async retire(retirement: Retirement): Promise<void> {
    const work = async (): Promise<void> => {
      if (this.#runs.count + this.keepers.count > 0)
        throw new Fault('image-in-use', { imageId: this.id, name: this.name });
      await retirement.judge();
      await retirement.begin(() => {
        this.closedTo = retirement.reason;
      });
      await this.#visits.emptyWithin(this.#parts.graceMs);
      await this.#cutOff(retirement.reason);
      if (!retirement.keepsFile) await this.#abandon('closing an image that is deleted');
      if (this.#opening !== undefined) await closeOrDoubt(this.#parts, this.#take());
      await retirement.end();
    };
    try {
      await this.#turns.take(work);
      // Name and id are free, even while somebody who was cut has not left yet.
      this.#parts.unused(this);
    } finally {
      this.#tellIfUnused();
    }
  }

  /** Takes a file back that was detached: opened for writing first, so that nobody else has it. `judge` may refuse it. */
  async attach(judge: () => void): Promise<void> {
    try {
      await this.#turns.take(async () => {
        if (this.closedTo !== undefined) throw this.closedTo;
        const detached = await requireDetached(this.#parts, this.id);
        if (detached === undefined) return;
        judge();
        this.#opening = await openWithRoom(this.#parts, detached, { changes: true, earlier: [] });
        const record = await this.#parts.catalog.attachImage(this.id, { nowMs: this.#parts.clock() });
        this.#opening = { ...this.#opening, record };
      });
    } finally {
      this.#watchIdle();
    }
  }

  /** Cuts whoever is in and closes the file. */
  async shutDown(reason: Fault): Promise<void> {
    this.closedTo = reason;
    // Now: somebody may have a turn in which they wait for a run.
    this.#cutting.abort(reason);
    try {
      await this.#turns.take(async () => {
        await this.#cutOff(reason);
        if (this.#opening !== undefined) await closeOrDoubt(this.#parts, this.#take());
      });
    } finally {
      this.#tellIfUnused();
    }
  }

  get #now(): Opening {
    assert(this.#opening !== undefined, 'the image is open');
    return this.#opening;
  }

  #put(handle: EngineHandle, record: ImageRecord): void {
    if (this.#opening?.handle === handle) this.#opening = { ...this.#opening, record };
  }

  #admits(changes: boolean): boolean {
    if (this.#held || this.#lost !== undefined || this.#cut !== undefined) return false;
    return changes ? this.writable : this.open;
  }

  #begin(): Opening {
    this.#calls.come();
    return this.#now;
  }

  async #beginInTurn(caller: CallerOptions): Promise<Opening> {
    return this.#turns.takeUnless(this.#mayLeave(caller), async (stay) => {
      await this.#ensureOpen(caller);
      stay();
      return this.#begin();
    });
  }

  #mayLeave(caller: CallerOptions): MayLeave {
    return mayLeaveOf(caller, { patienceMs: this.#parts.pool.patienceMs, onLeft: () => this.#watchIdle() });
  }

  async #enterOpen(caller: CallerOptions, stay: () => void): Promise<ImageRecord> {
    if (this.closedTo !== undefined) throw this.closedTo;
    await this.#ensureOpen(caller);
    stay();
    this.#visits.come();
    return this.#now.record;
  }

  async #ensureOpen(caller: CallerOptions): Promise<void> {
    if (this.#cut !== undefined) throw this.#cut;
    if (this.#lost !== undefined) await this.#giveUp(this.#lost);
    if (this.#admits(caller.changes)) return;
    if (this.lent !== undefined) throw this.lent;
    const record = await requireUsable(this.#parts, this.id, caller);
    if (caller.changes && !(await this.keepers.emptyWithin(this.#parts.graceMs))) throw new Fault('engine-busy', {});
    const earlier = this.#opening === undefined ? [] : [...this.#opening.earlier, this.#opening.handle];
    this.#opening = await openWithRoom(this.#parts, record, { ...caller, earlier });
  }

  async #stop(): Promise<void> {
    this.#held = true;
    try {
      if (!(await this.#calls.emptyWithin(this.#parts.graceMs))) {
        throw new Fault('image-in-use', { imageId: this.id, name: this.name });
      }
      await closeOrDoubt(this.#parts, this.#take());
    } finally {
      this.#held = false;
    }
  }

  async #cutOff(reason: Fault): Promise<void> {
    this.#cut = reason;
    this.#cutting.abort(reason);
    await this.#calls.untilEmpty();
  }

  /** Lets go of a file that is lost or about to be removed; how that ends matters to nobody but the log. */
  async #abandon(doing: string): Promise<void> {
    if (this.#opening === undefined) return;
    const opening = this.#take();
    try {
      await abandonImage(this.#parts, opening);
    } catch (error) {
      this.#parts.report({ doing, imageId: this.id, error });
    }
  }

  /** The open image is lost or cannot be relied on: it is closed, and the next caller opens it again as after a crash. */
  async #giveUp(lost: Fault): Promise<void> {
    if (this.#lost !== lost) return;
    await this.#calls.untilEmpty();
    await this.#abandon('closing an image that failed');
    this.#lost = undefined;
    await settleLoss(this.#parts, this.id, lost);
  }

  #judge(error: unknown, verb: { readonly changes: boolean }): void {
    if (!leavesImageUnknown(error, verb) || this.#lost !== undefined) return;
    this.#lost = error;
    countDoubt(this.#parts, this.id, error);
    this.#inBackground('giving up an image that is lost', () => this.#turns.take(() => this.#giveUp(error)));
  }

  #take(): Opening {
    const opening = this.#now;
    const { virtualSize, generation, lossCount } = opening.handle;
    this.#pulse = { virtualSize, generation, lossCount };
    this.#opening = undefined;
    return opening;
  }

  #watchIdle(): void {
    if (this.#visits.count > 0) return;
    if (this.#opening === undefined) {
      this.#tellIfUnused();
      return;
    }
    this.idleSince = this.#parts.clock();
    this.#idleWatch.restart();
  }

  #tellIfUnused(): void {
    if (this.#opening !== undefined || this.#visits.count > 0 || !this.#turns.idle) return;
    this.#idleWatch.stop();
    this.#parts.unused(this);
  }

  #inBackground(doing: string, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      this.#parts.report({ doing, imageId: this.id, error });
    });
  }
}
