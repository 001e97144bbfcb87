// The loop of one thread: open images, calls on them, and one step of one run at a time, with messages in between.

import { Fault } from '../base/fault.ts';
import { KiB } from '../base/units.ts';
import type { Progress, Steps } from '../engine/image.ts';
import { bufferOf } from './answer-buffer.ts';
import { CacheWatch } from './cache-watch.ts';
import { performCall } from './calls.ts';
import { DeadlineWatch } from './deadline-watch.ts';
import type { Engine } from './engine.ts';
import { failureOf, staleFault, stackOf } from './failures.ts';
import type { Failure } from './failures.ts';
import { FileGuards } from './file-guards.ts';
import { fileRunOf } from './file-runs.ts';
import { entryOf } from './image-entry.ts';
import type { CallEntry, ImageEntry, ImageRequest, RunEntry } from './image-entry.ts';
import { KeyDesk } from './key-desk.ts';
import type { DeriveKey } from './key-desk.ts';
import type { PoolLimits } from './limits.ts';
import type { Answer, ImageNumber, Message, RequestBody } from './messages.ts';
import { isStale } from './gate.ts';
import { OpenImage, wipeKeys } from './open-image.ts';
import { Outbox } from './outbox.ts';
import type { Send } from './outbox.ts';
import { Needs } from './needs.ts';
import { Run } from './run.ts';
import { RunQueue } from './run-queue.ts';

/** What a dispatcher is made of. */
export interface DispatcherParts {
  readonly engine: Engine;
  readonly limits: PoolLimits;
  /** Milliseconds that only grow. */
  readonly clock: () => number;
  readonly send: Send<Answer>;
  readonly deriveKey: DeriveKey;
}

type Image = OpenImage<ImageEntry>;

/** Answers that carry so many bytes are sent before more work is done. */
const answerBytesMax = 256 * KiB;
/** Of what has waited for a run, so many calls of an image go on in one turn. */
const callsPerTurn = 16;

/**
 * Calls are done as they arrive. Everything else happens in turns, with the thread's other events in between: calls
 * that have waited, flushes, then one step of one run.
 */
export class Dispatcher {
  readonly #engine: Engine;
  readonly #limits: PoolLimits;
  readonly #clock: () => number;
  readonly #outbox: Outbox<Answer>;
  readonly #keys: KeyDesk;
  readonly #guards: FileGuards;
  readonly #caches: CacheWatch;
  readonly #images = new Map<ImageNumber, Image>();
  /** Images with calls or flushes for the next turn. */
  readonly #due = new Set<Image>();
  readonly #runs = new RunQueue<Image>();
  readonly #needs = new Needs();
  #turnAhead = false;
  readonly #deadlines: DeadlineWatch;

  constructor(parts: DispatcherParts) {
    this.#engine = parts.engine;
    this.#limits = parts.limits;
    this.#clock = parts.clock;
    this.#outbox = new Outbox({ send: parts.send, bytesMax: answerBytesMax });
    this.#deadlines = new DeadlineWatch({
      clock: parts.clock,
      gates: () => Array.from(this.#images.values(), ({ gate }) => gate),
      onDue: () => this.#expire(),
    });
    const tell = (answer: Answer): void => {
      this.#answer(undefined, answer);
      this.#outbox.flush();
    };
    this.#guards = new FileGuards(parts.engine);
    this.#keys = new KeyDesk({
      deriveKey: parts.deriveKey,
      clock: parts.clock,
      answer: tell,
    });
    const everyMs = parts.limits.tidyMs;
    this.#caches = new CacheWatch({ ...parts, everyMs, onTotals: (totals) => tell({ kind: 'caches', totals }) });
  }

  /** Takes messages in, in their order. */
  receive(messages: readonly Message[]): void {
    for (const { id, body } of messages) {
      if (body.kind === 'cancel') {
        this.#cancel(id);
      } else if (body.kind === 'supply') {
        this.#needs.answer(id, body.supply);
      } else {
        this.#request(id, body);
      }
    }
    // One turn later a single request would have waited for nothing; many come in one list, and leave in one.
    this.#outbox.flush();
    if (this.#hasWork) this.#planTurn();
  }

  /** Lets go of every file as it is, and answers nobody. */
  abandon(): void {
    this.#deadlines.end();
    this.#caches.end();
    this.#runs.clear();
    this.#due.clear();
    this.#keys.abandon();
    this.#guards.abandon();
    for (const image of this.#images.values()) image.drop();
    this.#images.clear();
  }

  #request(id: number, body: RequestBody): void {
    switch (body.kind) {
      case 'hello':
        this.#answer(undefined, { kind: 'result', id, result: {} });
        break;
      case 'create':
      case 'judgeHead':
      case 'measure':
      case 'admit':
        this.#beginFileRun(id, fileRunOf(this.#engine, body));
        break;
      case 'guard':
      case 'unguard':
        this.#answer(undefined, this.#guards.take(body, id));
        break;
      case 'fence':
        this.#fence(body, id);
        break;
      case 'useKeys':
      case 'findKey':
      case 'planSlots':
      case 'makeKey':
        void this.#keys.take(body, id, this.#images);
        break;
      default:
        this.#requestOn(body, id);
    }
  }

  #requestOn(body: ImageRequest, id: number): void {
    const image = this.#images.get(body.image) ?? (body.kind === 'open' ? this.#add(body.image) : undefined);
    if (image === undefined) {
      // The pool did not know yet that the image was lost: the news and this request have crossed.
      this.#fail(undefined, id, { code: 'image-failed', context: {} });
      return;
    }
    const isPatient = body.kind === 'run' || (body.kind === 'call' && body.patient === true);
    const deadlineMs = isPatient ? Infinity : this.#clock() + this.#limits.gateWaitMs;
    const entry = entryOf(image, body, { id, deadlineMs });
    // Whoever was let in later may come before the news that its epoch has begun.
    if (entry.epoch !== undefined) this.#beginEpoch(image, entry.epoch);
    if (isStale(entry, image.epoch)) {
      this.#fail(image, id, staleFault());
    } else if (image.gate.enter(entry)) {
      this.#proceed(image, entry);
    } else {
      this.#deadlines.begin();
    }
  }

  /** Whoever waits with an older epoch is refused; a run of one is undone first, and the fence answered after it. */
  #fence({ image: number, epoch }: Extract<RequestBody, { kind: 'fence' }>, id: number): void {
    const image = this.#images.get(number);
    if (image === undefined) {
      this.#fail(undefined, id, { code: 'image-failed', context: {} });
      return;
    }
    this.#beginEpoch(image, epoch);
    image.fences.push(id);
    const run = this.#runs.on(image);
    if (run === undefined || !isStale(run, image.epoch)) this.#answerFences(image);
  }

  #beginEpoch(image: Image, epoch: number): void {
    if (epoch <= image.epoch) return;
    image.beginEpoch(epoch);
    for (const stale of image.gate.fence(epoch)) this.#fail(image, stale.id, staleFault());
    const run = this.#runs.on(image);
    if (run !== undefined && isStale(run, epoch)) run.cancel();
  }

  #answerFences(image: Image): void {
    for (const id of image.fences.splice(0)) this.#answer(image, { kind: 'result', id, result: {} });
  }

  #add(number: ImageNumber): Image {
    const image: Image = new OpenImage({
      number,
      engine: this.#engine,
      exportPlansMax: this.#limits.exportPlansMax,
    });
    this.#images.set(number, image);
    return image;
  }

  #proceed(image: Image, entry: ImageEntry): void {
    if (entry.kind === 'run') {
      this.#beginRun(image, entry);
    } else if (entry.call.name === 'flush') {
      // Not at once: the flushes of everybody who is already under way here fall into one.
      image.flushes.push(entry);
      this.#due.add(image);
    } else {
      this.#perform(image, entry);
    }
  }

  #perform(image: Image, entry: CallEntry): void {
    const { id, call, into, keys } = entry;
    try {
      const result = image.withKeys(keys, () => performCall(image, call, into));
      this.#answer(image, { kind: 'result', id, result });
    } catch (error) {
      this.#failCall(image, [id], error);
    } finally {
      wipeKeys(keys);
    }
  }

  #settleFlushes(image: Image): void {
    const ids = image.flushes.splice(0).map(({ id }) => id);
    if (ids.length === 0) return;
    this.#outbox.flush();
    try {
      const result = performCall(image, { name: 'flush', args: {} }, undefined);
      for (const id of ids) this.#answer(image, { kind: 'result', id, result });
    } catch (error) {
      this.#failCall(image, ids, error);
    }
  }

  /** A fault is the caller's; everything else is our bug and ends the image. */
  #failCall(image: Image, ids: readonly number[], error: unknown): void {
    const failure = error instanceof Fault ? error : this.#breakImage(image, error);
    for (const id of ids) this.#fail(image, id, failure);
  }

  /** Its first step is done in the next turn, after the flushes that came before it. */
  #beginRun(image: Image, entry: RunEntry): void {
    image.gate.begin(entry.admits);
    this.#runs.add(new Run({ ...entry, image }));
  }

  #beginFileRun(id: number, steps: Steps<unknown>): void {
    const alone = { image: undefined, changes: false, refusesFirst: false, epoch: undefined, keys: undefined };
    this.#runs.add(new Run<Image>({ id, steps, ...alone }));
  }

  #cancel(id: number): void {
    this.#keys.cancel(id);
    this.#runs.withId(id)?.cancel();
    for (const image of this.#images.values()) {
      const isDropped = image.gate.remove(id) !== undefined || image.takeFlush(id);
      if (isDropped) this.#answer(image, { kind: 'cancelled', id });
    }
  }

  get #hasWork(): boolean {
    return this.#due.size > 0 || this.#runs.hasNext;
  }

  #planTurn(): void {
    if (this.#turnAhead) return;
    this.#turnAhead = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnAhead = false;
    this.#outbox.flush();
    for (const image of [...this.#due]) this.#pump(image);
    const run = this.#runs.takeNext();
    if (run !== undefined) this.#step(run);
    this.#outbox.flush();
    if (this.#hasWork) this.#planTurn();
  }

  /** Lets waiting calls of one image go on: some, so that the other images get their turn. */
  #pump(image: Image): void {
    let started = 0;
    while (started < callsPerTurn) {
      const entry = image.gate.next();
      if (entry === undefined) break;
      if (entry.kind === 'run' || entry.call.name !== 'flush') started += 1;
      this.#proceed(image, entry);
    }
    this.#settleFlushes(image);
    if (!image.gate.ready) this.#due.delete(image);
  }

  #step(run: Run<Image>): void {
    try {
      const outcome = run.advance();
      if (run.image?.isOpen === true) run.image.plans.dropGone(run.image.file);
      if (outcome.kind === 'under-way') {
        this.#runs.add(run);
        this.#ask(outcome.progress);
        if (run.tells(this.#clock(), this.#limits.progressIntervalMs)) {
          const { done, total } = outcome.progress;
          this.#answer(run.image, { kind: 'progress', id: run.id, done, total });
        }
        return;
      }
      this.#endRun(run);
      if (outcome.kind === 'finished') {
        this.#answer(run.image, { kind: 'result', id: run.id, result: outcome.result });
      } else if (run.image !== undefined && isStale(run, run.image.epoch)) {
        this.#fail(run.image, run.id, staleFault());
      } else {
        this.#answer(run.image, { kind: 'cancelled', id: run.id });
      }
    } catch (error) {
      this.#failRun(run, error);
    }
  }

  /** Passes a need on, at once: it is work for others. */
  #ask({ asks }: Progress): void {
    if (asks === undefined) return;
    this.#answer(undefined, { kind: 'need', id: this.#needs.add(asks), task: asks.task });
    this.#outbox.flush();
  }

  #failRun(run: Run<Image>, error: unknown): void {
    if (error instanceof Fault) {
      this.#endRun(run, error);
      this.#fail(run.image, run.id, error);
    } else if (run.image === undefined) {
      this.#answer(undefined, { kind: 'bug', image: undefined, stack: stackOf(error) });
      this.#fail(undefined, run.id, failureOf(error));
    } else {
      this.#fail(run.image, run.id, this.#breakImage(run.image, error));
    }
  }

  /** The image is free for whoever waits, unless the run has closed it. */
  #endRun(run: Run<Image>, fault?: Fault): void {
    const { image } = run;
    run.end();
    if (image === undefined) return;
    image.gate.end();
    this.#answerFences(image);
    if (!image.isOpen) this.#drop(image, fault);
    if (image.gate.ready) this.#due.add(image);
  }

  /** Ends an image on which our own code has failed: nothing more is written to its file. */
  #breakImage(image: Image, error: unknown): Failure {
    const failure = failureOf(error);
    this.#answer(undefined, { kind: 'bug', image: image.number, stack: stackOf(error) });
    image.abandon();
    this.#drop(image, failure);
    return failure;
  }

  /** Forgets an image that is no longer open; with a failure, the pool is told that it was lost. */
  #drop(image: Image, failure: Failure | undefined): void {
    this.#images.delete(image.number);
    this.#due.delete(image);
    image.forget();
    if (failure !== undefined) {
      const { code, context } = failure;
      this.#answer(undefined, { kind: 'lost', image: image.number, code, context });
    }
    const left = [...image.flushes.splice(0), ...image.gate.drain()].map(({ id }) => id);
    left.push(...image.fences.splice(0));
    const run = this.#runs.takeOn(image);
    if (run !== undefined) left.push(run.id);
    for (const id of left) this.#fail(undefined, id, failure ?? { code: 'image-failed', context: {} });
  }

  #expire(): void {
    for (const image of this.#images.values()) {
      for (const { id } of image.gate.expire(this.#clock())) {
        this.#fail(image, id, { code: 'engine-busy', context: { waitedMs: this.#limits.gateWaitMs } });
      }
    }
    this.#outbox.flush();
  }

  #fail(image: Image | undefined, id: number, failure: Failure): void {
    this.#answer(image, { kind: 'fault', id, code: failure.code, context: failure.context });
  }

  #answer(image: Image | undefined, answer: Answer): void {
    const news = image?.takeNews();
    if (image !== undefined && news !== undefined) {
      this.#outbox.put({ kind: 'state', image: image.number, ...news }, undefined);
    }
    this.#outbox.put(answer, bufferOf(answer));
  }
}
