// The parts of one open image, as records: what reading needs, and what changing needs on top.

import type { Allocator } from './allocation/allocator.ts';
import type { GivingBack } from './allocation/giving-back.ts';
import type { OverlapCheck } from './allocation/overlap-check.ts';
import type { DataFile } from './file/data-file.ts';
import type { TrackedFile } from './file/tracked-file.ts';
import type { Geometry } from './format/geometry.ts';
import type { EncryptedData, GuestData } from './guest-data.ts';
import type { Layer } from './layer/layer.ts';
import type { DirtyBitmaps } from './metadata/dirty-bitmaps.ts';
import type { HeaderArea } from './metadata/header-area.ts';
import type { HostHoles } from './metadata/host-holes.ts';
import type { MappingTables } from './metadata/mapping-tables.ts';
import type { RefcountTables } from './metadata/refcount-tables.ts';
import type { SliceCache } from './metadata/slice-cache.ts';
import type { SnapshotList } from './metadata/snapshot-list.ts';
import type { WriteOrder } from './metadata/write-order.ts';
import type { UnpackedClusters } from './transform/unpacked-clusters.ts';

/** One mapping tree and what its bytes come from: the active tree of an image, or a snapshot's. */
export interface ReadParts {
  readonly file: TrackedFile;
  readonly geometry: Geometry;
  readonly version: 2 | 3;
  readonly mapping: MappingTables;
  /** The way to the bytes of data extents; everything else is read and written in `file`. */
  readonly data: GuestData;
  /** Where those bytes are, if not in `file` (DAT). */
  readonly dataFile: DataFile | undefined;
  /** What of those bytes was never written; undefined with encryption, where a hole is noise. */
  readonly holes: HostHoles | undefined;
  readonly unpacked: UnpackedClusters;
  /** The layer below; undefined without one. */
  readonly backing: Layer | undefined;
}

/** An open image. */
export interface ImageParts extends ReadParts {
  /** `data` once more, if it is encrypted: where the key goes. */
  readonly encryption: EncryptedData | undefined;
  readonly header: HeaderArea;
  readonly snapshots: SnapshotList;
  readonly bitmaps: DirtyBitmaps;
  readonly mappingCache: SliceCache;
}

/** An image that may be changed. */
export interface WriteParts extends ImageParts {
  readonly refcounts: RefcountTables;
  readonly refcountCache: SliceCache;
  readonly order: WriteOrder;
  readonly overlap: OverlapCheck;
  readonly allocator: Allocator;
  readonly givingBack: GivingBack;
}
