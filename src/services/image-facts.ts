// From what an open image tells to what the catalog keeps of it, and from records to what everybody may know.

import { present } from '../base/assert.ts';
import type { Image as KnownImage, ImageFacts, ImageRecord } from '../catalog/catalog.ts';
import type { ImageDescription } from '../pool/protocol.ts';
import type { LeaseView } from './lease-book.ts';

/** What everybody may know of an image, with whoever has a claim on it. */
export interface Image extends KnownImage {
  /** Of several the one that ends last. */
  readonly lease: LeaseView | undefined;
}

/** What lists show of an image with this description. */
export function factsOf(description: ImageDescription): ImageFacts {
  return {
    virtualSize: description.virtualSize,
    fileSize: description.fileSize,
    allocatedSize: description.allocatedSize,
    clusterSize: description.clusterSize,
    compat: description.compat,
    refcountBits: description.refcountBits,
    compressionType: description.compressionType,
    extendedL2: description.extendedL2,
    lazyRefcounts: description.lazyRefcounts,
    encrypted: description.encryption !== undefined,
    dirty: description.dirty,
    corrupt: description.corrupt,
    snapshotCount: description.snapshotCount,
    bitmapCount: description.bitmapCount,
  };
}

/** A record as everybody may know it, with what its open file says now. */
export function toImage(
  record: ImageRecord,
  now: {
    readonly generation: number;
    readonly facts: ImageFacts | undefined;
    readonly lease: LeaseView | undefined;
  },
): Image {
  return {
    id: record.id,
    name: record.name,
    description: record.description,
    labels: record.labels,
    protected: record.protected,
    state: record.state,
    stateReason: record.stateReason,
    facts: now.facts,
    backing: record.backing,
    dependentCount: record.dependentCount,
    lease: now.lease,
    generation: now.generation,
    version: record.version,
    createdAtMs: record.createdAtMs,
    updatedAtMs: record.updatedAtMs,
  };
}

/** Whoever got into an image has its facts: only ready images let anybody in. */
export function requireFacts(record: ImageRecord): ImageFacts {
  return present(record.facts, 'an image that is ready has facts');
}

export function clusterSizeOf(record: ImageRecord): number {
  return requireFacts(record).clusterSize;
}
