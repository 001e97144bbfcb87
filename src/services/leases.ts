// Leases: claims of clients on images, acquired, renewed, released and broken; kept in the catalog, judged in memory.

import type { LeaseMode } from '../catalog/catalog.ts';
import type { ImageAccess } from './image-access.ts';
import { keyOf } from './lease-book.ts';
import type { LeaseBook, LeaseList, LeaseView } from './lease-book.ts';
import type { ServiceParts } from './service-parts.ts';
import { TurnsByImage } from './turns-by-image.ts';

export interface LeaseOptions {
  readonly mode: LeaseMode;
  /** How long it holds without being used. */
  readonly ttlMs: number;
  readonly owner: string | undefined;
  /** The idempotency key of the request, if it has one. */
  readonly key: string | undefined;
}

/** A lease as its holder sees it. */
export interface Lease extends LeaseView {
  /** `lse_` and a secret. */
  readonly id: string;
}

export type LeasesParts = Pick<ServiceParts, 'catalog' | 'clock' | 'entropy' | 'report'> & {
  readonly access: ImageAccess;
  readonly book: LeaseBook;
};

/** Without such an image every verb faults `image-not-found`. */
export class Leases {
  readonly #parts: LeasesParts;
  /** Verbs on one image happen one after the other. */
  readonly #turns = new TurnsByImage();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: LeasesParts) {
    this.#parts = parts;
  }

  /** Reads what an earlier process granted. Before the first request. */
  async start(): Promise<void> {
    const { catalog, book, clock } = this.#parts;
    book.listen({
      ended: (imageId) => {
        this.#inBackground('ending a lease', imageId, async () => {
          // Not in turn: what is let in because the lease is over comes after the catalog knows. Otherwise a restart
          // could bring back a lease behind which somebody else has changed the image.
          await catalog.leases.end(book.endedOf(imageId));
          await this.#turns.take(imageId, () => this.#settle(imageId));
        });
      },
      used: ({ record }) => {
        const { key, imageId } = record;
        this.#inBackground('renewing a lease', imageId, () => catalog.leases.renew(key, { nowMs: clock() }));
      },
    });
    book.load(await catalog.leases.list(), await catalog.leases.listTokens());
    this.#watch();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Faults `image-not-ready`, `image-locked` {holder}, `too-many-leases`. When it answers, nothing that was let in before changes the image. */
  async acquire(image: string, options: LeaseOptions): Promise<Lease> {
    const { access, book, catalog, clock, entropy } = this.#parts;
    const { id: imageId } = await access.findReady(image);
    const { mode, ttlMs, owner, key: idempotencyKey } = options;
    return this.#turns.take(imageId, async () => {
      book.requireGrantable(imageId, mode);
      const id = `lse_${Buffer.from(entropy(secretLength)).toString('hex')}`;
      const ended = [...book.endedOf(imageId)];
      if (idempotencyKey !== undefined) await catalog.idempotency.note(idempotencyKey, { imageId, leaseId: id });
      const nowMs = clock();
      const grant = { key: keyOf(id), imageId, mode, owner, ttlMs, ended, idempotencyKey, nowMs };
      const record = await catalog.leases.grant(grant);
      book.dropEnded(imageId, ended);
      const lease = book.add(record);
      try {
        // It may have begun to go away before the book knew of the lease; afterwards that asks the lease.
        await access.requireKept(imageId);
        await access.fence(imageId);
      } catch (error) {
        // Nobody would know of it, and it would keep everybody out. The key goes first: a lease that is there in vain
        // ends by itself, but a key would stand for a lease that is not there.
        if (idempotencyKey !== undefined) await catalog.idempotency.unsettle(idempotencyKey);
        book.end(lease);
        await this.#settle(imageId);
        throw error;
      }
      this.#watch();
      return { id, ...book.view(lease) };
    });
  }

  /** The oldest first; `after` is the `next` of the stretch before. */
  async list(image: string, query: { readonly limit: number; readonly after: string | undefined }): Promise<LeaseList> {
    const { access, book } = this.#parts;
    return book.page((await access.find(image)).id, query);
  }

  /** Faults `lease-lost`. */
  async renew(image: string, leaseId: string): Promise<Lease> {
    const { access, book } = this.#parts;
    const { id: imageId } = await access.find(image);
    return { id: leaseId, ...book.view(book.renew(imageId, leaseId)) };
  }

  /** A lease that is no more is no harm. */
  async release(image: string, leaseId: string): Promise<void> {
    const { access, book } = this.#parts;
    const { id: imageId } = await access.find(image);
    await this.#turns.take(imageId, async () => {
      const lease = book.find(imageId, leaseId);
      if (lease === undefined) return;
      book.end(lease);
      await this.#settle(imageId);
    });
  }

  /** Ends all leases of an image, at once or after a grace in which their holders can finish. What is left of them. */
  async break(image: string, options: { readonly graceMs: number }): Promise<readonly LeaseView[]> {
    const { access, book, catalog } = this.#parts;
    const { id: imageId } = await access.find(image);
    return this.#turns.take(imageId, async () => {
      await catalog.leases.break(imageId, options);
      book.break(imageId, options.graceMs);
      await this.#settle(imageId);
      this.#watch();
      return book.list(imageId);
    });
  }

  /** Makes known what has ended: to the catalog, and to the thread of the image. */
  async #settle(imageId: string): Promise<void> {
    const { access, book, catalog } = this.#parts;
    const keys = [...book.endedOf(imageId)];
    if (keys.length > 0) await catalog.leases.end(keys);
    book.dropEnded(imageId, keys);
    await access.fence(imageId);
  }

  /** One timer for the lease that ends next; a lease that was used meanwhile makes it come again. */
  #watch(): void {
    clearTimeout(this.#timer);
    const { nextEndMs } = this.#parts.book;
    if (nextEndMs === undefined) return;
    const delayMs = Math.min(Math.max(Math.ceil(nextEndMs), watchMsMin), watchMsMax);
    this.#timer = setTimeout(() => {
      this.#parts.book.sweep();
      this.#watch();
    }, delayMs).unref();
  }

  #inBackground(doing: string, imageId: string, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      this.#parts.report({ doing, imageId, error });
    });
  }
}

/** 128 bits. */
const secretLength = 16;

const watchMsMin = 50;
/** Timers count in 31 bits. */
const watchMsMax = 2 ** 31 - 1;
