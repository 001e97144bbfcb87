// Joins a message port to a dispatcher: what an engine thread does.

import type { MessagePort } from 'node:worker_threads';

import type { FileLocks } from '../engine/image.ts';
import { Dispatcher } from './dispatcher.ts';
import type { Engine } from './engine.ts';
import { deriveAside } from './key-desk.ts';
import type { PoolLimits } from './limits.ts';
import { fullMessage, shortAnswer } from './short-forms.ts';
import type { SentMessage } from './short-forms.ts';

/** What a thread is started with. */
export interface EngineThreadData {
  readonly limits: PoolLimits;
  readonly locks: FileLocks;
  readonly hostCopies: boolean;
  /** The thread's part of the memory for caches. */
  readonly cacheBytes: number;
}

/** Serves until the port closes; what is still open then is let go of as it is. */
export function serveEngine(parts: {
  readonly port: MessagePort;
  readonly engine: Engine;
  readonly data: EngineThreadData;
  readonly clock: () => number;
}): void {
  const { port, engine, data, clock } = parts;
  const dispatcher = new Dispatcher({
    engine,
    limits: data.limits,
    clock,
    send: (answers, transfer) => port.postMessage(answers.map(shortAnswer), transfer),
    deriveKey: deriveAside,
  });
  port.on('message', (messages: readonly SentMessage[]) => dispatcher.receive(messages.map(fullMessage)));
  port.once('close', () => dispatcher.abandon());
}
