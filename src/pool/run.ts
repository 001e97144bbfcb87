// One run under way: advanced step by step, undone step by step when it is cancelled.

import { Fault } from '../base/fault.ts';
import type { FaultKind } from '../base/fault-codes.ts';
import type { CodecNeed, Progress, Steps } from '../engine/image.ts';
import { wipeKeys } from './open-image.ts';
import type { OwnKeys } from './messages.ts';
import type { OpenImage } from './open-image.ts';

/** How a step ended: somewhere on the way, at the end, or with everything undone. */
export type StepOutcome =
  | { readonly kind: 'under-way'; readonly progress: Progress }
  | { readonly kind: 'finished'; readonly result: unknown }
  | { readonly kind: 'cancelled' };

export class Run<Image extends OpenImage = OpenImage> {
  /** The request to answer. */
  readonly id: number;
  /** The image that it has for itself; undefined for a run on a file that nobody has open. */
  readonly image: Image | undefined;
  /** In which epoch of the image it was admitted; undefined when nothing fences it off. */
  readonly epoch: number | undefined;
  /** Of whoever asked for it: it works with these keys. */
  readonly #keys: OwnKeys;
  readonly #steps: Steps<unknown>;
  readonly #changes: boolean;
  /** Whether its next step may still refuse everything. */
  #mayRefuse: boolean;
  #cancel = false;
  #undoing = false;
  #isFinal = false;
  #toldAtMs = -Infinity;
  #awaits: CodecNeed | undefined;

  constructor(parts: {
    readonly id: number;
    readonly image: Image | undefined;
    readonly steps: Steps<unknown>;
    readonly changes: boolean;
    readonly refusesFirst: boolean;
    readonly epoch: number | undefined;
    readonly keys: OwnKeys;
  }) {
    this.id = parts.id;
    this.image = parts.image;
    this.#steps = parts.steps;
    this.#changes = parts.changes;
    this.#mayRefuse = parts.refusesFirst;
    this.epoch = parts.epoch;
    this.#keys = parts.keys;
  }

  /** From its next step on the run goes back, unless it is too far for that: then it goes on, and ends as if nobody had asked. */
  cancel(): void {
    this.#cancel = true;
  }

  /** Whether it has nothing to do yet: what it needs is not there. One that is to stop does not wait for it. */
  get isWaiting(): boolean {
    return this.#awaits?.isAnswered === false && (!this.#cancel || this.#undoing || this.#isFinal);
  }

  /** Does one step. The generation is raised before it: nobody reads while it goes on. */
  advance(): StepOutcome {
    const mayRefuse = this.#mayRefuse;
    this.#mayRefuse = false;
    if (this.#changes) this.image?.raise();
    let next: IteratorResult<Progress, unknown>;
    try {
      next = this.image === undefined ? this.#next() : this.image.withKeys(this.#keys, () => this.#next());
    } catch (error) {
      if (mayRefuse && isRefusal(error)) this.image?.takeBack();
      throw error;
    }
    if (next.done !== true) {
      this.#isFinal = next.value.isFinal === true;
      this.#awaits = next.value.awaits;
      return { kind: 'under-way', progress: next.value };
    }
    return this.#undoing ? { kind: 'cancelled' } : { kind: 'finished', result: next.value };
  }

  /** Whether the progress is to be told now, when it may be told once in `intervalMs`. */
  tells(nowMs: number, intervalMs: number): boolean {
    if (nowMs - this.#toldAtMs < intervalMs) return false;
    this.#toldAtMs = nowMs;
    return true;
  }

  /** The run is over, and its keys forgotten. */
  end(): void {
    wipeKeys(this.#keys);
  }

  #next(): IteratorResult<Progress, unknown> {
    if (!this.#cancel || this.#undoing || this.#isFinal) return this.#steps.next();
    this.#undoing = true;
    return this.#steps.return(undefined);
  }
}

/** What comes before any change, as nobody can have what was asked for. */
const refusals: readonly FaultKind[] = ['conflict', 'unprocessable', 'range', 'not_found', 'invalid', 'precondition'];

function isRefusal(error: unknown): boolean {
  return error instanceof Fault && refusals.includes(error.kind);
}
