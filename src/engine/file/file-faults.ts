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

/** For every change of a file after a flush of it has failed: what was written before may be there or not. */
export function lostWrites(path: string): Fault {
  return new Fault('image-read-only', { path, reason: 'a flush failed', diskFailed: true });
}

/**
 * Does the last of a work although it has failed; returns what to tell of that. It is what failed first, with
 * `diskFailed` when the disk has failed a change since: then nobody knows what is there.
 */
export function failureAfter(failure: unknown, last: () => void): unknown {
  try {
    last();
  } catch (error) {
    if (!(failure instanceof Fault)) return failure;
    if (!(error instanceof Fault)) return error;
    if (error.code === 'io-error') return new Fault(failure.code, { ...failure.context, diskFailed: true });
  }
  return failure;
}

const outOfSpace: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
