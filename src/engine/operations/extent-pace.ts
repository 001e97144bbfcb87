// Cuts a walk over the extents of a disk, some of which may be copied, into bounded steps.

import { MiB } from '../../base/units.ts';

/** One step passes over so many extents at most. */
const extentsPerStep = 1024;

/** One step reads and writes so many bytes of a disk, and the extent that it has begun. */
const copiedPerStep = 1 * MiB;

/** Says when such a walk has done a step. */
export class ExtentPace {
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
