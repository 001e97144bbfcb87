// Waiting for what others have begun: not for ever, and not after the caller has lost interest.

import { Fault } from '../base/fault.ts';

/**
 * Settles as `work` does, but at most after `waitMs` with the fault `engine-busy`, and with the signal's reason when that
 * aborts. The work itself goes on.
 */
export async function patient<Result>(
  work: Promise<Result>,
  options: { readonly signal: AbortSignal | undefined; readonly waitMs: number },
): Promise<Result> {
  const { signal, waitMs } = options;
  const left = Promise.withResolvers<never>();
  const timer = setTimeout(() => left.reject(new Fault('engine-busy', { waitedMs: waitMs })), waitMs);
  const onAbort = (): void => left.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** When the work is over, however it ended. */
export async function settled(work: Promise<unknown>): Promise<void> {
  await Promise.allSettled([work]);
}
