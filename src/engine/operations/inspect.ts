// What an open image tells beyond its description: bitmaps as they lie in the file, caches, and limits (OPS-33, OPS-36).

import { bitmapCountMax } from '../format/header-extensions.ts';
import { l1EntriesMax, snapshotCountMax } from '../format/header.ts';
import { virtualSizeMax } from '../format/offsets.ts';
import type { ImageParts, WriteParts } from '../image-parts.ts';
import type { CacheFigures } from '../metadata/slice-cache.ts';

export type { CacheFigures } from '../metadata/slice-cache.ts';

/** A bitmap by its entry in the directory; its bits are not looked at. */
export interface BitmapEntry {
  readonly name: string;
  /** In bytes. */
  readonly granularity: number;
  /** Whether it records changes (the flag `auto`). */
  readonly enabled: boolean;
  /** Somebody left it in use, or it breaks rules. */
  readonly inconsistent: boolean;
}

/** See {@link inspect}. Sizes in bytes. */
export interface ImageInspection {
  /** The first {@link bitmapEntriesMax}. */
  readonly bitmaps: readonly BitmapEntry[];
  readonly caches: {
    readonly l2: CacheFigures;
    /** Refcounts are kept only by an image that may be changed. */
    readonly refcounts: CacheFigures | undefined;
  };
  readonly limits: {
    /** What is read and written best: a cluster. */
    readonly optimalTransfer: number;
    /** The smallest span that zeroing acts on without writing bytes. */
    readonly zeroAlignment: number;
    readonly discardAlignment: number;
    /** The largest disk with these clusters (LIM-05). */
    readonly virtualSizeMax: number;
    readonly snapshotCountMax: number;
    /** 0 for version 2, which has none. */
    readonly bitmapCountMax: number;
  };
}

/** A file can hold 65,535 bitmaps; a list of them has all, page by page. */
const bitmapEntriesMax = 1000;

/** Faults of the directory of bitmaps. */
export function inspect(parts: ImageParts | WriteParts): ImageInspection {
  const { geometry, bitmaps, version } = parts;
  return {
    bitmaps: bitmaps.list.slice(0, bitmapEntriesMax).map(({ name, granularity, enabled, inconsistent }) => ({
      name,
      granularity,
      enabled,
      inconsistent,
    })),
    caches: {
      l2: parts.mappingCache.figures,
      refcounts: 'refcountCache' in parts ? parts.refcountCache.figures : undefined,
    },
    limits: {
      optimalTransfer: geometry.clusterSize,
      zeroAlignment: geometry.subclusterSize,
      discardAlignment: geometry.clusterSize,
      virtualSizeMax: Math.min(virtualSizeMax, l1EntriesMax * geometry.l2Span),
      snapshotCountMax,
      bitmapCountMax: version === 2 ? 0 : bitmapCountMax,
    },
  };
}
