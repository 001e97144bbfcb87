// What the file system says, as faults: out of space is one thing, everything else another.

import { Fault } from '../../base/fault.ts';

/** What was being done: facts for the log. */
export interface FileFacts {
  readonly operation: string;
  readonly path: string;
  readonly offset?: number;
  readonly length?: number;
}

/** `insufficient-storage` for a full disk, quota or file size limit; `io-error` otherwise. */
export function fileFault(systemCode: string, facts: FileFacts): Fault {
  const code = outOfSpace.has(systemCode) ? 'insufficient-storage' : 'io-error';
  return new Fault(code, { ...facts, systemCode });
}

/** The fault for something that `node:fs` has thrown; what is not a system error is thrown again as it is. */
export function faultOfThrown(error: unknown, facts: FileFacts): Fault {
  if (error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string') {
    return fileFault(error.code, facts);
  }
  throw error;
}

const outOfSpace: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
