// The order of requests on one image: who goes on at once, who waits for a run, and who waits no longer.

import { assert } from '../base/assert.ts';

/** What a run lets in between its steps. `overwrites`: reads, and changes of bytes that change no metadata. */
export type Admission = 'overwrites' | 'reads' | 'nothing';

/** What the gate must know of a request. */
export interface GateEntry {
  readonly id: number;
  /** Whether it only reads. */
  readonly reads: boolean;
  /** Whether it changes bytes in their places and no metadata, as the image is now. */
  overwrites(): boolean;
  /** When it gives up waiting, in milliseconds of the pool's clock. */
  readonly deadlineMs: number;
  /** In which epoch of the image it was admitted; undefined when nothing fences it off. */
  readonly epoch: number | undefined;
}

/**
 * One gate an image. Without a run everything goes on in the order in which it came. A run has the image for itself,
 * but for what it may admit between its steps: that passes whatever waits for the end of the run.
 */
export class Gate<Entry extends GateEntry> {
  #waiting: Entry[] = [];
  #run: Admission | undefined;

  /** Whether the request goes on at once; otherwise it waits until {@link next} hands it out. */
  enter(entry: Entry): boolean {
    if (this.#run === undefined && this.#waiting.length === 0) return true;
    if (this.#admits(entry)) return true;
    this.#waiting.push(entry);
    return false;
  }

  /** The image belongs to a run from now on. */
  begin(admission: Admission): void {
    assert(this.#run === undefined, 'one run at a time has an image');
    this.#run = admission;
  }

  end(): void {
    assert(this.#run !== undefined, 'a run has the image');
    this.#run = undefined;
  }

  /** Takes out the next request that may go on now. */
  next(): Entry | undefined {
    if (this.#run === undefined) return this.#waiting.shift();
    const index = this.#waiting.findIndex((entry) => this.#admits(entry));
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  /** Whether {@link next} would hand something out. */
  get ready(): boolean {
    if (this.#run === undefined) return this.#waiting.length > 0;
    return this.#waiting.some((entry) => this.#admits(entry));
  }

  /** Takes out a waiting request. */
  remove(id: number): Entry | undefined {
    const index = this.#waiting.findIndex((entry) => entry.id === id);
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  /** Takes out whatever has waited for too long. */
  expire(nowMs: number): readonly Entry[] {
    const expired = this.#waiting.filter((entry) => entry.deadlineMs <= nowMs);
    if (expired.length > 0) this.#waiting = this.#waiting.filter((entry) => entry.deadlineMs > nowMs);
    return expired;
  }

  /** Takes out whatever was admitted in an epoch before this one. */
  fence(epoch: number): readonly Entry[] {
    const stale = this.#waiting.filter((entry) => isStale(entry, epoch));
    if (stale.length > 0) this.#waiting = this.#waiting.filter((entry) => !isStale(entry, epoch));
    return stale;
  }

  /** Takes out everything. */
  drain(): readonly Entry[] {
    const drained = this.#waiting;
    this.#waiting = [];
    return drained;
  }

  /** When the next waiting request gives up; `Infinity` when none does. */
  get deadlineMs(): number {
    return this.#waiting.reduce((earliest, entry) => Math.min(earliest, entry.deadlineMs), Infinity);
  }

  #admits(entry: Entry): boolean {
    if (this.#run === undefined || this.#run === 'nothing') return false;
    return entry.reads || (this.#run === 'overwrites' && entry.overwrites());
  }
}

/** Whether a request was admitted before the image's epoch began. */
export function isStale(entry: { readonly epoch: number | undefined }, epoch: number): boolean {
  return entry.epoch !== undefined && entry.epoch < epoch;
}
