// What of an open image is a matter of running it, and not of its file (OPT-01, OPT-02, OPT-03, OPT-05, OPT-06, OPT-11).

import { Fault } from '../../base/fault.ts';
import { isPowerOfTwo } from '../../base/integers.ts';
import type { OverlapTemplate } from '../allocation/overlap-check.ts';
import type { Geometry } from '../format/geometry.ts';
import { sliceLengthOf, slicesMin } from '../metadata/slice-cache.ts';

/** Each undefined for what the engine does by itself. Lengths in bytes. */
export interface RuntimeOptions {
  /** The most that L2 slices take. */
  readonly l2CacheBytes?: number | undefined;
  /** What of an L2 table is read and written at once. */
  readonly l2CacheEntryBytes?: number | undefined;
  /** The most that refcounts take. */
  readonly refcountCacheBytes?: number | undefined;
  /** In seconds: how long clean table entries that nobody asks for are kept at least (OPT-05); 0 for as long as there is room. */
  readonly cacheCleanSeconds?: number | undefined;
  /** Whether refcounts may lag behind under the dirty bit, whatever the header says. */
  readonly lazyRefcounts?: boolean | undefined;
  /** Whether the space of discarded clusters goes back to the file system. */
  readonly passDiscard?: boolean | undefined;
  /** Whether discarded clusters keep their place (OPT-10). */
  readonly discardNoUnref?: boolean | undefined;
  /** What changes are kept from (OPT-11). */
  readonly overlapCheck?: OverlapTemplate | undefined;
}

/** The options, or none of them for an image that they do not fit: its file is another one than they were made for. */
export function fittingRuntime(
  options: RuntimeOptions | undefined,
  image: { readonly geometry: Geometry; readonly version: 2 | 3 },
): RuntimeOptions | undefined {
  if (options === undefined) return undefined;
  try {
    judgeRuntime(options, image);
    return options;
  } catch (error) {
    if (error instanceof Fault && error.code === 'unsupported-option') return undefined;
    throw error;
  }
}

/** A slice is at least so long, as in QEMU. */
const l2EntryBytesMin = 512;

/** Fault `unsupported-option` {option, value, reason}; QEMU's rules, but for the fewest entries. */
export function judgeRuntime(
  options: RuntimeOptions,
  image: { readonly geometry: Geometry; readonly version: 2 | 3 },
): void {
  const { clusterSize } = image.geometry;
  const { l2CacheBytes, refcountCacheBytes, lazyRefcounts } = options;
  const entry = options.l2CacheEntryBytes ?? sliceLengthOf(clusterSize);
  const refuse = (option: keyof RuntimeOptions, reason: string): never => {
    throw new Fault('unsupported-option', { option, value: options[option], reason });
  };
  if (!isPowerOfTwo(entry) || entry < l2EntryBytesMin || entry > clusterSize) {
    refuse('l2CacheEntryBytes', `must be a power of two from ${l2EntryBytesMin} to the cluster size, ${clusterSize}`);
  }
  if (l2CacheBytes !== undefined && l2CacheBytes < slicesMin * entry) {
    refuse('l2CacheBytes', `the cache holds at least ${slicesMin} entries of ${entry} bytes`);
  }
  const refcountEntry = sliceLengthOf(clusterSize);
  if (refcountCacheBytes !== undefined && refcountCacheBytes < slicesMin * refcountEntry) {
    refuse('refcountCacheBytes', `the cache holds at least ${slicesMin} entries of ${refcountEntry} bytes`);
  }
  if (lazyRefcounts === true && image.version === 2) {
    refuse('lazyRefcounts', 'a version 2 image has no dirty bit');
  }
  if (options.discardNoUnref === true && image.version === 2) {
    refuse('discardNoUnref', 'a version 2 image has no zero clusters');
  }
}
