// QEMU's own locks on an image file, so that a running qemu and this engine never share what one of them writes.
//
// Byte 100 + bit says "I use this permission", byte 200 + bit "nobody else may use it": bit 0 consistent read, 1 write,
// 3 resize. Every lock is shared; one is set first and asked about afterwards, so two openers may both fail, but never
// both win. Closing the descriptor gives everything back.

import { Fault } from '../../base/fault.ts';
import type { SystemCalls } from '../../system/system-calls.ts';

/** What an opener does with the file: an image, or the external data file of one. */
export type LockUse = 'read' | 'write' | 'data-read' | 'data-write';

interface LockBytes {
  readonly take: readonly number[];
  /** Held by anybody else, these stand against the use. */
  readonly ask: readonly number[];
}

const lockBytes: Readonly<Record<LockUse, LockBytes>> = {
  'read': { take: [100, 201, 203], ask: [200, 101, 103] },
  'write': { take: [100, 101, 103, 201, 203], ask: [200, 201, 203, 101, 103] },
  // Its image keeps other writers out; QEMU lets them write to a data file, but not change its length.
  'data-read': { take: [100, 203], ask: [200, 103] },
  'data-write': { take: [100, 101, 103, 203], ask: [200, 201, 203, 103] },
};

/** Other programs look at an image for a moment: that long it is worth waiting. */
const attemptsMax = 10;
const pauseMs = 5;

/** Errors that say that the file system has no such locks. */
const unsupported: ReadonlySet<string> = new Set(['EINVAL', 'ENOLCK', 'EOPNOTSUPP', 'ENOSYS']);

/**
 * Takes the locks for a use of an open file. Faults `image-in-use` when another program, or another opener in this one,
 * stands against it, and `io-error` where locks cannot be had.
 */
export function lockFile(calls: SystemCalls, descriptor: number, use: LockUse): void {
  lock(calls, descriptor, lockBytes[use], use);
}

/**
 * Takes the locks and asks about nobody else's: for whoever knows of an opener in this process that has kept all others out
 * so far, and still does. Fault `io-error` where locks cannot be had.
 */
export function shareLocks(calls: SystemCalls, descriptor: number, use: LockUse): void {
  lock(calls, descriptor, { take: lockBytes[use].take, ask: [] }, use);
}

function lock(calls: SystemCalls, descriptor: number, bytes: LockBytes, use: LockUse): void {
  for (let attempt = 1; ; attempt += 1) {
    if (tryLock(calls, descriptor, bytes)) return;
    if (attempt === attemptsMax) break;
    pause();
  }
  throw new Fault('image-in-use', { reason: 'another program has the image file open', use });
}

function tryLock(calls: SystemCalls, descriptor: number, bytes: LockBytes): boolean {
  for (const byte of bytes.take) {
    const answer = calls.shareByte(descriptor, byte);
    if (answer >= 0) continue;
    unlock(calls, descriptor, bytes);
    return judge(calls, answer);
  }
  for (const byte of bytes.ask) {
    const answer = calls.probeByte(descriptor, byte);
    if (answer === 0) continue;
    unlock(calls, descriptor, bytes);
    return answer > 0 ? false : judge(calls, answer);
  }
  return true;
}

/** Somebody holds the byte exclusively: no. Anything else is a failure. */
function judge(calls: SystemCalls, answer: number): false {
  const systemCode = calls.errorNameOf(answer);
  if (systemCode === 'EAGAIN' || systemCode === 'EACCES') return false;
  const reason = unsupported.has(systemCode)
    ? 'the file system has no byte locks; allow unlocked images to use it all the same'
    : 'the lock could not be asked for';
  throw new Fault('io-error', { operation: 'lock', systemCode, reason });
}

function unlock(calls: SystemCalls, descriptor: number, bytes: LockBytes): void {
  for (const byte of bytes.take) calls.releaseByte(descriptor, byte);
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
}
