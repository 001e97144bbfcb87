// Idempotency: a repeated request makes nothing twice and gets the first answer.

import { createHash } from 'node:crypto';

import { Fault } from '../base/fault.ts';
import type { IdempotencyRecord, WorkTrace } from '../catalog/catalog.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseBook } from './lease-book.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Snapshots } from './snapshots.ts';

/** One request with a key. */
export interface KeyedRequest {
  readonly principal: string;
  readonly route: string;
  readonly key: string;
  /** Everything that tells this request from another one. */
  readonly request: string;
}

/** What is known of a request. */
export type KeyState =
  /** Nobody has asked this before: do it, then {@link Idempotency.keep} or {@link Idempotency.fail}. */
  | { readonly kind: 'new'; readonly id: string }
  /** The first answer. */
  | { readonly kind: 'answered'; readonly answer: unknown }
  /** It is made, but the process died before the answer was kept. */
  | { readonly kind: 'made'; readonly id: string; readonly subject: WorkTrace };

/** How long a key is kept. */
export const keysKeptMs = 24 * 60 * 60 * 1000;

/**
 * The key is taken before the work begins and settled in the step that makes its effect. In between it names what is
 * made, so that after a crash whoever comes with the key again looks whether that is there.
 */
export class Idempotency {
  readonly #parts: Pick<ServiceParts, 'catalog' | 'clock' | 'report'>;
  readonly #access: ImageAccess;
  readonly #snapshots: Snapshots;
  readonly #book: LeaseBook;
  /** The keys of requests under way in this process. */
  readonly #running = new Set<string>();

  constructor(
    parts: Pick<ServiceParts, 'catalog' | 'clock' | 'report'> & {
      readonly access: ImageAccess;
      readonly snapshots: Snapshots;
      readonly book: LeaseBook;
    },
  ) {
    this.#parts = parts;
    this.#access = parts.access;
    this.#snapshots = parts.snapshots;
    this.#book = parts.book;
  }

  /** Faults `idempotency-key-reused`, `idempotency-in-progress`. */
  async begin(asked: KeyedRequest): Promise<KeyState> {
    const id = digestOf([asked.principal, asked.route, asked.key]);
    const fingerprint = digestOf([asked.request]);
    const { idempotency } = this.#parts.catalog;
    const nowMs = this.#parts.clock();
    const known = await idempotency.claim({ id, fingerprint, nowMs, forgetBeforeMs: nowMs - keysKeptMs });
    if (known === undefined) {
      this.#running.add(id);
      return { kind: 'new', id };
    }
    if (known.fingerprint !== fingerprint) throw new Fault('idempotency-key-reused', {});
    if (known.answer !== undefined) return { kind: 'answered', answer: known.answer };
    if (this.#running.has(id)) throw new Fault('idempotency-in-progress', {});

    this.#running.add(id);
    try {
      const subject = await this.#madeBy(known);
      if (subject !== undefined) return { kind: 'made', id, subject };
    } catch (error) {
      this.#running.delete(id);
      throw error;
    }
    return { kind: 'new', id };
  }

  /** The effect is there, and this was the answer. */
  async keep(id: string, answer: unknown): Promise<void> {
    try {
      await this.#parts.catalog.idempotency.keep(id, answer);
    } finally {
      this.#running.delete(id);
    }
  }

  /** The request failed: after a refusal the key is free again, otherwise the next one looks whether the effect is there. */
  async fail(id: string, error: unknown): Promise<void> {
    try {
      if (isRefusal(error)) await this.#parts.catalog.idempotency.release(id);
    } finally {
      this.#running.delete(id);
    }
  }

  /** What a request has made whose answer nobody knows any more; undefined when it has made nothing. */
  async #madeBy(known: IdempotencyRecord): Promise<WorkTrace | undefined> {
    const { subject } = known;
    if (subject?.imageId === undefined) return undefined;
    try {
      const image = await this.#access.find(subject.imageId);
      if (image.state !== 'ready') return undefined;
      // Opening the image completes or undoes what was under way.
      // A lease that is over is of no use to whoever never got to know it.
      if (subject.leaseId !== undefined && this.#book.find(image.id, subject.leaseId) === undefined) return undefined;
      if (subject.snapshotId !== undefined) await this.#snapshots.get(image.id, subject.snapshotId);
      return subject;
    } catch (error) {
      if (error instanceof Fault && error.kind === 'not_found') return undefined;
      throw error;
    }
  }
}

/** A refusal comes before the first change. */
function isRefusal(error: unknown): boolean {
  const certain = [
    'invalid',
    'not_found',
    'conflict',
    'precondition',
    'unprocessable',
    'unsupported',
    'storage',
    'locked',
  ];
  return error instanceof Fault && certain.includes(error.kind);
}

function digestOf(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}
