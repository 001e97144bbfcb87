// A long run as a generator: bounded steps, the file sound at every yield.

import type { CodecNeed } from '../transform/codec-need.ts';

/** How far a run has come; the unit is the run's own (bytes, clusters). */
export interface Progress {
  readonly done: number;
  readonly total: number;
  /** The run cannot be undone any more: it goes on to its end, whoever wants it to stop. */
  readonly isFinal?: true;
  /** Work that others may begin with while the run goes on. */
  readonly asks?: CodecNeed;
  /** The run has nothing to do before this is answered; whoever goes on with it all the same has it done on the spot. */
  readonly awaits?: CodecNeed;
}

/**
 * A long run. Cancel by `return()`, then `next()` until done: undoing is stepped too. Nothing may follow a `yield*` of a
 * run that yields in its `finally`: the end of such a run looks like its success to whoever delegated to it.
 */
export type Steps<Result> = Generator<Progress, Result, undefined>;

/** At most this many data bytes are touched by one step. */
export const stepLengthMax = 4 * 1024 * 1024;

/** Runs to the end on the spot. */
export function runToEnd<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const next = steps.next();
    if (next.done === true) return next.value;
  }
}

/** A run that cannot be undone any more: a cancel does not stop it, it goes on to its end. */
export function* toTheEnd<Result>(steps: Steps<Result>): Steps<Result> {
  let next = steps.next();
  try {
    while (next.done !== true) {
      yield { ...next.value, isFinal: true };
      next = steps.next();
    }
    return next.value;
  } finally {
    while (next.done !== true) {
      next = steps.next();
      if (next.done !== true) yield { ...next.value, isFinal: true };
    }
  }
}
