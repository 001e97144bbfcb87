// What images hold: guest bytes in and out, zeroes, discards, flushes and extents.

import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import type { EnginePool } from '../pool/engine-pool.ts';
import type { EngineCalls, ExtentPage } from '../pool/protocol.ts';
import { bodyRoom } from './body-room.ts';
import { clusterSizeOf } from './image-facts.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { Passphrases } from './passphrases.ts';
import type { ReadAhead } from './read-ahead.ts';
import { ImageReadSession } from './read-session.ts';
import type { ReadSession } from './read-session.ts';
import { pageOfSize } from './sized-pages.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import { ImageWriteSession, keepingAll, requireInside } from './write-session.ts';
import type { WorkControl } from './work-control.ts';
import type { WriteReceipt, WriteSession } from './write-session.ts';
import type { Usage } from './usage.ts';
import type { Visit } from './visit.ts';

/** Which part of the map to list. */
export interface ExtentsOptions {
  readonly snapshot: string | undefined;
  readonly offset: number;
  /** To the end when undefined; cut at the end. */
  readonly length: number | undefined;
  readonly limit: number;
  readonly layer: 'all' | 'top';
  readonly hostOffsets: boolean;
  readonly claim?: LeaseClaim | undefined;
}

/** One page of the map; `nextOffset` is where the rest of the span starts, undefined at its end. */
export interface ImageExtents extends ExtentPage {
  readonly imageId: string;
  readonly virtualSize: number;
  readonly generation: number;
}

/** Faults everywhere: `image-not-found`, `image-not-ready`; for changes `image-has-dependents`. */
export class Content {
  readonly #access: ImageAccess;
  readonly #pool: Pick<EnginePool, 'recycle'>;
  readonly #usage: Pick<Usage, 'requireQuota'>;
  readonly #ahead: ReadAhead;
  readonly #bodies = bodyRoom();

  constructor(parts: {
    readonly access: ImageAccess;
    readonly pool: Pick<EnginePool, 'recycle'>;
    readonly usage: Pick<Usage, 'requireQuota'>;
    readonly ahead: ReadAhead;
  }) {
    this.#ahead = parts.ahead;
    this.#usage = parts.usage;
    this.#access = parts.access;
    this.#pool = parts.pool;
  }

  /** Of the live image, or of a snapshot by id or name (`snapshot-not-found`). An aborted signal drops what has not started. */
  async openRead(
    image: string,
    options: {
      readonly snapshot: string | undefined;
      readonly signal: AbortSignal | undefined;
      readonly claim?: LeaseClaim | undefined;
      readonly passphrases?: Passphrases | undefined;
    },
  ): Promise<ReadSession> {
    const { signal, claim, passphrases } = options;
    const visitor = { changes: false, signal, claim, passphrases };
    const visit = this.#access.enterNow(image, visitor) ?? (await this.#access.enter(image, visitor));
    try {
      const snapshot = options.snapshot === undefined ? undefined : await findSnapshot(visit, options.snapshot);
      return new ImageReadSession(visit, { snapshot, ahead: this.#ahead });
    } catch (error) {
      visit.leave();
      throw error;
    }
  }

  /** As {@link openRead} of the live image, at once; undefined where something has to be waited for. */
  openReadNow(image: string, claim: LeaseClaim | undefined): ReadSession | undefined {
    const visit = this.#access.enterNow(image, { changes: false, signal: undefined, claim });
    return visit && new ImageReadSession(visit, { snapshot: undefined, ahead: this.#ahead });
  }

  /** Bytes that were read, from an image or an export, and that nobody looks at any more. Never necessary. */
  recycle(bytes: Uint8Array): void {
    this.#pool.recycle(bytes);
  }

  async openWrite(
    image: string,
    options: {
      readonly signal: AbortSignal | undefined;
      readonly claim?: LeaseClaim | undefined;
      readonly passphrases?: Passphrases | undefined;
    },
  ): Promise<WriteSession> {
    const room = this.#usage.requireQuota(0);
    if (room !== undefined) await room;
    const { signal, claim, passphrases } = options;
    const visit = await this.#access.enter(image, { changes: true, signal, claim, passphrases });
    return new ImageWriteSession(visit, {
      clusterSize: clusterSizeOf(visit.record),
      receiptOf: () => this.#receiptOf(visit),
      requireRoom: () => this.#usage.requireQuota(0),
      bodies: this.#bodies,
    });
  }

  /** Any alignment. `range-not-satisfiable` when the span leaves the image. */
  async zero(
    image: string,
    options: ByteSpan & { readonly unmap: boolean; readonly flush: boolean },
    control?: WorkControl,
  ): Promise<WriteReceipt> {
    const { offset, length, unmap } = options;
    return this.#change(image, { ...options, control }, (visit) =>
      visit.run('zero', { offset, length, unmap }, control),
    );
  }

  /** Whole clusters inside the span only. */
  async discard(
    image: string,
    options: ByteSpan & { readonly flush: boolean },
    control?: WorkControl,
  ): Promise<WriteReceipt> {
    const { offset, length } = options;
    return this.#change(image, { ...options, control }, (visit) => visit.run('discard', { offset, length }, control));
  }

  /** Durable when answered. Another epoch than the current one faults `writes-lost` {writeEpoch}. */
  async flush(
    image: string,
    options: { readonly writeEpoch: string | undefined; readonly claim?: LeaseClaim | undefined },
  ): Promise<WriteReceipt> {
    return this.#access.use(image, { changes: false, claim: options.claim }, async (visit) => {
      await visit.flush();
      const receipt = this.#receiptOf(visit);
      const { writeEpoch } = receipt;
      if (options.writeEpoch === undefined || options.writeEpoch === writeEpoch) return receipt;
      throw new Fault('writes-lost', { writeEpoch });
    });
  }

  async extents(image: string, options: ExtentsOptions): Promise<ImageExtents> {
    const { offset, limit, layer, hostOffsets, claim } = options;
    return this.#access.use(image, { changes: false, claim }, async (visit) => {
      const snapshot = options.snapshot === undefined ? undefined : await findSnapshot(visit, options.snapshot);
      const sizeNow = (): number => snapshot?.virtualSize ?? visit.pulse.virtualSize;
      const page = await pageOfSize(sizeNow, async (size): Promise<EngineCalls['extents']['result']> => {
        requireInside({ offset, length: 0 }, size);
        const length = Math.min(options.length ?? size, size - offset);
        const { generation } = visit.pulse;
        if (length === 0) return { virtualSize: size, generation, items: [], nextOffset: undefined };
        const query = { offset, length, limit, layer, hostOffsets };
        return visit.call('extents', snapshot === undefined ? query : { ...query, snapshot: snapshot.id });
      });
      return { imageId: visit.imageId, ...page };
    });
  }

  async #change(
    image: string,
    options: ByteSpan & { readonly flush: boolean; readonly control: WorkControl | undefined },
    work: (visit: Visit) => Promise<unknown>,
  ): Promise<WriteReceipt> {
    const change = async (visit: Visit): Promise<WriteReceipt> => {
      requireInside(options, visit.pulse.virtualSize);
      return keepingAll(visit, async () => {
        if (endOf(options) > options.offset) await work(visit);
        if (options.flush) await visit.flush();
        return this.#receiptOf(visit);
      });
    };
    return this.#access.use(image, { changes: true, claim: options.control?.claim }, change, options.control);
  }

  #receiptOf(visit: Visit): WriteReceipt {
    return { generation: visit.pulse.generation, writeEpoch: this.#access.writeEpoch(visit) };
  }
}
