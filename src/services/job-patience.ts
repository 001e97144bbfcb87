// The patience of a job: nobody waits for its answer, so it waits for its turn as long as that takes.

import { Fault } from '../base/fault.ts';

/** How long somebody is ready to wait for what is busy. */
export interface Patience {
  /** Ends the waiting; it fails with the signal's reason then. */
  readonly signal: AbortSignal;
  /** Whether nobody waits for the answer, now: a work becomes a job while it goes on. */
  readonly accepted: () => boolean;
}

/** Between two attempts, in milliseconds: most refusals come after some seconds, that for want of room at once. */
const attemptEveryMs = 100;

/**
 * Does a work, and does it again as long as it is refused for `engine-busy`, if there is patience: such a refusal comes
 * before anything is done. Between the attempts others have their turn.
 */
export function patiently<Result>(patience: Patience | undefined, work: () => Promise<Result>): Promise<Result> {
  return patience === undefined ? work() : untilFree(patience, work);
}

async function untilFree<Result>({ signal, accepted }: Patience, work: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'engine-busy' || !accepted()) throw error;
    }
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, attemptEveryMs));
    signal.throwIfAborted();
  }
}
