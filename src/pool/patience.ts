// Waiting for what others have begun: not for ever, and not after the caller has lost interest.

import { Fault } from '../base/fault.ts';

/**
 * Settles as `work` does, but at most after `waitMs` with the fault `engine-busy`, and with the signal's reason when that
 * aborts. The work itself goes on.
 */
export function patient<Result>(
  work: Promise<Result>,
  options: { readonly signal: AbortSignal | undefined; readonly waitMs: number },
): Promise<Result> {
  const { signal, waitMs } = options;
  return new Promise<Result>((resolve, reject) => {
    const timer = setTimeout(() => leave(new Fault('engine-busy', { waitedMs: waitMs })), waitMs);
    const onAbort = (): void => leave(signal?.reason);
    const stop = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const leave = (reason: unknown): void => {
      stop();
      // Passed on as it is: a signal's reason may be anything.
      reject(reason as Error);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    work.then((result) => {
      stop();
      resolve(result);
    }, leave);
  });
}
