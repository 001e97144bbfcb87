// A pool on the thread of its caller: the same dispatcher and the same hand-over as with threads, for tests and tools.

import { inlineCodecs } from './codecs.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Engine } from './engine.ts';
import { deriveAside } from './key-desk.ts';
import { LanePool } from './lane-pool.ts';
import type { PoolOptions } from './lane-pool.ts';
import type { Connection, ConnectionEvents } from './lane.ts';

export interface InlinePoolOptions extends PoolOptions {
  readonly engine: Engine;
  /** Milliseconds that only grow. */
  readonly clock: () => number;
  /** What stands for threads; one when left out. */
  readonly lanes?: number | undefined;
}

/** What is sent is cloned and handed over as between threads, so that nobody can rely on sharing it. */
export class InlinePool extends LanePool {
  constructor(options: InlinePoolOptions) {
    const connect = (events: ConnectionEvents): Connection => connectHere(options, events);
    super({ ...options, connects: Array.from({ length: options.lanes ?? 1 }, () => connect), codecs: inlineCodecs });
  }
}

/** A dispatcher of its own, behind a hand-over as between threads. */
export function connectHere(
  options: Pick<InlinePoolOptions, 'engine' | 'limits' | 'clock'>,
  events: ConnectionEvents,
): Connection {
  const { engine, limits, clock } = options;
  const dispatcher = new Dispatcher({
    engine,
    limits,
    clock,
    send: (answers, transfer) => events.receive(structuredClone(answers, { transfer: [...transfer] })),
    deriveKey: deriveAside,
  });
  return {
    send: (messages, transfer) => {
      const received = structuredClone(messages, { transfer: [...transfer] });
      setImmediate(() => dispatcher.receive(received));
    },
    end: async () => dispatcher.abandon(),
  };
}
