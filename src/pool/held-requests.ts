// Requests on an image that is between two threads: they wait, and go to the one that has it then, in their order.

import { Fault } from '../base/fault.ts';
import { neverRefused } from './lane.ts';
import type { RequestOptions } from './lane.ts';
import type { PoolLimits } from './limits.ts';
import type { RequestBody } from './messages.ts';

export type SendRequest = (body: RequestBody, options: RequestOptions) => Promise<unknown>;

interface Held {
  readonly body: RequestBody;
  readonly options: RequestOptions;
  readonly resolve: (result: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly onAbort: () => void;
}

/** As many as a thread would take. Whoever aborts is dropped. */
export class HeldRequests {
  readonly #limits: PoolLimits;
  readonly #held = new Set<Held>();
  #bytes = 0;

  constructor(limits: PoolLimits) {
    this.#limits = limits;
  }

  /** Answered as it will be then. Fault `engine-busy` when too many wait. */
  add(body: RequestBody, options: RequestOptions): Promise<unknown> {
    const { queueLengthMax, queueBytesMax } = this.#limits;
    const full = this.#held.size >= queueLengthMax || this.#bytes + options.bytes > queueBytesMax;
    if (full && !neverRefused.includes(body.kind))
      return Promise.reject(new Fault('engine-busy', { queueLengthMax, queueBytesMax }));
    return new Promise((resolve, reject) => {
      const { signal } = options;
      signal?.throwIfAborted();
      const held: Held = {
        body,
        options,
        resolve,
        reject,
        onAbort: () => {
          this.#take(held);
          held.reject(signal?.reason);
        },
      };
      signal?.addEventListener('abort', held.onAbort, { once: true });
      this.#held.add(held);
      this.#bytes += options.bytes;
    });
  }

  letGo(send: SendRequest): void {
    for (const held of [...this.#held]) {
      this.#take(held);
      send(held.body, held.options).then(held.resolve, held.reject);
    }
  }

  /** Each is told a fault of its own. */
  fail(failure: () => Fault): void {
    for (const held of [...this.#held]) {
      this.#take(held);
      held.reject(failure());
    }
  }

  #take(held: Held): void {
    if (!this.#held.delete(held)) return;
    this.#bytes -= held.options.bytes;
    held.options.signal?.removeEventListener('abort', held.onAbort);
  }
}
