// What an expected failure of the services must look like, for `assert.rejects`.

import assert from 'node:assert/strict';

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';

/** A fault of this code, with at least these facts. */
export function faultOf(code: FaultCode, facts: Record<string, unknown> = {}): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, code);
    for (const [key, value] of Object.entries(facts)) assert.deepEqual(error.context[key], value, key);
    return true;
  };
}
