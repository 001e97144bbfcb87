// Idempotency: a repeated request makes nothing twice and gets the first answer.

import { hash } from 'node:crypto';

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { IdempotencyRecord, ImageRecord, Outcome, WorkTrace } from '../catalog/catalog.ts';
import type { BitmapDescription, SnapshotDescription } from '../pool/protocol.ts';
import { toImage } from './image-facts.ts';
import type { Image } from './image-facts.ts';
import type { Lease } from './leases.ts';
import { isMadeAs } from './made-things.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Bitmaps, MadeBitmap } from './bitmaps.ts';
import type { Snapshots } from './snapshots.ts';

/** One request with a key. */
export interface KeyedRequest {
  readonly principal: string;
  readonly route: string;
  readonly key: string;
  /** Everything that tells this request from another one. */
  readonly request: string;
}

/** What a request has made, as it was then. */
export type Made =
  | { readonly kind: 'image'; readonly image: Image }
  | { readonly kind: 'snapshot'; readonly imageId: string; readonly snapshot: SnapshotDescription }
  | ({ readonly kind: 'bitmap' } & MadeBitmap)
  | { readonly kind: 'lease'; readonly lease: Lease };

/** What is known of a request. */
export type KeyState =
  /** Nobody has asked this before: do it, then {@link Idempotency.keep} or {@link Idempotency.fail}. */
  | { readonly kind: 'new'; readonly id: string }
  /** The first answer. */
  | { readonly kind: 'answered'; readonly answer: unknown }
  /** It is made, but the process died before the answer was kept. It may be gone since. */
  | { readonly kind: 'made'; readonly id: string; readonly made: Made };

/** How long a key is kept. */
export const keysKeptMs = 24 * 60 * 60 * 1000;

/**
 * The key is taken before the work begins. The step that makes the effect stores what was made with the key, and from
 * then on nothing is made again. In between the key names what is to be made: a snapshot or a bitmap is in its image's
 * file before the catalog knows of it, and after a crash the first opening of the image looks whether it is.
 */
export class Idempotency {
  readonly #parts: Pick<ServiceParts, 'catalog' | 'clock' | 'report'>;
  readonly #bitmaps: Bitmaps;
  readonly #snapshots: Snapshots;
  /** The keys of requests under way in this process. */
  readonly #running = new Set<string>();

  constructor(
    parts: Pick<ServiceParts, 'catalog' | 'clock' | 'report'> & {
      readonly bitmaps: Bitmaps;
      readonly snapshots: Snapshots;
    },
  ) {
    this.#parts = parts;
    this.#bitmaps = parts.bitmaps;
    this.#snapshots = parts.snapshots;
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
      const made = known.outcome === undefined ? await this.#foundOf(known) : madeOf(known.outcome, known.subject);
      if (made !== undefined) return { kind: 'made', id, made };
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

  /** Opening the image completes or undoes what was under way, and settles the key of what is there. */
  async #foundOf({ subject }: IdempotencyRecord): Promise<Made | undefined> {
    if (subject?.imageId === undefined) return undefined;
    const { imageId, snapshotId, bitmapName } = subject;
    try {
      if (bitmapName !== undefined) {
        return { kind: 'bitmap', imageId, bitmap: await this.#bitmaps.get(imageId, bitmapName) };
      }
      if (snapshotId === undefined) return undefined;
      const snapshot = await this.#snapshots.get(imageId, snapshotId);
      if (isMadeAs(snapshot, subject)) return { kind: 'snapshot', imageId, snapshot };
    } catch (error) {
      if (!(error instanceof Fault) || error.kind !== 'not_found') throw error;
    }
    return undefined;
  }
}

/** What was stored in the step that made it. */
function madeOf(outcome: Outcome, trace: WorkTrace | undefined): Made {
  switch (outcome.kind) {
    case 'image': {
      const record = outcome.image as ImageRecord;
      return { kind: 'image', image: toImage(record, { ...record, lease: undefined }) };
    }
    case 'snapshot':
      return { ...outcome, snapshot: outcome.snapshot as SnapshotDescription };
    case 'bitmap':
      return { ...outcome, bitmap: outcome.bitmap as BitmapDescription };
    case 'lease': {
      const { mode, owner, fencingToken, acquiredAtMs, ttlMs } = outcome.lease;
      const id = present(trace?.leaseId, 'a lease is noted before it is granted');
      const expiresAtMs = acquiredAtMs + ttlMs;
      return { kind: 'lease', lease: { id, mode, owner, fencingToken, acquiredAtMs, expiresAtMs } };
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
  return hash('sha256', JSON.stringify(parts), 'base64url');
}
