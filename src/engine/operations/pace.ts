// Cuts a long walk over metadata, or over the extents of a disk, into bounded steps.

import { MiB } from '../../base/units.ts';
import { stepLengthMax } from './steps.ts';
import type { Progress } from './steps.ts';

/** Counts the bytes looked at and says when a step is full. */
export class Pace {
  #done = 0;
  #sinceStep = 0;
  #total = 0;

  /** Announces work; what is done without being announced corrects the total upwards. */
  expect(length: number): void {
    this.#total += length;
  }

  /** Notes `length` bytes of work; the progress to yield when a step is full, else undefined. */
  spend(length: number): Progress | undefined {
    this.#done += length;
    this.#sinceStep += length;
    if (this.#sinceStep < stepLengthMax) return undefined;
    this.#sinceStep = 0;
    return { done: this.#done, total: Math.max(this.#done, this.#total) };
  }
}

/** One step passes over so many extents at most. */
const extentsPerStep = 1024;

/** One step reads and writes so many bytes of a disk, and the extent that it has begun. */
const copiedPerStep = 1 * MiB;

/** Says when a walk over extents, some of which are copied, has done a step. */
export class CopyPace {
  #extents = 0;
  #copied = 0;

  /** Notes one extent, or a part of it, of which `copied` bytes were read or written; whether the step is full then. */
  isFullWith(copied: number): boolean {
    this.#extents += 1;
    this.#copied += copied;
    if (this.#extents < extentsPerStep && this.#copied < copiedPerStep) return false;
    this.#extents = 0;
    this.#copied = 0;
    return true;
  }
}
