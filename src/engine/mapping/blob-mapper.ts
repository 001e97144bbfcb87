// Puts packed clusters into the file and points L2 entries there (CMP-01, CMP-06, CMP-07).

import { assert } from '../../base/assert.ts';
import { alignUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { placeBlob, unplaceBlob } from '../allocation/blob-places.ts';
import { clusterAt } from '../allocation/refcount-growth.ts';
import { encodeCompressed } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { blobOf, readEntry, writeEntry } from './l2-entries.ts';
import type { L2Entry } from './l2-entries.ts';
import { judgeOld, sliceAt } from './mapper.ts';
import type { Place } from './mapper.ts';
import { dropReferences } from './references.ts';
import { ensureOwnTable } from './table-ownership.ts';

/** Blobs of neighbouring guest clusters, one behind the other. */
interface Blobs {
  readonly bytes: Uint8Array;
  /** Of each, in bytes; fewer than a cluster has. */
  readonly lengths: readonly number[];
}

/**
 * Stores blobs for the guest clusters from `at` on, whatever was there before. The blobs are in the file before the
 * entries that name them are in the cache, which QEMU does not promise (ORD-16, T59). Faults of allocator and file: some
 * clusters from the start may have their blobs then.
 */
export function writeBlobs(parts: WriteParts, at: GuestOffset, blobs: Blobs): void {
  const { geometry, mapping } = parts;
  const { l2Span, clusterSize } = geometry;
  let done = 0;
  let from = 0;
  while (done < blobs.lengths.length) {
    const guest = at + done * clusterSize;
    const table = ensureOwnTable(parts, Math.floor(guest / l2Span));
    const l2Index = Math.floor((guest % l2Span) / clusterSize);
    const countMax = mapping.entriesPerSlice - (l2Index % mapping.entriesPerSlice);
    const lengths = blobs.lengths.slice(done, done + countMax);
    const end = lengths.reduce((sum, length) => sum + length, from);
    writeInSlice(parts, { table, l2Index }, { bytes: blobs.bytes.subarray(from, end), lengths });
    done += lengths.length;
    from = end;
  }
}

/**
 * Stores a blob once more, before cluster `end`, and points its entry there; false where there is no room for it, or when
 * it does not unpack: it stays as it is then.
 */
export function moveBlob(
  parts: WriteParts,
  blob: { readonly place: Place; readonly entry: L2Entry; readonly end: number },
): boolean {
  const { geometry, file } = parts;
  const { offset, length } = blobOf(blob.entry, geometry);
  // Where it ends is not known to the byte (CMP-02); it has fewer bytes than a cluster (CMP-03).
  const bytes = new Uint8Array(Math.min(length, geometry.clusterSize - 1));
  file.readAt(hostOffset(offset), bytes);
  if (!parts.unpacked.unpacks(bytes)) return false;
  const host = placeBlob(parts, bytes.length);
  if (clusterAt(host + bytes.length - 1, geometry) >= blob.end) {
    unplaceBlob(parts, host, bytes.length);
    return false;
  }
  try {
    writeBytes(parts, [host], { bytes, lengths: [bytes.length] });
  } catch (error) {
    unplaceBlob(parts, host, bytes.length);
    throw error;
  }
  parts.order.dataWritten();
  link(parts, blob.place, { hosts: [host], lengths: [bytes.length] });
  return true;
}

function writeInSlice(parts: WriteParts, place: Place, blobs: Blobs): void {
  judgeAllOld(parts, place, blobs.lengths.length);
  const hosts: HostOffset[] = [];
  try {
    for (const length of blobs.lengths) hosts.push(placeBlob(parts, length));
    writeBytes(parts, hosts, blobs);
  } catch (error) {
    for (const [index, host] of hosts.entries()) unplaceBlob(parts, host, blobs.lengths[index] ?? 0);
    throw error;
  }
  parts.order.dataWritten();
  link(parts, place, { hosts, lengths: blobs.lengths });
}

/** Neighbours in the file are written at once. The file ends with a whole sector: readers take no less (CMP-02, CMP-06). */
function writeBytes({ file, overlap }: WriteParts, hosts: readonly HostOffset[], blobs: Blobs): void {
  let from = 0;
  let index = 0;
  while (index < hosts.length) {
    const start = hosts[index];
    assert(start !== undefined, 'every blob has its place');
    let length = 0;
    for (; hosts[index] === start + length; index += 1) length += blobs.lengths[index] ?? 0;
    overlap.admitData(start, length);
    file.writeAt(start, blobs.bytes.subarray(from, from + length));
    from += length;
  }
  if (file.size % sectorSize !== 0) file.resize(alignUp(file.size, sectorSize));
}

/** Points the entries from `place` on to the blobs, and drops what they referred to. */
function link(
  parts: WriteParts,
  place: Place,
  blobs: { readonly hosts: readonly HostOffset[]; readonly lengths: readonly number[] },
): void {
  const { geometry, mapping, unpacked } = parts;
  const { slice, index } = sliceAt(parts, place);
  for (const [step, host] of blobs.hosts.entries()) {
    const before = readEntry(slice.view, geometry, index + step);
    const words = encodeCompressed({ offset: host, length: blobs.lengths[step] ?? 0 }, geometry);
    // Never owned (T38), and without subclusters (SUB-05).
    writeEntry(slice.view, geometry, index + step, { ...words, zeroes: 0, allocated: 0 });
    unpacked.forget(host);
    dropReferences(parts, before, { punch: true });
  }
  mapping.markDirty(slice);
}

function judgeAllOld(parts: WriteParts, place: Place, count: number): void {
  const { slice, index } = sliceAt(parts, place);
  for (let step = 0; step < count; step += 1) judgeOld(parts, readEntry(slice.view, parts.geometry, index + step));
}
