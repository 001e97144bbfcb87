// Codec threads: started when there is something to do, each with a task at hand and some to go on with.

import { Worker } from 'node:worker_threads';

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { CodecResult, CodecTask } from '../engine/image.ts';
import type { Codecs } from './codecs.ts';

/** To a codec thread, and back from it, in the same order. */
export interface CodecRequest {
  readonly id: number;
  readonly task: CodecTask;
}
export interface CodecAnswer {
  readonly id: number;
  readonly result: CodecResult;
}

interface Waiting {
  readonly task: CodecTask;
  readonly resolve: (result: CodecResult) => void;
  readonly reject: (fault: Fault) => void;
}

/** What a codec thread runs. */
const codecEntry = new URL('./codec-worker.ts', import.meta.url);

/** With fewer a thread waits for the next on a busy machine; more would only wait in its own queue, and be lost with it. */
const tasksAtOnceMax = 8;

export class ThreadCodecs implements Codecs {
  readonly #threads: readonly CodecThread[];
  readonly #waiting: Waiting[] = [];
  #closed = false;

  constructor(options: { readonly threads: number }) {
    assert(Number.isSafeInteger(options.threads) && options.threads > 0, 'there is at least one codec thread');
    this.#threads = Array.from({ length: options.threads }, () => new CodecThread(() => this.#hand()));
  }

  perform(task: CodecTask): Promise<CodecResult> {
    if (this.#closed) return Promise.reject(new Fault('engine-lost', { reason: 'closed' }));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, resolve, reject });
      this.#hand();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new Fault('engine-lost', { reason: 'closed' }));
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }

  /** The first that waits goes to the thread with the least to do. */
  #hand(): void {
    for (;;) {
      const thread = this.#threads.reduce((best, one) => (one.load < best.load ? one : best));
      if (thread.load >= tasksAtOnceMax) return;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      thread.begin(next);
    }
  }
}

/** One thread, started for its first task, and again for the first one after its death. */
class CodecThread {
  readonly #onRoom: () => void;
  readonly #begun = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #lastId = 0;

  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  get load(): number {
    return this.#begun.size;
  }

  begin(waiting: Waiting): void {
    this.#worker ??= this.#start();
    this.#lastId += 1;
    this.#begun.set(this.#lastId, waiting);
    const { task } = waiting;
    const request: CodecRequest = { id: this.#lastId, task };
    this.#worker.postMessage(request, [task.bytes.buffer]);
  }

  async end(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(codecEntry, { name: 'codec' });
    let reason = 'the codec thread has ended';
    worker.on('message', ({ id, result }: CodecAnswer) => {
      this.#begun.get(id)?.resolve(result);
      this.#begun.delete(id);
      this.#onRoom();
    });
    worker.on('error', (error: unknown) => {
      reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    worker.on('exit', () => {
      this.#worker = undefined;
      const lost = [...this.#begun.values()];
      this.#begun.clear();
      for (const { reject } of lost) reject(new Fault('engine-lost', { reason }));
      this.#onRoom();
    });
    // It never holds up the end of the process.
    worker.unref();
    return worker;
  }
}
