// Answers what the guest finds at an offset. Reads tables, never changes them.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import type { Geometry } from '../format/geometry.ts';
import { entryOffset, isOwned } from '../format/l1-entry.ts';
import type { ClusterKind } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import type { MappingTables } from '../metadata/mapping-tables.ts';
import type { Slice } from '../metadata/slice-cache.ts';
import type { Extent } from './extent.ts';
import { blobOf, judgeEntry, kindOf, placeOf, readEntry } from './l2-entries.ts';
import type { L2Entry } from './l2-entries.ts';

export interface LookupParts {
  readonly geometry: Geometry;
  readonly version: 2 | 3;
  readonly mapping: MappingTables;
}

/** Where a guest offset is found in a table. */
interface Position {
  readonly slice: Slice;
  /** Of the entry, within the slice. */
  readonly index: number;
  readonly subcluster: number;
}

/**
 * The extent at `at`, at most `lengthMax` bytes and at least one; never beyond its L2 slice. Runs of one kind are
 * merged, data also by host offset. Faults `l1-entry-invalid`, `l2-entry-invalid`, `host-offset-invalid`.
 */
export function lookup(parts: LookupParts, at: GuestOffset, limits: { readonly lengthMax: number }): Extent {
  const { geometry, mapping } = parts;
  assert(limits.lengthMax > 0, 'something is looked up');
  const l1Index = Math.floor(at / geometry.l2Span);
  const table = mapping.l2Table(l1Index);
  if (table === undefined) {
    const untilNextTable = geometry.l2Span - (at % geometry.l2Span);
    return { kind: 'absent', length: Math.min(untilNextTable, limits.lengthMax), host: undefined };
  }
  const l2Index = Math.floor((at % geometry.l2Span) / geometry.clusterSize);
  const slice = mapping.slice(table, l2Index);
  const position = {
    slice,
    index: l2Index % mapping.entriesPerSlice,
    subcluster: Math.floor((at % geometry.clusterSize) / geometry.subclusterSize),
  };
  return extentAt(parts, position, { at, lengthMax: limits.lengthMax });
}

function extentAt(
  parts: LookupParts,
  position: Position,
  span: { readonly at: GuestOffset; readonly lengthMax: number },
): Extent {
  const { geometry } = parts;
  const inCluster = span.at % geometry.clusterSize;
  const entry = readEntry(position.slice.view, geometry, position.index);
  judgeEntry(entry, geometry, parts.version);
  const kind = kindOf(entry, geometry, position.subcluster);
  if (kind === 'compressed') {
    const blob = blobOf(entry, geometry);
    const length = Math.min(geometry.clusterSize - inCluster, span.lengthMax);
    return { kind: 'compressed', length, host: hostOffset(blob.offset), packedLength: blob.length };
  }
  const place = placeOf(entry, geometry);
  if (geometry.externalData && place !== undefined && place !== span.at - inCluster) {
    throw new Fault('l2-entry-invalid', { hostOffset: place, guestOffset: span.at, reason: 'not at its guest offset' });
  }
  const inSubcluster = inCluster % geometry.subclusterSize;
  const run = runLength(parts, position, { entry, kind, place, enough: inSubcluster + span.lengthMax });
  const length = Math.min(run - inSubcluster, span.lengthMax);
  assert(length > 0, 'an extent has a length');
  return extentOf({ kind, length, owned: isOwned(entry.high), host: hostAt(place, inCluster) });
}

function extentOf(found: {
  readonly kind: ClusterKind;
  readonly length: number;
  readonly owned: boolean;
  readonly host: HostOffset | undefined;
}): Extent {
  const { kind, length, owned, host } = found;
  switch (kind) {
    case 'data':
      assert(host !== undefined, 'data has a place');
      return { kind: 'data', length, host, owned };
    case 'zero':
    case 'zero-placed':
      return { kind: 'zero', length, host };
    default:
      assert(kind === 'unallocated' || kind === 'unallocated-placed', 'an entry was judged before');
      return { kind: 'absent', length, host };
  }
}

/**
 * Bytes from the start of the subcluster at `position` on that are like it: the same kind, the same ownership, and, where
 * there is a place, one host cluster after the other.
 */
function runLength(
  parts: LookupParts,
  position: Position,
  first: {
    readonly entry: L2Entry;
    readonly kind: ClusterKind;
    readonly place: HostOffset | undefined;
    /** Nobody asks for more bytes than these. */
    readonly enough: number;
  },
): number {
  const { geometry } = parts;
  let length = 0;
  let { index, subcluster } = position;
  let entry = first.entry;
  let expected = first.place;
  for (;;) {
    while (subcluster < geometry.subclustersPerCluster && kindOf(entry, geometry, subcluster) === first.kind) {
      length += geometry.subclusterSize;
      subcluster += 1;
    }
    if (subcluster < geometry.subclustersPerCluster || length >= first.enough) return length;
    index += 1;
    if (index >= parts.mapping.entriesPerSlice) return length;
    subcluster = 0;
    entry = readEntry(position.slice.view, geometry, index);
    if (isOwned(entry.high) !== isOwned(first.entry.high) || kindOf(entry, geometry, 0) !== first.kind) return length;
    if (expected === undefined) continue;
    expected = hostOffset(expected + geometry.clusterSize);
    if (!sitsAt(entry, expected, geometry)) return length;
  }
}

/** Whether an entry names `host`; a broken entry ends the run and faults when it is looked up itself. */
function sitsAt(entry: L2Entry, host: HostOffset, geometry: Geometry): boolean {
  return entryOffset(entry.high, entry.low) === host && host % geometry.clusterSize === 0;
}

function hostAt(place: HostOffset | undefined, inCluster: number): HostOffset | undefined {
  return place === undefined ? undefined : hostOffset(place + inCluster);
}
