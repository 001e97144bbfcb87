// Persistent dirty bitmaps: made, cleared, switched, merged, removed, and what they tell (BMP-08).
//
// Every verb stores all bitmaps, so that none is in use in the file when it ends; the next change of the disk marks the
// enabled ones again. Before the header names the new directory the old bitmaps hold, afterwards the new ones.

import { Fault } from '../../base/fault.ts';
import { isPowerOfTwo } from '../../base/integers.ts';
import { KiB } from '../../base/units.ts';
import {
  bitmapEntryLength,
  bitmapNameLengthMax,
  granularityBitsMax,
  granularityBitsMin,
} from '../format/bitmap-directory.ts';
import { bitmapBitsFor } from '../format/bitmap-table.ts';
import { bitmapCountMax, bitmapDirectoryLengthMax, bytesOf } from '../format/header-extensions.ts';
import type { ImageParts, WriteParts } from '../image-parts.ts';
import { DirtyBitmap } from '../metadata/dirty-bitmap.ts';
import { dirtyRuns } from './bitmap-extents.ts';
import { relieveBitmap, replaceBitmaps } from './bitmap-store.ts';
import { toTheEnd } from './steps.ts';
import type { Progress, Steps } from './steps.ts';

/** A bitmap as listed. Sizes in bytes. */
export interface BitmapDescription {
  readonly name: string;
  readonly granularity: number;
  /** Whether changes of the disk are recorded. */
  readonly enabled: boolean;
  /** Its program ended without storing it, or it breaks rules: it can only be removed. */
  readonly inconsistent: boolean;
  /** Bytes of the disk whose bits are set; undefined for an inconsistent one, whose bits mean nothing. */
  readonly dirtyBytes: number | undefined;
}

export interface NewBitmap {
  /** 1 to 1023 bytes of UTF-8. */
  readonly name: string;
  /** A power of two of 512 bytes to 2 GiB; undefined: the cluster size, at least 4 KiB and at most 64 KiB. */
  readonly granularity: number | undefined;
  readonly enabled: boolean;
}

const defaultGranularityMin = 4 * KiB;
const defaultGranularityMax = 64 * KiB;

/** Which of the bitmaps to list: `limit` of them, after the first `start`. */
export interface BitmapListQuery {
  readonly start: number;
  readonly limit: number;
}

/** A page in the order of the directory; `next`: how many come before the next one, undefined on the last. */
export interface BitmapList {
  readonly items: readonly BitmapDescription[];
  readonly next: number | undefined;
}

/** Faults of the directory. */
export function* describeBitmaps(parts: ImageParts, query: BitmapListQuery): Steps<BitmapList> {
  const { list } = parts.bitmaps;
  const end = query.start + query.limit;
  const items: BitmapDescription[] = [];
  for (const bitmap of list.slice(query.start, end)) items.push(yield* describeOne(bitmap));
  return { items, next: end < list.length ? end : undefined };
}

/** Fault `bitmap-not-found`. */
export function describeBitmap(parts: ImageParts, name: string): Steps<BitmapDescription> {
  return describeOne(parts.bitmaps.find(name));
}

function* describeOne(bitmap: DirtyBitmap): Steps<BitmapDescription> {
  bitmap.load();
  const { name, granularity, enabled, inconsistent } = bitmap;
  let dirtyBytes = 0;
  if (!inconsistent) {
    for (const piece of dirtyRuns(bitmap, { offset: 0, length: bitmap.virtualSize })) {
      for (const run of piece.runs) dirtyBytes += run.length;
      if (piece.wasRead) yield { done: piece.end, total: bitmap.virtualSize };
    }
  }
  return { name, granularity, enabled, inconsistent, dirtyBytes: inconsistent ? undefined : dirtyBytes };
}

/** Faults `name-conflict`, `unsupported-option`, `invalid-geometry`, `header-full`, `image-full`. */
export function createBitmap(parts: WriteParts, wish: NewBitmap): BitmapDescription {
  const { bitmaps, header, geometry, version } = parts;
  const { name, enabled } = wish;
  if (version === 2) {
    throw new Fault('unsupported-option', { option: 'bitmaps', reason: 'a version 2 image has no bitmaps' });
  }
  const granularityBits = granularityBitsOf(parts, wish.granularity);
  const nameLength = bytesOf(name).length;
  if (nameLength < 1 || nameLength > bitmapNameLengthMax) {
    throw new Fault('invalid-geometry', { reason: 'a bitmap has a name of 1 to 1023 bytes', nameLength });
  }
  const { list } = bitmaps;
  if (list.some((other) => other.name === name)) throw new Fault('name-conflict', { name });
  const bits = bitmapBitsFor(header.virtualSize, granularityBits);
  if (bits === 0 || !DirtyBitmap.fits(bits, geometry.clusterSize)) {
    const reason = bits === 0 ? 'an empty disk has no bitmaps' : 'a bitmap has at most 512 MiB of bits';
    throw new Fault('invalid-geometry', { granularity: 2 ** granularityBits, virtualSize: header.virtualSize, reason });
  }
  const bitmap = DirtyBitmap.empty(bitmaps.place, { name, granularityBits, enabled });
  const after = [...list, bitmap];
  if (after.length > bitmapCountMax || directoryLength(after) > bitmapDirectoryLengthMax) {
    throw new Fault('unsupported-option', { option: 'bitmaps', reason: 'the image has as many as its format allows' });
  }
  replaceBitmaps(parts, after);
  return { name, granularity: bitmap.granularity, enabled, inconsistent: false, dirtyBytes: 0 };
}

/** An inconsistent one, too. Fault `bitmap-not-found`. */
export function deleteBitmap(parts: WriteParts, name: string): void {
  const gone = parts.bitmaps.find(name);
  replaceBitmaps(
    parts,
    parts.bitmaps.list.filter((bitmap) => bitmap !== gone),
  );
}

/** Clears all bits. Faults `bitmap-not-found`, `bitmap-inconsistent`. */
export function clearBitmap(parts: WriteParts, name: string): void {
  parts.bitmaps.findConsistent(name).clear();
  replaceBitmaps(parts, parts.bitmaps.list);
}

/** Begins or ends to record changes. Faults `bitmap-not-found`, `bitmap-inconsistent`. */
export function setBitmapEnabled(parts: WriteParts, name: string, enabled: boolean): void {
  const bitmap = parts.bitmaps.findConsistent(name);
  if (bitmap.enabled === enabled) return;
  bitmap.enable(enabled);
  replaceBitmaps(parts, parts.bitmaps.list);
}

/**
 * Sets every bit of `name` whose stretch of the disk is dirty in one of `from`, whatever their granularities. Faults
 * `bitmap-not-found`, `bitmap-inconsistent`, before anything is changed. Once begun it runs to its end, cancelled or not;
 * a fault of the file on the way leaves some bits more, which is safe.
 */
export function* mergeBitmaps(parts: WriteParts, name: string, from: readonly string[]): Steps<void> {
  const target = parts.bitmaps.findConsistent(name);
  const sources = from.map((source) => parts.bitmaps.findConsistent(source)).filter((source) => source !== target);
  yield* toTheEnd(merge(parts, target, sources));
}

function* merge(
  parts: WriteParts,
  target: DirtyBitmap,
  sources: readonly DirtyBitmap[],
): Generator<Progress, void, undefined> {
  for (const source of sources) {
    for (const piece of dirtyRuns(source, { offset: 0, length: source.virtualSize })) {
      for (const run of piece.runs) target.mark(run);
      relieveBitmap(parts, target);
      if (piece.wasRead) yield { done: piece.end, total: source.virtualSize };
    }
  }
  replaceBitmaps(parts, parts.bitmaps.list);
}

function granularityBitsOf(parts: WriteParts, granularity: number | undefined): number {
  const { clusterSize } = parts.geometry;
  const wanted = granularity ?? Math.min(Math.max(clusterSize, defaultGranularityMin), defaultGranularityMax);
  const isInside = wanted >= 2 ** granularityBitsMin && wanted <= 2 ** granularityBitsMax;
  if (!isInside || !isPowerOfTwo(wanted)) {
    throw new Fault('invalid-geometry', {
      granularity: wanted,
      reason: 'a granularity is a power of two from 512 bytes to 2 GiB',
    });
  }
  return Math.log2(wanted);
}

function directoryLength(list: readonly DirtyBitmap[]): number {
  return list.reduce((sum, bitmap) => sum + bitmapEntryLength(bitmap.entry), 0);
}
