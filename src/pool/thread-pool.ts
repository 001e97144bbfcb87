// A pool over worker threads: each has its own images, and a new one takes the place of one that has died.

import { Worker } from 'node:worker_threads';

import { assert } from '../base/assert.ts';
import type { FileLocks } from '../engine/image.ts';
import type { EngineThreadData } from './engine-thread.ts';
import { LanePool } from './lane-pool.ts';
import type { PoolOptions } from './lane-pool.ts';
import type { Connection, ConnectionEvents } from './lane.ts';
import { fullAnswer, shortMessage } from './short-forms.ts';
import type { SentAnswer } from './short-forms.ts';
import { ThreadCodecs } from './thread-codecs.ts';

export interface ThreadPoolOptions extends PoolOptions {
  /** How many engine threads. */
  readonly threads: number;
  /** What a thread runs: {@link workerEntry}, or another file that calls `serveEngine`. */
  readonly entry: URL;
  /** Whether open images keep other programs out. */
  readonly locks: FileLocks;
  /** Whether data that goes from file to file is copied by the file system where it can. */
  readonly hostCopies: boolean;
  /** What the caches of all threads together may take of the memory: each has the same part. */
  readonly cacheBytes: number;
  /** How many threads pack clusters for all of them; they start when there is something to pack. */
  readonly codecThreads: number;
}

/** The thread's entry of the product. */
export const workerEntry = new URL('./worker.ts', import.meta.url);

/**
 * Threads take over the environment: with `NODE_COMPILE_CACHE` in it, all but the first start several times faster.
 */
export class ThreadPool extends LanePool {
  /** Use {@link begin} or {@link start}. */
  constructor(options: ThreadPoolOptions) {
    assert(Number.isSafeInteger(options.threads) && options.threads > 0, 'a pool has at least one thread');
    const connect = (events: ConnectionEvents): Connection => startThread(options, events);
    super({
      ...options,
      connects: Array.from({ length: options.threads }, () => connect),
      codecs: new ThreadCodecs({ threads: options.codecThreads }),
    });
  }

  /**
   * Starts the threads, whose loading takes a while, one after the other: what is asked meanwhile waits for the first. `up`
   * is done when that is, `allUp` when no other is still to come; each faults `engine-lost` {reason} for a thread that
   * does not come up.
   */
  static begin(options: ThreadPoolOptions): {
    readonly pool: ThreadPool;
    readonly up: Promise<void>;
    readonly allUp: Promise<void>;
  } {
    const pool = new ThreadPool(options);
    const { first, all } = pool.wake();
    return { pool, up: first, allUp: all };
  }

  /** As {@link begin}, and waits for all threads. */
  static async start(options: ThreadPoolOptions): Promise<ThreadPool> {
    const { pool, up, allUp } = ThreadPool.begin(options);
    try {
      await up;
      await allUp;
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }
}

function startThread(options: ThreadPoolOptions, events: ConnectionEvents): Connection {
  const { limits, locks, hostCopies, cacheBytes, threads } = options;
  const workerData: EngineThreadData = { limits, locks, hostCopies, cacheBytes: Math.floor(cacheBytes / threads) };
  const worker = new Worker(options.entry, { workerData, name: 'engine' });
  let reason = 'the engine thread has ended';
  worker.on('message', (answers: readonly SentAnswer[]) => events.receive(answers.map(fullAnswer)));
  worker.on('error', (error: unknown) => {
    reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  });
  worker.on('messageerror', (error) => {
    reason = error.message;
    void worker.terminate();
  });
  worker.on('exit', () => events.exit(reason));
  return {
    send: (messages, transfer) => worker.postMessage(messages.map(shortMessage), transfer),
    end: async () => {
      await worker.terminate();
    },
  };
}
