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

/**
 * A run as a part of a longer one: whatever its unit is, it brings the whole from `from` to `to` on the way to `total`. It
 * is one that undoes nothing in steps.
 */
export function* partOf<Result>(
  steps: Steps<Result>,
  { from, to, total }: { readonly from: number; readonly to: number; readonly total: number },
): Steps<Result> {
  let next = steps.next();
  try {
    while (next.done !== true) {
      const { done: partDone, total: partTotal } = next.value;
      const share = partTotal === 0 ? 0 : Math.min(partDone / partTotal, 1);
      yield { ...next.value, done: from + Math.floor((to - from) * share), total };
      next = steps.next();
    }
    return next.value;
  } finally {
    // Whoever ends this ends that.
    if (next.done !== true) steps.return(undefined as never);
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
