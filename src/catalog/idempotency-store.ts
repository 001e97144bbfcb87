// Idempotency keys in the catalog: who asked with which key, what that request makes, and how it was answered.

import type { WorkTrace } from './job-store.ts';
import type { LeaseRecord } from './lease-store.ts';

/** What a request has made, with all that its answer tells. */
export type Outcome =
  /** The record of the image, as JSON. */
  | { readonly kind: 'image'; readonly image: unknown }
  /** The snapshot as its image's file describes it, as JSON. */
  | { readonly kind: 'snapshot'; readonly imageId: string; readonly snapshot: unknown }
  /** The bitmap as its image's file describes it, as JSON. */
  | { readonly kind: 'bitmap'; readonly imageId: string; readonly bitmap: unknown }
  /** The lease's id, which is its holder's secret, is in the trace. */
  | { readonly kind: 'lease'; readonly lease: LeaseRecord };

/** A key whose request has made something. */
export interface SettledKey {
  readonly id: string;
  readonly outcome: Outcome;
}

/** One key of one principal on one route. */
export interface IdempotencyRecord {
  readonly id: string;
  /** Tells one request from another. */
  readonly fingerprint: string;
  /** What the request has made; set in the step that makes it. */
  readonly outcome: Outcome | undefined;
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
  /** The keys of requests that were to make something of this image, and of which nobody knows whether they have. */
  listUnsettled(imageId: string): Promise<readonly IdempotencyRecord[]>;
  /** What the request was to make is there, whatever becomes of its answer. */
  settle(key: SettledKey): Promise<void>;
  /** What the request had made was taken back: the key stands for nothing yet. */
  unsettle(id: string): Promise<void>;
  /** The effect is there, and this was the answer. */
  keep(id: string, answer: unknown): Promise<void>;
  /** The request had no effect: the key is free again. */
  release(id: string): Promise<void>;
}
