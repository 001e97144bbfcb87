// Idempotency keys in the catalog: who asked with which key, what that request makes, and how it was answered.

import type { WorkTrace } from './job-store.ts';

/** One key of one principal on one route. */
export interface IdempotencyRecord {
  readonly id: string;
  /** Tells one request from another. */
  readonly fingerprint: string;
  /** Whether the effect is there; set in the step that makes it. */
  readonly settled: boolean;
  /** What the request makes, noted before it is made. */
  readonly subject: WorkTrace | undefined;
  /** The first answer, as JSON. */
  readonly answer: unknown;
}

/** Every verb is one atomic, durable step. */
export interface IdempotencyStore {
  /** The record that has the key already, or undefined when the key was free and is taken now. Older keys go. */
  claim(claim: {
    readonly id: string;
    readonly fingerprint: string;
    readonly nowMs: number;
    readonly forgetBeforeMs: number;
  }): Promise<IdempotencyRecord | undefined>;
  note(id: string, subject: WorkTrace): Promise<void>;
  /** The effect is there, and this was the answer. */
  keep(id: string, answer: unknown): Promise<void>;
  /** The request had no effect: the key is free again. */
  release(id: string): Promise<void>;
}
