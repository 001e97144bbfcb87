// Another size of the disk: grown so that nothing old shows up in the new part, shrunk so that a cut is never half seen.
//
//   grow     longer L1 ─ header ─ new part made zero where a layer below would show, or preallocated ─ flush ─ header: size
//   shrink   header: size ─ flush ─ what lies behind the new end is dropped ─ files cut
//
// Each header write is one sector: before it the old size holds with all its bytes, after it the new one (ORD-15).

import { Fault } from '../../base/fault.ts';
import { alignUp, divideUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { read } from '../data/reader.ts';
import { write } from '../data/writer.ts';
import { discardFully, zeroWhole } from '../data/zeroing.ts';
import { bitmapBitsFor } from '../format/bitmap-table.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { l1EntriesMax } from '../format/header.ts';
import { guestOffset, hostCluster, virtualSizeMax } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { lookup } from '../mapping/lookup.ts';
import { DirtyBitmap } from '../metadata/dirty-bitmap.ts';
import { storeBitmaps } from './bitmap-store.ts';
import type { CreateSpec } from './create-spec.ts';
import { switchL1 } from './l1-switch.ts';
import { runOf } from './open.ts';
import { preallocate } from './preallocate.ts';
import { partOf, toTheEnd } from './steps.ts';
import type { Progress, Steps } from './steps.ts';
import { dropTree, treeOver } from './tree.ts';

export interface NewSize {
  /** In bytes; rounded up to a sector. */
  readonly virtualSize: number;
  readonly allowShrink: boolean;
  readonly preallocation: CreateSpec['preallocation'];
}

/**
 * Faults `shrink-not-allowed`, `snapshots-prevent-resize` (version 2, OPS-20), `bitmap-inconsistent` (BMP-09),
 * `invalid-geometry`, `unsupported-option`, `image-full`. A fault or a cancel leaves the old size.
 */
export function* resize(parts: WriteParts, wish: NewSize): Steps<void> {
  const virtualSize = alignUp(wish.virtualSize, sectorSize);
  const { header } = parts;
  judge(parts, wish, virtualSize);
  if (virtualSize === header.virtualSize) return;
  parts.order.settle();
  parts.bitmaps.beforeResize();
  if (virtualSize < header.virtualSize) {
    yield* toTheEnd(shrink(parts, virtualSize));
    return;
  }
  yield* grow(parts, { ...wish, virtualSize });
}

function judge(parts: WriteParts, wish: NewSize, virtualSize: number): void {
  const { header, geometry, version, snapshots } = parts;
  if (virtualSize <= 0) throw new Fault('invalid-geometry', { virtualSize, reason: 'the new size is 0' });
  if (virtualSize > virtualSizeMax || l1EntriesFor(geometry, virtualSize) > l1EntriesMax) {
    const virtualSizeMaxHere = Math.min(virtualSizeMax, l1EntriesMax * geometry.l2Span);
    throw new Fault('invalid-geometry', { virtualSize, virtualSizeMax: virtualSizeMaxHere });
  }
  if (virtualSize === header.virtualSize) return;
  if (version === 2 && snapshots.count > 0) {
    throw new Fault('snapshots-prevent-resize', { snapshotCount: snapshots.count });
  }
  judgeBitmaps(parts, virtualSize);
  if (virtualSize > header.virtualSize) {
    if (version === 2 && (parts.backing?.size ?? 0) > header.virtualSize) {
      throw new Fault('unsupported-option', {
        option: 'virtualSize',
        reason: 'a version 2 image cannot hide what its longer backing image has there',
      });
    }
    return;
  }
  if (!wish.allowShrink) {
    throw new Fault('shrink-not-allowed', { virtualSize, currentSize: header.virtualSize });
  }
  if (wish.preallocation !== 'off') {
    throw new Fault('unsupported-option', { option: 'preallocation', reason: 'a shrunk image is not preallocated' });
  }
}

/** BMP-09: consistent bitmaps follow the size; one that nobody can read would not fit it any more. */
function judgeBitmaps(parts: WriteParts, virtualSize: number): void {
  for (const bitmap of parts.bitmaps.list) {
    bitmap.load();
    if (bitmap.inconsistent) throw new Fault('bitmap-inconsistent', { bitmap: bitmap.name });
    const bits = bitmapBitsFor(virtualSize, bitmap.granularityBits);
    if (DirtyBitmap.fits(bits, parts.geometry.clusterSize)) continue;
    throw new Fault('invalid-geometry', {
      virtualSize,
      reason: `bitmap ${bitmap.name} would have more than 512 MiB of bits`,
    });
  }
}

/** The disk has its new size, and the bitmaps, which are in use, get it, too. */
function resizeBitmaps(parts: WriteParts, virtualSize: number): void {
  for (const bitmap of parts.bitmaps.list) if (!bitmap.inconsistent) bitmap.resize(virtualSize);
}

function* grow(parts: WriteParts, wish: NewSize): Generator<Progress, void, undefined> {
  const { header, mapping, geometry, order, file, dataFile } = parts;
  const oldSize = header.virtualSize;
  // What a data file has behind the disk is nobody's: the new part begins as zeroes (DAT-06).
  if (dataFile !== undefined && dataFile.size > oldSize) dataFile.resize(oldSize);
  yield* clearBehind(parts, oldSize);
  growL1(parts, l1EntriesFor(geometry, wish.virtualSize));
  let switched = false;
  try {
    dataFile?.resize(wish.virtualSize);
    yield* fillNewPart(parts, { start: oldSize, end: wish.virtualSize }, preallocationOf(parts, wish));
    order.settle();
    const { offset, entries } = mapping.place;
    header.switchDisk({ virtualSize: wish.virtualSize, l1TableOffset: offset, l1Entries: entries });
    switched = true;
  } finally {
    if (!switched) dataFile?.resize(oldSize);
  }
  resizeBitmaps(parts, wish.virtualSize);
  file.flush();
  storeBitmaps(parts);
}

/** Gives the new part its places where it is to have some, and hides what a longer layer below has there (T14). */
function* fillNewPart(
  parts: WriteParts,
  part: { readonly start: number; readonly end: number },
  mode: NewSize['preallocation'],
): Generator<Progress, void, undefined> {
  const { backing, geometry } = parts;
  const isCovered = (backing?.size ?? 0) > part.start;
  if (mode !== 'off') {
    // A place for the cluster that the old end cuts would hide what the layer below has in front of that end: it is
    // written first. An extended entry keeps it visible.
    const rest = alignUp(part.start, geometry.clusterSize) - part.start;
    const isWritten = isCovered || (backing !== undefined && !geometry.extendedL2);
    if (isWritten && rest > 0) write(parts, guestOffset(part.start), new Uint8Array(rest));
    yield* preallocate(parts, { ...part, mode, isData: isCovered });
  }
  if (isCovered && (mode === 'off' || mode === 'metadata')) yield* hideBelow(parts, part);
}

/** DAT-04: all of a raw data file is data to the tables. */
function preallocationOf({ header }: WriteParts, wish: NewSize): NewSize['preallocation'] {
  return wish.preallocation === 'off' && header.isDataFileRaw ? 'metadata' : wish.preallocation;
}

/** OPS-18, T14: what the layer below has in the new part must not show up: zero clusters, and zeroes in the first bytes. */
function* hideBelow(
  parts: WriteParts,
  part: { readonly start: number; readonly end: number },
): Generator<Progress, void, undefined> {
  const { subclusterSize, clusterSize } = parts.geometry;
  const wholeStart = alignUp(part.start, subclusterSize);
  if (wholeStart > part.start) write(parts, guestOffset(part.start), new Uint8Array(wholeStart - part.start));
  const length = alignUp(part.end, clusterSize) - wholeStart;
  if (length <= 0) return;
  for (const done of zeroWhole(parts, { offset: wholeStart, length }, { unmap: false })) {
    yield { done, total: part.end };
  }
}

/**
 * Makes what lies behind the end of the disk read as zeroes, or as nothing (T14–T16): the rest of the last subcluster, the
 * rest of its L2 table, and L2 tables behind it, which hold VM state that nobody may see as data.
 */
function* clearBehind(parts: WriteParts, size: number): Generator<Progress, void, undefined> {
  const { geometry, order } = parts;
  const end = alignUp(size, geometry.l2Span);
  clearRestOfSubcluster(parts, size);
  const start = alignUp(size, geometry.clusterSize);
  if (geometry.extendedL2 && alignUp(size, geometry.subclusterSize) < start) clearRestOfCluster(parts, size);
  const span = { offset: start, length: end - start };
  if (span.length > 0) {
    for (const done of discardFully(parts, span)) yield { done: done - start, total: span.length };
  }
  yield* dropTables(parts, l1EntriesFor(geometry, size));
  order.flush();
}

function clearRestOfSubcluster(parts: WriteParts, size: number): void {
  const end = alignUp(size, parts.geometry.subclusterSize);
  clearRest(parts, { offset: size, end });
}

function clearRestOfCluster(parts: WriteParts, size: number): void {
  const { subclusterSize, clusterSize } = parts.geometry;
  clearRest(parts, { offset: alignUp(size, subclusterSize), end: alignUp(size, clusterSize) });
}

/** Writes zeroes where anything but zeroes would show. */
function clearRest(parts: WriteParts, rest: { readonly offset: number; readonly end: number }): void {
  let at = rest.offset;
  while (at < rest.end) {
    const extent = lookup(parts, guestOffset(at), { lengthMax: rest.end - at });
    const bytes = new Uint8Array(extent.length);
    read(parts, guestOffset(at), bytes);
    if (bytes.some((byte) => byte !== 0)) write(parts, guestOffset(at), new Uint8Array(extent.length));
    at += extent.length;
  }
}

/** Takes L2 tables from `l1Start` on out of the L1 table, with everything they name. */
function* dropTables(parts: WriteParts, l1Start: number): Generator<Progress, void, undefined> {
  const { mapping, overlap, geometry } = parts;
  if (l1Start >= mapping.l1Entries) return;
  const cut = treeOver(parts, mapping.place.offset, mapping.copyOfL1(mapping.l1Entries));
  // The slots are emptied first: what is dropped is given back by the flush that makes that durable.
  for (let l1Index = l1Start; l1Index < mapping.l1Entries; l1Index += 1) {
    const table = mapping.l2Table(l1Index);
    if (table === undefined) continue;
    overlap.release(runOf(table, 1, geometry.clusterSize), 'activeL2');
    mapping.setL2Table(l1Index, undefined);
  }
  yield* dropTree(parts, cut, { l1Start });
}

/** A longer L1 table elsewhere, switched to with the old size. */
function growL1(parts: WriteParts, entries: number): void {
  const { mapping, order, file } = parts;
  if (entries <= mapping.l1Entries) return;
  const old = switchL1(parts, mapping.copyOfL1(entries));
  if (old !== undefined) order.drop(old, { punch: true });
  file.flush();
}

function* shrink(parts: WriteParts, virtualSize: number): Generator<Progress, void, undefined> {
  const { header, mapping, file, order, geometry } = parts;
  const oldSize = header.virtualSize;
  const { offset, entries } = mapping.place;
  header.switchDisk({ virtualSize, l1TableOffset: offset, l1Entries: entries });
  resizeBitmaps(parts, virtualSize);
  file.flush();
  const total = oldSize - virtualSize;
  const half = Math.floor(total / 2);
  yield* partOf(dropTables(parts, l1EntriesFor(geometry, virtualSize)), { from: 0, to: half, total });
  const start = alignUp(virtualSize, geometry.clusterSize);
  const end = Math.min(alignUp(virtualSize, geometry.l2Span), alignUp(oldSize, geometry.clusterSize));
  if (end > start) {
    const rest = discardFully(parts, { offset: start, length: end - start });
    // At most what one table maps: not worth a part of its own.
    for (const _done of rest) yield { done: half, total };
  }
  storeBitmaps(parts);
  order.settle();
  parts.dataFile?.resize(virtualSize);
  yield* partOf(cutFile(parts), { from: half, to: total, total });
}

/** How many clusters one step looks at. */
const clustersPerStep = 100_000;

/** The file ends with its last used cluster (OPS-19); durable with the next flush, which nothing needs to hurry. */
export function* cutFile(parts: WriteParts): Generator<Progress, void, undefined> {
  const { file, geometry, refcounts } = parts;
  let end = divideUp(file.size, geometry.clusterSize);
  const total = end;
  while (end > 0 && refcounts.get(hostCluster(end - 1)) === 0) {
    end -= 1;
    if ((total - end) % clustersPerStep === 0) yield { done: total - end, total };
  }
  if (end * geometry.clusterSize >= file.size) return;
  file.resize(end * geometry.clusterSize);
}
