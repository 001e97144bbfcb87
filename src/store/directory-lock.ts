// One process owns a data directory: an exclusive lock on a file in it, which ends with the process however that ends.

import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';

import { loadSystemCalls } from '../system/system-calls.ts';

/**
 * `own`: the lock is ours until it is released. `taken`: another opener has it. `unavailable`: it cannot be had here,
 * for the reason given, and nothing keeps a second process out.
 */
export type DirectoryLockOrReason =
  | { readonly kind: 'own'; readonly lock: DirectoryLock }
  | { readonly kind: 'taken' }
  | { readonly kind: 'unavailable'; readonly reason: string };

/** The lock of a data directory that is ours. */
export class DirectoryLock implements Disposable {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Asks once; the directory is there already. The file stays when the lock goes: it is only a place to lock. */
  static take(directory: string): DirectoryLockOrReason {
    const system = loadSystemCalls();
    if ('missing' in system) return { kind: 'unavailable', reason: system.missing };
    const { calls } = system;
    const path = join(directory, fileName);
    const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, fileMode);
    const answer = calls.ownByte(descriptor, lockedByte);
    if (answer >= 0) return { kind: 'own', lock: new DirectoryLock(descriptor) };
    closeSync(descriptor);
    const errorName = calls.errorNameOf(answer);
    return heldByAnother.has(errorName) ? { kind: 'taken' } : { kind: 'unavailable', reason: errorName };
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}

const fileName = 'lock';
const fileMode = 0o600;
const lockedByte = 0;
const heldByAnother: ReadonlySet<string> = new Set(['EAGAIN', 'EACCES']);
