// Geometry: from the cluster size and the two widths, every number that the rest of the engine divides by.

import { assert } from '../../base/assert.ts';
import { countMax, divideUp } from '../../base/integers.ts';

/** Cluster sizes that the format allows: 512 bytes to 2 MiB (FMT-05). */
export const clusterBitsMin = 9;
export const clusterBitsMax = 21;

/** Extended L2 entries need subclusters of at least a sector, so clusters of at least 16 KiB (FMT-05). */
export const extendedClusterBitsMin = 14;

/** Subclusters of one cluster with extended L2 entries (SUB-02). */
export const subclusterCount = 32;

/** Refcount widths are 2^order bits, order 0…6 (REF-03). */
export const refcountOrderMax = 6;

/** The derived numbers of one image; lengths in bytes. */
export interface Geometry {
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly extendedL2: boolean;
  /** Data clusters lie in another file, each at its guest offset, and have no refcounts (DAT-01). */
  readonly externalData: boolean;
  /** Bytes of one L2 entry: 8, or 16 with extended L2 entries. */
  readonly l2EntrySize: number;
  /** Entries of one L2 table. */
  readonly l2Entries: number;
  /** Guest bytes that one L2 table maps. */
  readonly l2Span: number;
  /** 1, or 32 with extended L2 entries. */
  readonly subclustersPerCluster: number;
  readonly subclusterSize: number;
  readonly refcountOrder: number;
  readonly refcountBits: number;
  /** Refcounts of one refcount block. */
  readonly refcountsPerBlock: number;
  /** The largest refcount that fits; 64-bit counts stop at 2^53 - 1. */
  readonly refcountMax: number;
}

/** What decides a geometry. */
export interface GeometryChoice {
  readonly clusterBits: number;
  readonly extendedL2: boolean;
  readonly refcountOrder: number;
  /** Left out: data clusters lie in the image file. */
  readonly externalData?: boolean;
}

/** Derives the numbers; the choice was validated before. */
export function geometryOf(choice: GeometryChoice): Geometry {
  const { clusterBits, extendedL2, refcountOrder, externalData = false } = choice;
  assert(clusterBits >= clusterBitsMin && clusterBits <= clusterBitsMax, 'cluster bits are in bounds');
  assert(refcountOrder >= 0 && refcountOrder <= refcountOrderMax, 'the refcount order is in bounds');
  assert(!extendedL2 || clusterBits >= extendedClusterBitsMin, 'extended L2 entries have large clusters');
  const clusterSize = 2 ** clusterBits;
  const l2EntrySize = extendedL2 ? 16 : 8;
  const l2Entries = clusterSize / l2EntrySize;
  const subclustersPerCluster = extendedL2 ? subclusterCount : 1;
  const refcountBits = 2 ** refcountOrder;
  return {
    clusterBits,
    clusterSize,
    extendedL2,
    externalData,
    l2EntrySize,
    l2Entries,
    l2Span: clusterSize * l2Entries,
    subclustersPerCluster,
    subclusterSize: clusterSize / subclustersPerCluster,
    refcountOrder,
    refcountBits,
    refcountsPerBlock: (clusterSize * 8) / refcountBits,
    refcountMax: refcountBits >= 53 ? countMax : 2 ** refcountBits - 1,
  };
}

/** L1 entries that a disk of `virtualSize` bytes needs (FMT-07). */
export function l1EntriesFor(geometry: Geometry, virtualSize: number): number {
  return divideUp(virtualSize, geometry.l2Span);
}
