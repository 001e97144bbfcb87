// Cuts a long walk over metadata into bounded steps.

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
