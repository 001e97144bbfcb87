// One engine thread as its callers see it: requests out, answers in, and what becomes of both when the thread ends.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { CacheTotals, CodecTask } from '../engine/image.ts';
import type { ProgressListener } from './engine-pool.ts';
import type { PoolLimits } from './limits.ts';
import type { Codecs } from './codecs.ts';
import type { Answer, Message, RequestBody, Supply } from './messages.ts';
import { Outbox } from './outbox.ts';
import type { Send } from './outbox.ts';
import { PendingTable } from './pending-table.ts';
import { SilenceWatch } from './silence-watch.ts';

/** The way to a thread. */
export interface Connection {
  readonly send: Send<Message>;
  /** Ends the thread; by then it has let go of its files. */
  end(): Promise<void>;
}

/** What comes back from a thread. */
export interface ConnectionEvents {
  readonly receive: (answers: readonly Answer[]) => void;
  /** The thread has ended, and its files are closed. Nothing comes after it. */
  readonly exit: (reason: string) => void;
}

/** Starts a thread, or what stands for one. */
export type Connect = (events: ConnectionEvents) => Connection;

/** News that answer no request. */
export type News = Extract<Answer, { kind: 'state' | 'lost' | 'bug' }>;

export interface LaneParts {
  readonly connect: Connect;
  readonly limits: PoolLimits;
  readonly codecs: Codecs;
  readonly onNews: (news: News) => void;
  /** The thread has ended by itself; its requests are failed afterwards. */
  readonly onDeath: (reason: string) => void;
  /**
   * The thread does not answer and is given up; its requests are failed afterwards, and a new thread takes its place. Until
   * `gone` it may still write to its files.
   */
  readonly onSilence: (reason: string, gone: Promise<void>) => void;
}

/** How a request is sent. */
export interface RequestOptions {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ProgressListener | undefined;
  /** Goes over to the thread. */
  readonly buffer: ArrayBuffer | undefined;
  /** The bytes that the request brings or asks for. */
  readonly bytes: number;
}

/** Closing, leaving and fencing make room, and a thread with much to do is well: they must not fail for want of room. */
export const neverRefused: readonly RequestBody['kind'][] = [
  'close',
  'fence',
  'hello',
  'useKeys',
  'guard',
  'leave',
  'unguard',
];

/** What nobody is left to cancel, or what must be known how it ended. */
const neverCancelled: readonly RequestBody['kind'][] = ['close', 'leave', 'unguard'];

interface Pending {
  readonly kind: RequestBody['kind'];
  readonly resolve: (result: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly options: RequestOptions;
  onAbort: (() => void) | undefined;
  /** What the request is rejected with when the thread has dropped or undone it. */
  cancelReason: unknown;
}

/** The thread is started for the first request, and again for the first one after its death. */
export class Lane {
  readonly #parts: LaneParts;
  readonly #pending = new PendingTable<Pending>();
  readonly #outbox: Outbox<Message>;
  #connection: Connection | undefined;
  /** Whether the thread has said its first word: until then it loads its code, which is no call. */
  #isUp = false;
  #pendingBytes = 0;
  #flushAhead = false;
  readonly #waiting: (() => void)[] = [];
  readonly #watch: SilenceWatch;
  /** Threads that were given up and have not ended yet. */
  readonly #leaving = new Set<Promise<void>>();
  #caches: CacheTotals = { length: 0, hits: 0, misses: 0 };
  /** What was counted by threads that have ended. */
  #cachesBefore = { hits: 0, misses: 0 };
  /** How many images are open on the thread, or about to be. */
  openImages = 0;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    this.#outbox = new Outbox({
      send: (messages, transfer) => this.#connected().send(messages, transfer),
      bytesMax: Infinity,
    });
    this.#watch = new SilenceWatch({
      limitMs: parts.limits.callTimeoutMs,
      owes: () => this.#pending.size > 0 && this.#isUp,
      ask: () => this.#askForWord(),
      onSilent: () => this.#giveUp(),
    });
  }

  /** Requests that are not answered yet. */
  get load(): number {
    return this.#pending.size;
  }

  /** How its caches do, counted from the start of the pool, as it has told last. */
  get caches(): CacheTotals {
    const { length, hits, misses } = this.#caches;
    return { length, hits: hits + this.#cachesBefore.hits, misses: misses + this.#cachesBefore.misses };
  }

  /** The bytes that those write or ask for. */
  get loadBytes(): number {
    return this.#pendingBytes;
  }

  /** Faults `engine-busy`, `engine-lost` and what the thread answers. */
  request(body: RequestBody, options: RequestOptions): Promise<unknown> {
    const { signal } = options;
    const { queueLengthMax, queueBytesMax } = this.#parts.limits;
    const full = this.#pending.size >= queueLengthMax || this.#pendingBytes + options.bytes > queueBytesMax;
    if (full && !neverRefused.includes(body.kind))
      return Promise.reject(new Fault('engine-busy', { queueLengthMax, queueBytesMax }));
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const pending: Pending = {
        kind: body.kind,
        resolve,
        reject,
        options,
        onAbort: undefined,
        cancelReason: undefined,
      };
      const id = this.#pending.add(pending);
      if (signal !== undefined) {
        pending.onAbort = () => this.#cancel(id, signal.reason);
        signal.addEventListener('abort', pending.onAbort, { once: true });
      }
      this.#pendingBytes += options.bytes;
      this.#watch.begin();
      this.#send({ id, body }, options.buffer);
    });
  }

  /** Drops or undoes everything that is under way but the closing of files; it is rejected with `reason`. */
  cancelAll(reason: Fault): void {
    for (const id of this.#pending.ids) {
      const pending = this.#pending.get(id);
      if (pending !== undefined && !neverCancelled.includes(pending.kind)) this.#cancel(id, reason);
    }
  }

  /** Until everything is answered. */
  async untilIdle(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the thread. What is still pending faults `engine-lost`. */
  async end(): Promise<void> {
    const connection = this.#connection;
    this.#watch.end();
    if (connection !== undefined) {
      this.#outbox.flush();
      this.#connection = undefined;
      await connection.end();
      this.#failAll('the pool was closed');
    }
    await Promise.all(this.#leaving);
  }

  #connected(): Connection {
    this.#connection ??= this.#connect();
    return this.#connection;
  }

  #connect(): Connection {
    this.#isUp = false;
    this.#cachesBefore = this.caches;
    this.#caches = { length: 0, hits: 0, misses: 0 };
    const connection = this.#parts.connect({
      receive: (answers) => {
        // What a thread says that was given up comes too late: its requests have failed.
        if (this.#connection !== connection) return;
        this.#isUp = true;
        this.#watch.hear();
        this.#watch.begin();
        for (const answer of answers) {
          if (answer.kind === 'need') void this.#supply(connection, answer);
          else this.#take(answer);
        }
      },
      exit: (reason) => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        this.#outbox.clear();
        this.#parts.onDeath(reason);
        this.#failAll(reason);
      },
    });
    return connection;
  }

  /** Its answer is for nobody. */
  #askForWord(): void {
    this.#outbox.put({ id: this.#pending.newId(), body: { kind: 'hello' } }, undefined);
    this.#outbox.flush();
  }

  #giveUp(): void {
    const connection = present(this.#connection, 'only a thread that was started is silent');
    const reason = `the engine thread has said nothing for ${this.#parts.limits.callTimeoutMs} ms`;
    this.#connection = undefined;
    this.#outbox.clear();
    const gone = connection.end().finally(() => this.#leaving.delete(gone));
    this.#leaving.add(gone);
    this.#parts.onSilence(reason, gone);
    this.#failAll(reason);
  }

  #send(message: Message, buffer: ArrayBuffer | undefined): void {
    this.#outbox.put(message, buffer);
    if (this.#pending.size <= 1) {
      // An idle thread starts at once; a busy one gets what comes in this turn of the event loop together.
      this.#outbox.flush();
    } else if (!this.#flushAhead) {
      this.#flushAhead = true;
      setImmediate(() => {
        this.#flushAhead = false;
        this.#outbox.flush();
      });
    }
  }

  #cancel(id: number, reason: unknown): void {
    const pending = present(this.#pending.get(id), 'only pending requests are cancelled');
    pending.cancelReason = reason;
    if (this.#outbox.takeBack((message) => message.id === id) !== undefined) {
      return this.#settle(id)?.reject(reason);
    }
    this.#outbox.put({ id, body: { kind: 'cancel' } }, undefined);
    this.#outbox.flush();
  }

  /** Has done what a run needs. A thread that has gone meanwhile needs it no longer. */
  async #supply(connection: Connection, { id, task }: Extract<Answer, { kind: 'need' }>): Promise<void> {
    const supply = await supplyOf(this.#parts.codecs, task);
    if (this.#connection !== connection) return;
    const message: Message = { id, body: { kind: 'supply', supply } };
    connection.send([message], supply.kind === 'done' ? [supply.result.bytes.buffer] : []);
  }

  #take(answer: Exclude<Answer, { kind: 'need' }>): void {
    switch (answer.kind) {
      case 'result':
        this.#settle(answer.id)?.resolve(answer.result);
        break;
      case 'fault':
        this.#settle(answer.id)?.reject(new Fault(answer.code, answer.context));
        break;
      case 'cancelled': {
        const pending = this.#settle(answer.id);
        pending?.reject(pending.cancelReason);
        break;
      }
      case 'progress':
        this.#pending.get(answer.id)?.options.onProgress?.(answer.done, answer.total);
        break;
      case 'caches':
        this.#caches = answer.totals;
        break;
      case 'state':
      case 'lost':
      case 'bug':
        this.#parts.onNews(answer);
        break;
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.take(id);
    if (pending === undefined) return undefined;
    this.#pendingBytes -= pending.options.bytes;
    if (this.#pending.size === 0) {
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
    if (pending.onAbort !== undefined) pending.options.signal?.removeEventListener('abort', pending.onAbort);
    return pending;
  }

  #failAll(reason: string): void {
    for (const id of this.#pending.ids) {
      this.#settle(id)?.reject(new Fault('engine-lost', { reason }));
    }
  }
}

async function supplyOf(codecs: Codecs, task: CodecTask): Promise<Supply> {
  try {
    return { kind: 'done', result: await codecs.perform(task) };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { kind: 'fault', code: error.code, context: error.context };
  }
}
