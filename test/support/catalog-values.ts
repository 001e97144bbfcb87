// Values for tests that need an image in a catalog.

import type { ImageFacts, ImageReservation, ImageUpdate } from '../../src/catalog/catalog.ts';

/** The facts of an empty image of 1 MiB. */
export const someFacts: ImageFacts = {
  virtualSize: 1_048_576,
  fileSize: 196_616,
  allocatedSize: 200_704,
  clusterSize: 65_536,
  compat: '1.1',
  refcountBits: 16,
  compressionType: 'zlib',
  extendedL2: false,
  lazyRefcounts: false,
  encrypted: false,
  dirty: false,
  corrupt: false,
  snapshotCount: 0,
  bitmapCount: 0,
};

/** The id number `index`, in the order of ids. */
export function someId(index: number): string {
  return `img_01991234-5678-7000-8000-${index.toString(16).padStart(12, '0')}`;
}

export function someReservation(
  index: number,
  change: Partial<ImageReservation> & { readonly name: string },
): ImageReservation {
  return {
    id: someId(index),
    description: '',
    labels: {},
    state: 'creating',
    backingId: undefined,
    facts: undefined,
    nowMs: 1_000,
    ...change,
  };
}

export function someUpdate(change: Partial<ImageUpdate>): ImageUpdate {
  return {
    facts: someFacts,
    generation: 1,
    settled: true,
    snapshotIdMax: 0,
    identity: undefined,
    nowMs: 2_000,
    ...change,
  };
}
