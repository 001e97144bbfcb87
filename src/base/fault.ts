// The one class of expected failures. A fault carries a code and facts; sentences are made at the top.

import { faultCodes } from './fault-codes.ts';
import type { FaultCode, FaultKind } from './fault-codes.ts';

/** Facts about a fault: plain values that survive a hand-over between threads. */
export type FaultContext = Readonly<Record<string, unknown>>;

/** A failure that callers expect and clients can act on. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly context: FaultContext;

  constructor(code: FaultCode, context: FaultContext) {
    super(`${code}: ${faultCodes[code].title}`);
    this.code = code;
    this.context = context;
  }

  /** The family of the code: what kind of answer it is. */
  get kind(): FaultKind {
    return faultCodes[this.code].kind;
  }
}
