// One L2 entry in a cached slice, read and judged, and written as a whole (MAP-02, MAP-03, SUB-01…SUB-05, T27).

import { Fault } from '../../base/fault.ts';
import type { Geometry } from '../format/geometry.ts';
import { entryHigh, entryLow, entryOffset, isOwned } from '../format/l1-entry.ts';
import {
  compressedOffsetMax,
  decodeCompressed,
  hasPlace,
  isCompressed,
  isExtendedEntryValid,
  standardKind,
  subclusterKind,
  zeroBit,
} from '../format/l2-entry.ts';
import type { ClusterKind, CompressedDescriptor } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { hostOffsetMax } from '../metadata/host-limits.ts';

/** An entry as four words; the bitmap words are 0 for standard entries. */
export interface L2Entry {
  readonly high: number;
  readonly low: number;
  /** Bits 32–63 of the second word: subcluster reads as zero. */
  readonly zeroes: number;
  /** Bits 0–31 of the second word: subcluster allocated. */
  readonly allocated: number;
}

/** Bitmap words with all 32 bits set. */
export const allSubclusters = 0xffff_ffff;

export const emptyEntry: L2Entry = { high: 0, low: 0, zeroes: 0, allocated: 0 };

/** Reads entry `index` of a slice; `index` counts within the slice. */
export function readEntry(view: DataView, geometry: Geometry, index: number): L2Entry {
  const at = index * geometry.l2EntrySize;
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  if (!geometry.extendedL2) return { high, low, zeroes: 0, allocated: 0 };
  return { high, low, zeroes: view.getUint32(at + 8), allocated: view.getUint32(at + 12) };
}

/** Writes entry `index` of a slice, all words at once. */
export function writeEntry(view: DataView, geometry: Geometry, index: number, entry: L2Entry): void {
  const at = index * geometry.l2EntrySize;
  view.setUint32(at, entry.high);
  view.setUint32(at + 4, entry.low);
  if (!geometry.extendedL2) return;
  view.setUint32(at + 8, entry.zeroes);
  view.setUint32(at + 12, entry.allocated);
}

export function sameEntry(one: L2Entry, other: L2Entry): boolean {
  return (
    one.high === other.high && one.low === other.low && one.zeroes === other.zeroes && one.allocated === other.allocated
  );
}

/** The kind of a whole standard entry, or of subcluster `subcluster` of an extended one. */
export function kindOf(entry: L2Entry, geometry: Geometry, subcluster: number): ClusterKind {
  if (!geometry.extendedL2) return standardKind(entry.high, entry.low, geometry);
  const { zeroes, allocated } = entry;
  return subclusterKind(entry.high, entry.low, { zeroes, allocated, index: subcluster }, geometry);
}

/** Whether the entry's host cluster may be written in place: there is one, and it is used exactly once. */
export function isOwnedPlace(entry: L2Entry, geometry: Geometry): boolean {
  return !isCompressed(entry.high) && isOwned(entry.high) && hasPlace(entry.high, entry.low, geometry);
}

/**
 * The host cluster of an uncompressed entry; undefined without one. Faults `l2-entry-invalid` when it is not aligned
 * and `host-offset-invalid` when it lies beyond what a file can be.
 */
export function placeOf(entry: L2Entry, geometry: Geometry): HostOffset | undefined {
  if (!hasPlace(entry.high, entry.low, geometry)) return undefined;
  const offset = entryOffset(entry.high, entry.low);
  if (offset >= hostOffsetMax) throw new Fault('host-offset-invalid', { hostOffset: offset });
  if (offset % geometry.clusterSize !== 0) {
    throw new Fault('l2-entry-invalid', { hostOffset: offset, reason: 'not aligned to a cluster' });
  }
  return hostOffset(offset);
}

/** The blob of a compressed entry; at offset 0 too, where the header does not unpack. Fault `host-offset-invalid`. */
export function blobOf(entry: L2Entry, geometry: Geometry): CompressedDescriptor {
  const blob = decodeCompressed(entry.high, entry.low, geometry);
  if (blob.offset >= compressedOffsetMax(geometry)) {
    throw new Fault('host-offset-invalid', { hostOffset: blob.offset });
  }
  return blob;
}

/**
 * Faults `l2-entry-invalid` for what no entry may be: see SUB-04, MAP-05 for the zero flag in version 2, and DAT-01 for
 * compressed clusters.
 */
export function judgeEntry(entry: L2Entry, geometry: Geometry, version: 2 | 3): void {
  if (geometry.externalData && isCompressed(entry.high)) {
    throw new Fault('l2-entry-invalid', { reason: 'a compressed cluster although the data lies in another file' });
  }
  if (geometry.extendedL2) {
    if (!isExtendedEntryValid(entry.high, entry.low, entry, geometry)) {
      throw new Fault('l2-entry-invalid', { reason: 'a subcluster is allocated and zero, or has no place' });
    }
    return;
  }
  if (version === 2 && !isCompressed(entry.high) && (entry.low & zeroBit) !== 0) {
    throw new Fault('l2-entry-invalid', { reason: 'a zero cluster in a version 2 image' });
  }
}

/** A standard entry, or the first word of an extended one, that owns its host cluster. */
export function ownedEntry(host: number, bits: { readonly zeroes: number; readonly allocated: number }): L2Entry {
  return { high: entryHigh(host, true), low: entryLow(host), ...bits };
}
