// Room for packed clusters: blobs lie at byte offsets and share host clusters, each of which counts them (REF-13).
//
//   host clusters  |  blob 1 | blob 2  |  blob 2 | blob 3 |  free  |
//   refcounts      |        2          |        2                  |
//                                                         └ the next blob begins here

import { alignUp } from '../../base/integers.ts';
import { Fault } from '../../base/fault.ts';
import type { Geometry } from '../format/geometry.ts';
import { compressedOffsetMax } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { ClusterRun, RefcountTables } from '../metadata/refcount-tables.ts';
import type { Allocator } from './allocator.ts';
import { clusterAt } from './refcount-growth.ts';

export interface BlobPlacesParts {
  readonly geometry: Geometry;
  readonly refcounts: RefcountTables;
  readonly allocator: Allocator;
}

/**
 * Room for `length` bytes, fewer than a cluster has: behind the last blob if they fit there, or with the cluster behind it
 * if that is free; else at the start of another cluster. Every cluster that they touch has one reference more. Faults of
 * the allocator, and `image-full` where no descriptor can point (CMP-08): nothing is changed then.
 */
export function placeBlob(parts: BlobPlacesParts, length: number): HostOffset {
  const { refcounts, allocator, geometry } = parts;
  const shared = sharedPlace(parts);
  let place: HostOffset | undefined;
  if (shared !== undefined && length <= alignUp(shared, geometry.clusterSize) - shared) {
    allocator.share({ first: clusterAt(shared, geometry), count: 1 });
    place = shared;
  } else {
    const run = allocator.allocateUpTo(1);
    const start = hostOffset(run.first * geometry.clusterSize);
    place = shared !== undefined && alignUp(shared, geometry.clusterSize) === start ? shared : start;
    if (place === shared) shareOrUndo(parts, { first: clusterAt(shared, geometry), count: 1 }, run);
  }
  if (place + length > compressedOffsetMax(geometry)) {
    allocator.undo(blobRun(place, length, geometry));
    throw new Fault('image-full', { required: place + length });
  }
  const end = hostOffset(place + length);
  refcounts.packedEnd = end % geometry.clusterSize === 0 ? undefined : end;
  return place;
}

/** Takes places back that nothing names yet; what they leave behind the last blob before them stays unused. */
export function unplaceBlob(parts: BlobPlacesParts, place: HostOffset, length: number): void {
  parts.refcounts.packedEnd = undefined;
  parts.allocator.undo(blobRun(place, length, parts.geometry));
}

/** The free rest of a cluster that blobs share, unless it is used as often as can be counted. */
function sharedPlace({ refcounts, geometry }: BlobPlacesParts): HostOffset | undefined {
  const { packedEnd } = refcounts;
  if (packedEnd === undefined) return undefined;
  return refcounts.get(clusterAt(packedEnd, geometry)) < geometry.refcountMax ? packedEnd : undefined;
}

function shareOrUndo({ allocator }: BlobPlacesParts, shared: ClusterRun, fresh: ClusterRun): void {
  try {
    allocator.share(shared);
  } catch (error) {
    allocator.undo(fresh);
    throw error;
  }
}

/** The clusters that a blob touches. */
function blobRun(place: HostOffset, length: number, geometry: Geometry): ClusterRun {
  const first = clusterAt(place, geometry);
  return { first, count: clusterAt(place + length - 1, geometry) - first + 1 };
}
