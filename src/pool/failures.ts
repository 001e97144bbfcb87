// Why a request on a thread has failed, in the form in which it travels.

import type { FaultCode } from '../base/fault-codes.ts';
import { Fault } from '../base/fault.ts';
import type { FaultContext } from '../base/fault.ts';

export interface Failure {
  readonly code: FaultCode;
  readonly context: FaultContext;
}

/** Whoever was admitted in an earlier epoch changes nothing any more. */
export function staleFault(): Failure {
  return { code: 'fencing-token-stale', context: {} };
}

/** Nobody asks a pool any more that has ended. */
export function closedFault(): Fault {
  return new Fault('engine-lost', { reason: 'closed' });
}

/** Our own code has failed. */
export function failureOf(error: unknown): Failure {
  return { code: 'image-failed', context: { reason: error instanceof Error ? error.message : String(error) } };
}

/** For the log. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
