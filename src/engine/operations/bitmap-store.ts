// Brings bitmaps from memory to the file (BMP-07, ORD-14).
//
//   clusters of bits, tables, directory, all in new places ─ flush ─ header extension ─ flush ─ old places dropped
//
// Until the header is written the old directory holds, in which every bitmap that may be behind is marked as in use;
// afterwards the new one, in which none is.

import { divideUp } from '../../base/integers.ts';
import { failureAfter } from '../file/file-faults.ts';
import { decodeBitmapDirectory, encodeBitmapDirectory } from '../format/bitmap-directory.ts';
import { allOneEntry, allZeroEntry, bitmapTableEntrySize } from '../format/bitmap-table.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { DirtyBitmap } from '../metadata/dirty-bitmap.ts';
import { bitmapMarksMax } from '../metadata/dirty-bitmaps.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { runOf } from './open.ts';

/** Stores all that is behind, and makes it durable: before a close, a check, or whatever reads the file. */
export function storeBitmaps(parts: WriteParts): void {
  if (parts.bitmaps.needsStore) replaceBitmaps(parts, parts.bitmaps.list);
}

/** As {@link storeBitmaps}, and everything is on disk, exact; that also where a bitmap cannot be stored. */
export function settleWithBitmaps(parts: WriteParts): void {
  try {
    storeBitmaps(parts);
  } catch (error) {
    throw failureAfter(error, () => {
      parts.order.settle();
    });
  }
  parts.order.settle();
}

/** Writes marks to clusters when so many of them are in memory that it costs too much. */
export function relieveBitmaps(parts: WriteParts): void {
  if (!parts.bitmaps.isHeavy) return;
  for (const bitmap of parts.bitmaps.list) writePieces(parts, bitmap);
}

/** The same for one that is being filled. */
export function relieveBitmap(parts: WriteParts, bitmap: DirtyBitmap): void {
  if (bitmap.marksLength > bitmapMarksMax) writePieces(parts, bitmap);
}

/**
 * The image has these bitmaps from now on, stored and durable; what others owned is dropped. A fault leaves the old ones in
 * the file. Faults `header-full`, `image-full` and those of the file.
 */
export function replaceBitmaps(parts: WriteParts, list: readonly DirtyBitmap[]): void {
  const { header, order, overlap, geometry, bitmaps, allocator } = parts;
  const before = header.hasBitmaps ? header.extensions.bitmaps : undefined;
  const runs: ClusterRun[] = [];
  try {
    for (const bitmap of list) if (!bitmap.inconsistent) writePieces(parts, bitmap);
    const records = list.map((bitmap) => bitmap.recordWith(writeTable(parts, bitmap, runs)));
    const directory = encodeBitmapDirectory(records);
    const directoryOffset = writeRun(parts, directory, runs);
    const directoryRun = runs.at(-1);
    order.flush();
    if (header.hasUnknownAutoclear) header.setAutoclear({ bitmaps: header.hasBitmaps });
    header.switchBitmaps(
      list.length === 0
        ? undefined
        : { count: list.length, reserved: 0, directoryLength: directory.length, directoryOffset },
    );
    // The header names the new directory: whatever fails from here on, it stays.
    runs.length = 0;
    const gone = goneRuns(parts, list);
    const stored = decodeBitmapDirectory(directory, list.length);
    for (const [index, bitmap] of list.entries()) {
      const record = stored[index];
      if (record === undefined) continue;
      for (const offset of bitmap.stored(record)) gone.push(runOf(offset, geometry.clusterSize, geometry.clusterSize));
    }
    if (directoryRun !== undefined) overlap.claim(directoryRun, 'bitmapDirectory');
    if (before !== undefined) {
      const old = runOf(before.directoryOffset, before.directoryLength, geometry.clusterSize);
      overlap.release(old, 'bitmapDirectory');
      gone.push(old);
    }
    for (const run of gone) order.drop(run, { punch: true });
    bitmaps.replace(list);
  } catch (error) {
    for (const run of runs) allocator.undo(run);
    throw error;
  }
  if (list.length === 0) header.wipeBitmaps();
  order.flush();
}

/** Tables that were written anew, and all of bitmaps that are not there any more. */
function goneRuns(parts: WriteParts, list: readonly DirtyBitmap[]): ClusterRun[] {
  const { clusterSize } = parts.geometry;
  const gone: ClusterRun[] = [];
  for (const bitmap of parts.bitmaps.list) {
    const isRemoved = !list.includes(bitmap);
    const { record } = bitmap;
    if (record !== undefined && (isRemoved || bitmap.tableChanged) && record.tableOffset % clusterSize === 0) {
      const length = record.tableEntries * bitmapTableEntrySize;
      if (length > 0 && record.tableOffset > 0) gone.push(runOf(record.tableOffset, length, clusterSize));
    }
    if (!isRemoved) continue;
    for (const offset of bitmap.places()) gone.push(runOf(offset, clusterSize, clusterSize));
  }
  return gone;
}

/** Each piece with new marks goes to a cluster that nothing in the file names. */
function writePieces(parts: WriteParts, bitmap: DirtyBitmap): void {
  const { clusterSize } = parts.geometry;
  for (const index of bitmap.markedPieces()) {
    const bits = bitmap.piece(index);
    if (bits.every((byte) => byte === 0)) {
      bitmap.moved(index, allZeroEntry);
      continue;
    }
    if (bits.every((byte) => byte === 0xff)) {
      bitmap.moved(index, allOneEntry);
      continue;
    }
    const kept = bitmap.keptPlace(index);
    if (kept !== undefined) {
      parts.overlap.admitData(kept, clusterSize);
      parts.file.writeAt(kept, bits);
      bitmap.moved(index, kept);
      continue;
    }
    const undoable: ClusterRun[] = [];
    try {
      bitmap.moved(index, writeRun(parts, bits, undoable));
    } catch (error) {
      for (const run of undoable) parts.allocator.undo(run);
      throw error;
    }
  }
}

/** The place of a table that had to be written anew; undefined where the one in the file still holds. */
function writeTable(parts: WriteParts, bitmap: DirtyBitmap, runs: ClusterRun[]): HostOffset | undefined {
  if (bitmap.inconsistent || !bitmap.tableChanged) return undefined;
  return writeRun(parts, bitmap.tableBytes(), runs);
}

/** Writes bytes to new clusters in a row, which it enters in `runs`. */
function writeRun(parts: WriteParts, bytes: Uint8Array, runs: ClusterRun[]): HostOffset {
  if (bytes.length === 0) return hostOffset(0);
  const { clusterSize } = parts.geometry;
  const run = parts.allocator.allocateRun(divideUp(bytes.length, clusterSize));
  runs.push(run);
  const whole = new Uint8Array(run.count * clusterSize);
  whole.set(bytes);
  const offset = hostOffset(run.first * clusterSize);
  parts.file.writeAt(offset, whole);
  return offset;
}
