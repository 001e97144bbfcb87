// What the runs of a thread have asked others to do, until it is answered.

import { Fault } from '../base/fault.ts';
import type { CodecNeed } from '../engine/image.ts';
import type { Supply } from './messages.ts';

export class Needs {
  readonly #asked = new Map<number, CodecNeed>();
  #lastId = 0;

  /** The number under which it will be answered. */
  add(need: CodecNeed): number {
    this.#lastId += 1;
    this.#asked.set(this.#lastId, need);
    return this.#lastId;
  }

  /** The run may be over by now. */
  answer(id: number, supply: Supply): void {
    const need = this.#asked.get(id);
    this.#asked.delete(id);
    need?.answer(supply.kind === 'done' ? supply.result : new Fault(supply.code, supply.context));
  }
}
