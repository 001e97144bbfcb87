// How much of its tables an open image keeps in memory: QEMU's rules for the two caches (OPT-01…OPT-04).

import { Fault } from '../../base/fault.ts';
import { alignDown, alignUp, divideUp, isPowerOfTwo } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import type { Geometry } from '../format/geometry.ts';
import { sliceLengthOf, slicesMin } from '../metadata/slice-cache.ts';

/** What may be said about them; lengths in bytes, each undefined for the usual one. */
export interface CacheWish {
  /** The most that L2 slices take. */
  readonly l2CacheBytes?: number | undefined;
  /** What of an L2 table is read and written at once. */
  readonly l2CacheEntryBytes?: number | undefined;
  /** The most that refcounts take. */
  readonly refcountCacheBytes?: number | undefined;
  /** The most that both take together; at most one of the two parts may be given beside it. */
  readonly cacheBytes?: number | undefined;
}

/** The length of a cache and of its slices, in bytes; whole slices, {@link slicesMin} at least. */
export interface CacheSize {
  readonly length: number;
  readonly sliceLength: number;
}

export interface CacheSizes {
  readonly l2: CacheSize;
  readonly refcounts: CacheSize;
}

/** A slice is at least so long, as in QEMU. */
const l2EntryBytesMin = 512;

/** QEMU's, on Linux. */
const l2LengthDefault = 32 * MiB;
/** Four times what QEMU keeps with the usual clusters: enough for a file of 32 GiB. */
const refcountLengthDefault = 1 * MiB;

/** What refcounts have before L2 tables have all that they can use (OPT-03, OPT-04). */
const refcountClustersUsual = 4;

/**
 * What a wish comes to for a disk of `virtualSize` bytes. The L2 cache takes no more than all L2 tables of the disk
 * (OPT-01). Of a total it gets everything that it can use, and refcounts the rest (OPT-04); unlike in QEMU the total holds
 * also when a part has to be as long as the shortest cache.
 */
export function cacheSizesOf(
  wish: CacheWish,
  { geometry, virtualSize }: { readonly geometry: Geometry; readonly virtualSize: number },
): CacheSizes {
  const { l2, refcounts } = shortest(wish, geometry);
  const usable = Math.max(l2.length, l2TablesLength(geometry, virtualSize));
  const share = sharesOf(wish, { l2Min: l2.length, refcountsMin: refcounts.length, usable, geometry });
  return {
    l2: fitted(l2, Math.min(share.l2, usable)),
    refcounts: fitted(refcounts, share.refcounts),
  };
}

/**
 * Fault `unsupported-option` {option, value, reason}; QEMU's rules, but for the shortest caches. It does not matter how
 * large the disk is, which may change.
 */
export function judgeCacheWish(wish: CacheWish, geometry: Geometry): void {
  const { l2CacheBytes, l2CacheEntryBytes, refcountCacheBytes, cacheBytes } = wish;
  const { clusterSize } = geometry;
  const refuse = (option: keyof CacheWish, reason: string): never => {
    throw new Fault('unsupported-option', { option, value: wish[option], reason });
  };
  const entry = l2CacheEntryBytes ?? sliceLengthOf(clusterSize);
  if (!isPowerOfTwo(entry) || entry < l2EntryBytesMin || entry > clusterSize) {
    refuse('l2CacheEntryBytes', `must be a power of two from ${l2EntryBytesMin} to the cluster size, ${clusterSize}`);
  }
  const { l2, refcounts } = shortest(wish, geometry);
  if (l2CacheBytes !== undefined && l2CacheBytes < l2.length) {
    refuse('l2CacheBytes', `the cache holds at least ${slicesMin} entries of ${l2.sliceLength} bytes`);
  }
  if (refcountCacheBytes !== undefined && refcountCacheBytes < refcounts.length) {
    refuse('refcountCacheBytes', `the cache holds at least ${slicesMin} entries of ${refcounts.sliceLength} bytes`);
  }
  if (cacheBytes === undefined) return;
  if (l2CacheBytes !== undefined && refcountCacheBytes !== undefined) {
    refuse('cacheBytes', 'the size of one cache may be given beside it, not those of both');
  }
  if (l2CacheBytes !== undefined && l2CacheBytes > cacheBytes) {
    refuse('l2CacheBytes', `it is a part of cacheBytes, ${cacheBytes}`);
  }
  if (refcountCacheBytes !== undefined && refcountCacheBytes > cacheBytes) {
    refuse('refcountCacheBytes', `it is a part of cacheBytes, ${cacheBytes}`);
  }
  const least = l2.length + refcounts.length;
  if (cacheBytes < least)
    refuse('cacheBytes', `the two caches hold at least ${least} bytes, ${slicesMin} entries each`);
}

/** The shortest caches that work. */
function shortest({ l2CacheEntryBytes }: CacheWish, { clusterSize }: Geometry): CacheSizes {
  const l2SliceLength = l2CacheEntryBytes ?? sliceLengthOf(clusterSize);
  const refcountSliceLength = sliceLengthOf(clusterSize);
  return {
    l2: { length: slicesMin * l2SliceLength, sliceLength: l2SliceLength },
    refcounts: { length: slicesMin * refcountSliceLength, sliceLength: refcountSliceLength },
  };
}

/** OPT-01: a table maps `clusterSize / l2EntrySize` clusters, and is a cluster. */
function l2TablesLength({ clusterSize, l2EntrySize }: Geometry, virtualSize: number): number {
  return alignUp(divideUp(virtualSize, clusterSize) * l2EntrySize, clusterSize);
}

function sharesOf(
  { l2CacheBytes, refcountCacheBytes, cacheBytes }: CacheWish,
  bounds: {
    readonly l2Min: number;
    readonly refcountsMin: number;
    /** The most that L2 slices can use. */
    readonly usable: number;
    readonly geometry: Geometry;
  },
): { readonly l2: number; readonly refcounts: number } {
  const { l2Min, refcountsMin, usable, geometry } = bounds;
  if (cacheBytes === undefined) {
    return { l2: l2CacheBytes ?? l2LengthDefault, refcounts: refcountCacheBytes ?? refcountLengthDefault };
  }
  if (refcountCacheBytes !== undefined) {
    const refcounts = Math.min(refcountCacheBytes, cacheBytes - l2Min);
    return { l2: cacheBytes - refcounts, refcounts };
  }
  const refcountsUsual = Math.max(refcountsMin, refcountClustersUsual * geometry.clusterSize);
  const l2 =
    l2CacheBytes === undefined
      ? Math.max(l2Min, Math.min(usable, cacheBytes - refcountsUsual))
      : Math.min(l2CacheBytes, usable, cacheBytes - refcountsMin);
  return { l2, refcounts: cacheBytes - l2 };
}

function fitted(least: CacheSize, length: number): CacheSize {
  const { sliceLength } = least;
  return { length: Math.max(least.length, alignDown(length, sliceLength)), sliceLength };
}
