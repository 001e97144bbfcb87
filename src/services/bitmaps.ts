// Persistent dirty bitmaps: made, listed, switched, cleared, merged, removed, and what they tell.

import type { BitmapDescription, BitmapList, BitmapListQuery, DirtyExtent } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { ServiceParts } from './service-parts.ts';
import { pageOfSize } from './sized-pages.ts';
import type { Visit } from './visit.ts';
import { requireInside } from './write-session.ts';

export interface NewBitmapOptions {
  readonly name: string;
  /** In bytes; undefined for what suits the clusters. */
  readonly granularity: number | undefined;
  readonly enabled: boolean;
}

/** A bitmap that was made, and the image in whose file it is. */
export interface MadeBitmap {
  readonly imageId: string;
  readonly bitmap: BitmapDescription;
}

/** Which part of a bitmap to list. */
export interface DirtyExtentsOptions {
  readonly offset: number;
  /** To the end when undefined; cut at the end. */
  readonly length: number | undefined;
  readonly limit: number;
  readonly claim: LeaseClaim | undefined;
}

/** One page of a bitmap, at one generation of the image. */
export interface DirtyExtents {
  readonly virtualSize: number;
  readonly generation: number;
  readonly items: readonly DirtyExtent[];
  readonly nextOffset: number | undefined;
}

/** `bitmap` is a name; without such a bitmap verbs fault `bitmap-not-found`. What they change is durable. */
export class Bitmaps {
  readonly #parts: Pick<ServiceParts, 'catalog'>;
  readonly #access: ImageAccess;

  constructor(parts: Pick<ServiceParts, 'catalog'> & { readonly access: ImageAccess }) {
    this.#parts = parts;
    this.#access = parts.access;
  }

  /** Faults `name-conflict`, `invalid-geometry`, `unsupported-option`, `header-full`. */
  async create(
    image: string,
    options: NewBitmapOptions,
    request: { readonly claim: LeaseClaim | undefined; readonly key: string | undefined },
  ): Promise<MadeBitmap> {
    const { claim, key } = request;
    return this.#change(image, claim, async (visit) => {
      if (key !== undefined) {
        await this.#parts.catalog.idempotency.note(key, { imageId: visit.imageId, bitmapName: options.name });
      }
      const bitmap = await visit.call('createBitmap', options);
      const made: MadeBitmap = { imageId: visit.imageId, bitmap };
      if (key !== undefined) {
        await this.#parts.catalog.idempotency.settle({ id: key, outcome: { kind: 'bitmap', ...made } });
      }
      await visit.learn();
      return made;
    });
  }

  /** In the order of the file. */
  async list(image: string, query: BitmapListQuery): Promise<BitmapList> {
    return this.#access.use(image, { changes: false }, (visit) => visit.run('listBitmaps', query));
  }

  async get(image: string, bitmap: string): Promise<BitmapDescription> {
    return this.#access.use(image, { changes: false }, (visit) => visit.run('showBitmap', { bitmap }));
  }

  async update(
    image: string,
    bitmap: string,
    options: { readonly enabled: boolean; readonly claim: LeaseClaim | undefined },
  ): Promise<BitmapDescription> {
    const { enabled, claim } = options;
    return this.#change(image, claim, async (visit) => {
      await visit.call('enableBitmap', { bitmap, enabled });
      return visit.run('showBitmap', { bitmap });
    });
  }

  async clear(image: string, bitmap: string, claim?: LeaseClaim): Promise<BitmapDescription> {
    return this.#change(image, claim, async (visit) => {
      await visit.call('clearBitmap', { bitmap });
      return visit.run('showBitmap', { bitmap });
    });
  }

  /** What is dirty in one of `from` is dirty in `bitmap` afterwards. */
  async merge(
    image: string,
    bitmap: string,
    options: { readonly from: readonly string[]; readonly claim: LeaseClaim | undefined },
  ): Promise<BitmapDescription> {
    const { from, claim } = options;
    return this.#change(image, claim, async (visit) => {
      await visit.run('mergeBitmaps', { bitmap, from });
      return visit.run('showBitmap', { bitmap });
    });
  }

  /** An inconsistent one, too. */
  async delete(image: string, bitmap: string, claim?: LeaseClaim): Promise<void> {
    await this.#change(image, claim, async (visit) => {
      await visit.call('deleteBitmap', { bitmap });
      await visit.learn();
    });
  }

  /** Fault `range-not-satisfiable` for an offset behind the end. */
  async extents(image: string, bitmap: string, options: DirtyExtentsOptions): Promise<DirtyExtents> {
    const { offset, limit, claim } = options;
    return this.#access.use(image, { changes: false, claim }, async (visit) => {
      const sizeNow = (): number => visit.pulse.virtualSize;
      return pageOfSize(sizeNow, async (size) => {
        requireInside({ offset, length: 0 }, size);
        const length = Math.min(options.length ?? size, size - offset);
        return visit.call('dirtyExtents', { bitmap, offset, length, limit });
      });
    });
  }

  async #change<Result>(
    image: string,
    claim: LeaseClaim | undefined,
    work: (visit: Visit) => Promise<Result>,
  ): Promise<Result> {
    return this.#access.use(image, { changes: true, claim }, work);
  }
}
