// Where metadata lies that a repair of a mapping table must not write over.

import { overlaps } from '../../base/byte-span.ts';
import type { ByteSpan } from '../../base/byte-span.ts';

/** Whose place it is; L2 tables are not kept here. */
export type MetadataOwner = 'header' | 'active-l1' | 'snapshots' | 'refcounts' | 'bitmaps' | 'encryption';

/** A damaged entry can name any place as an L2 table: a repair asks here before it writes to one. */
export class MetadataPlaces {
  readonly #clusterSize: number;
  readonly #places: { readonly owner: MetadataOwner; readonly span: ByteSpan }[] = [];
  readonly #refcountBlocks = new Set<number>();

  constructor(options: { readonly clusterSize: number }) {
    this.#clusterSize = options.clusterSize;
  }

  add(owner: MetadataOwner, span: ByteSpan): void {
    if (span.length > 0) this.#places.push({ owner, span });
  }

  /** Refcount blocks can be many and are one cluster each. */
  addRefcountBlock(offset: number): void {
    this.#refcountBlocks.add(Math.floor(offset / this.#clusterSize));
  }

  /** Whether the span holds metadata of anybody but `self`. */
  isOwnedByOther(span: ByteSpan, self: MetadataOwner | undefined): boolean {
    const first = Math.floor(span.offset / this.#clusterSize);
    const last = Math.floor((span.offset + span.length - 1) / this.#clusterSize);
    for (let cluster = first; cluster <= last; cluster += 1) if (this.#refcountBlocks.has(cluster)) return true;
    return this.#places.some((place) => place.owner !== self && overlaps(place.span, span));
  }
}
