// Keys from passphrases: a second of computing on purpose, so the engine asks for it and whoever runs the engine decides where it is done.

import { pbkdf2Sync } from 'node:crypto';

/** "Compute this PBKDF2 for me": lengths in bytes. */
export interface KeyNeed {
  readonly need: 'key';
  readonly hash: string;
  readonly passphrase: Uint8Array;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly length: number;
}

/** A piece of work that asks for keys; each answer is the key of the need before it. */
export type WithKeys<Result> = Generator<KeyNeed, Result, Uint8Array | undefined>;

/** The answer, computed on the spot. */
export function deriveKey(need: KeyNeed): Uint8Array {
  return pbkdf2Sync(need.passphrase, need.salt, need.iterations, need.length, need.hash);
}

/** Runs to the end, computing every key on the calling thread. */
export function deriveHere<Result>(work: WithKeys<Result>): Result {
  let next = work.next();
  while (next.done !== true) {
    const key = deriveKey(next.value);
    next = work.next(key);
    key.fill(0);
  }
  return next.value;
}
