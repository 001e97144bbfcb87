// What an L2 entry refers to, given back when the entry is replaced (MAP-03, CMP-07, T34, T35).

import { clusterAt } from '../allocation/refcount-growth.ts';
import { isCompressed } from '../format/l2-entry.ts';
import { hostCluster } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { blobOf, judgeEntry, placeOf } from './l2-entries.ts';
import type { L2Entry } from './l2-entries.ts';

/**
 * The host clusters of the image file that an entry refers to: its own, or every one that its blob touches; undefined for
 * none. Clusters of a data file are nobody else's and not counted (REF-04). Faults of a broken place.
 */
export function referencesOf(entry: L2Entry, parts: Pick<WriteParts, 'geometry'>): ClusterRun | undefined {
  const { geometry } = parts;
  if (geometry.externalData) {
    judgeEntry(entry, geometry, 3);
    placeOf(entry, geometry);
    return undefined;
  }
  if (isCompressed(entry.high)) {
    const blob = blobOf(entry, geometry);
    const first = clusterAt(blob.offset, geometry);
    const last = clusterAt(blob.offset + blob.length - 1, geometry);
    return { first, count: last - first + 1 };
  }
  const place = placeOf(entry, geometry);
  return place === undefined ? undefined : { first: hostCluster(place / geometry.clusterSize), count: 1 };
}

/** The entry was replaced in its table: its references go with the next flush. */
export function dropReferences(parts: WriteParts, entry: L2Entry, options: { readonly punch: boolean }): void {
  const run = referencesOf(entry, parts);
  if (run === undefined) return;
  if (isCompressed(entry.high)) parts.unpacked.forgetAll();
  parts.order.drop(run, options);
}
