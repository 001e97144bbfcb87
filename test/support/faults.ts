// What a call fails with: its fault code, and nothing but faults.

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';

/** The code of the fault that `call` throws, or undefined when it returns; anything else thrown goes on. */
export function faultCodeOf(call: () => unknown): FaultCode | undefined {
  try {
    call();
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
  return undefined;
}

/** The fault that `call` throws, as code and facts; undefined when it returns. */
export function faultOf(call: () => unknown): readonly [FaultCode, Fault['context']] | undefined {
  try {
    call();
  } catch (error) {
    if (error instanceof Fault) return [error.code, error.context];
    throw error;
  }
  return undefined;
}
