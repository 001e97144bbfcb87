// What the tests of the pool ask their small engine to make.

import type { CheckReport, CreateSpec, ImageInspection } from '../../src/engine/image.ts';
import { plainSpec } from './plain-spec.ts';

/** How many bytes one step of a run works on, and a cluster has. */
export const stepLength = 64 * 1024;

/** What the tests of the pool make. */
export const specOf = (virtualSize: number): CreateSpec => ({ ...plainSpec, virtualSize, clusterSize: stepLength });

/** What a check of its images tells. */
export const cleanReport: CheckReport = {
  checkErrors: 0,
  corruptions: 0,
  leaks: 0,
  corruptionsFixed: 0,
  leaksFixed: 0,
  imageEndOffset: 0,
  totalClusters: 0,
  allocatedClusters: 0,
  fragmentedClusters: 0,
  compressedClusters: 0,
  clean: true,
  findings: [],
};

/** An image without tables has nothing to tell. */
export function inspection(): ImageInspection {
  const cache = { length: 0, lengthMax: 0, sliceLength: 0, hits: 0, misses: 0 };
  return {
    bitmaps: [],
    caches: { l2: cache, refcounts: undefined },
    limits: {
      optimalTransfer: stepLength,
      zeroAlignment: stepLength,
      discardAlignment: stepLength,
      virtualSizeMax: Number.MAX_SAFE_INTEGER,
      snapshotCountMax: 65_536,
      bitmapCountMax: 0,
    },
  };
}
