// Zeroes and discards: entries instead of bytes wherever the format can say it (OPS-14…OPS-17, SUB-08, SUB-09, T07–T11).

import { guestOffset, hostOffset } from '../format/offsets.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import { isCompressed, zeroBit } from '../format/l2-entry.ts';
import { alignDown, alignUp } from '../../base/integers.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import type { WriteParts } from '../image-parts.ts';
import {
  allSubclusters,
  emptyEntry,
  isOwnedPlace,
  judgeEntry,
  placeOf,
  readEntry,
  sameEntry,
  writeEntry,
} from '../mapping/l2-entries.ts';
import type { L2Entry } from '../mapping/l2-entries.ts';
import { lookup } from '../mapping/lookup.ts';
import { entryAt, setEntry } from '../mapping/mapper.ts';
import { dropReferences, referencesOf } from '../mapping/references.ts';
import { bitsBetween } from '../mapping/subclusters.ts';
import { ensureOwnTable } from '../mapping/table-ownership.ts';
import { isKnownZero } from './known-zeroes.ts';
import { write } from './writer.ts';

/** Turns an entry into its successor; the same entry for "no change". */
type Change = (entry: L2Entry) => L2Entry;

/**
 * What becomes of a data file's clusters that read as zeroes: their space is given back or kept; or they are left as they
 * are, since the file is about to be cut.
 */
type DataFileFate = 'given back' | 'kept' | 'left';

interface EntryWork {
  readonly change: Change;
  readonly skipAbsentTables: boolean;
  readonly dataFile: DataFileFate;
}

export interface ZeroOptions {
  /** Whether host clusters may be given back. */
  readonly unmap: boolean;
}

/**
 * Makes a span read as zeroes: whole subclusters by their entries; a part of one by its entry if the rest reads as zero
 * too, else by writing zeroes. The span lies inside the disk. Yields the end of what is done, slice by slice.
 */
export function* zero(parts: WriteParts, span: ByteSpan, options: ZeroOptions): Generator<number, void, undefined> {
  parts.bitmaps.mark(span);
  const { subclusterSize } = parts.geometry;
  const end = endOf(span);
  const diskEnd = parts.header.virtualSize;
  let at = span.offset;
  const headEnd = Math.min(alignUp(at, subclusterSize), end);
  if (headEnd > at) {
    zeroPart(parts, { offset: at, length: headEnd - at }, options);
    at = headEnd;
    yield at;
  }
  const wholeEnd = alignDown(end, subclusterSize);
  if (wholeEnd > at) {
    yield* zeroWhole(parts, { offset: at, length: wholeEnd - at }, options);
    at = wholeEnd;
  }
  if (end === at) return;
  const rest = { offset: at, length: end - at };
  // The last subcluster of the disk counts as whole when the span reaches the end.
  if (end === diskEnd) {
    yield* zeroWhole(parts, rest, options);
    return;
  }
  zeroPart(parts, rest, options);
  yield end;
}

/** Gives up whole clusters inside the span; they read as zeroes afterwards, except in a version 2 overlay (T08, T09). */
export function* discard(parts: WriteParts, span: ByteSpan): Generator<number, void, undefined> {
  parts.bitmaps.mark(span);
  const { clusterSize } = parts.geometry;
  if (parts.version === 2 && parts.backing !== undefined) return;
  const start = alignUp(span.offset, clusterSize);
  const end = endOf(span) === parts.header.virtualSize ? endOf(span) : alignDown(endOf(span), clusterSize);
  if (end <= start) return;
  const keepsAbsent = parts.backing === undefined;
  yield* changeEntries(parts, { offset: start, length: end - start }, {
    change: (entry) => discarded(parts, entry),
    skipAbsentTables: keepsAbsent,
    dataFile: 'given back',
  });
}

/** OPS-17: entries become empty, so that the layer below shows through: for what lies beyond a new end of the disk. */
export function* discardFully(parts: WriteParts, span: ByteSpan): Generator<number, void, undefined> {
  yield* changeEntries(parts, span, { change: () => emptyEntry, skipAbsentTables: true, dataFile: 'left' });
}

/** Part of one subcluster. */
function zeroPart(parts: WriteParts, span: ByteSpan, options: ZeroOptions): void {
  const { subclusterSize } = parts.geometry;
  const diskEnd = parts.header.virtualSize;
  const start = alignDown(span.offset, subclusterSize);
  const end = Math.min(start + subclusterSize, diskEnd);
  const restIsZero =
    (parts.version === 3 || parts.backing === undefined) &&
    isKnownZero(parts, { offset: start, length: span.offset - start }) &&
    isKnownZero(parts, { offset: endOf(span), length: end - endOf(span) });
  const here = lookup(parts, guestOffset(span.offset), { lengthMax: 1 });
  if (restIsZero && (here.kind === 'zero' || here.kind === 'absent')) {
    drain(zeroWhole(parts, { offset: start, length: end - start }, options));
    return;
  }
  write(parts, guestOffset(span.offset), new Uint8Array(span.length));
}

/** Whole subclusters; the last may be cut by the end of the disk. */
export function* zeroWhole(parts: WriteParts, span: ByteSpan, options: ZeroOptions): Generator<number, void, undefined> {
  const { version, geometry } = parts;
  if (version === 2) {
    if (parts.backing === undefined) yield* discard(parts, span);
    else yield* writeZeroes(parts, span);
    return;
  }
  const { clusterSize } = geometry;
  const diskEnd = parts.header.virtualSize;
  const start = Math.min(alignUp(span.offset, clusterSize), endOf(span));
  if (start > span.offset) yield zeroSubclusters(parts, { offset: span.offset, length: start - span.offset });
  const end = endOf(span) === diskEnd ? endOf(span) : Math.max(start, alignDown(endOf(span), clusterSize));
  if (end > start) {
    yield* changeEntries(parts, { offset: start, length: end - start }, {
      change: (entry) => zeroed(parts, entry, options),
      skipAbsentTables: false,
      dataFile: options.unmap ? 'given back' : 'kept',
    });
  }
  if (endOf(span) > end) yield zeroSubclusters(parts, { offset: end, length: endOf(span) - end });
}

/** Some subclusters of one cluster with extended L2 entries (SUB-08). */
function zeroSubclusters(parts: WriteParts, span: ByteSpan): number {
  const { geometry } = parts;
  const { clusterSize, subclusterSize, l2Span } = geometry;
  const table = ensureOwnTable(parts, Math.floor(span.offset / l2Span));
  const place = { table, l2Index: Math.floor((span.offset % l2Span) / clusterSize) };
  const entry = entryAt(parts, place);
  judgeEntry(entry, geometry, parts.version);
  if (isCompressed(entry.high)) {
    write(parts, guestOffset(span.offset), new Uint8Array(span.length));
    return endOf(span);
  }
  const first = Math.floor((span.offset % clusterSize) / subclusterSize);
  const last = Math.floor(((endOf(span) - 1) % clusterSize) / subclusterSize);
  const bits = bitsBetween(first, last);
  const after = {
    ...entry,
    zeroes: (entry.zeroes | bits) >>> 0,
    allocated: (entry.allocated & ~bits) >>> 0,
  };
  clearRawData(parts, span, { keep: true });
  if (!sameEntry(entry, after)) setEntry(parts, place, after);
  return endOf(span);
}

/** Applies a change to every entry of a span that starts on a cluster, slice by slice; references go with the entries. */
function* changeEntries(
  parts: WriteParts,
  span: ByteSpan,
  work: EntryWork,
): Generator<number, void, undefined> {
  const { geometry, mapping } = parts;
  const { clusterSize, l2Span } = geometry;
  const sliceSpan = mapping.entriesPerSlice * clusterSize;
  let at = span.offset;
  while (at < endOf(span)) {
    const l1Index = Math.floor(at / l2Span);
    if (work.skipAbsentTables && mapping.l2Table(l1Index) === undefined) {
      at = Math.min(endOf(span), (l1Index + 1) * l2Span);
      yield at;
      continue;
    }
    const end = Math.min(endOf(span), alignDown(at, sliceSpan) + sliceSpan);
    changeSlice(parts, guestOffset(at), { ...work, end });
    at = end;
    parts.order.relieve();
    yield at;
  }
}

function changeSlice(
  parts: WriteParts,
  at: GuestOffset,
  work: EntryWork & { readonly end: number },
): void {
  const { geometry, mapping } = parts;
  const { clusterSize, l2Span } = geometry;
  const table = ensureOwnTable(parts, Math.floor(at / l2Span));
  const l2Index = Math.floor((at % l2Span) / clusterSize);
  if (work.dataFile !== 'left') {
    clearRawData(parts, { offset: at, length: work.end - at }, { keep: work.dataFile === 'kept' });
  }
  const slice = mapping.slice(table, l2Index);
  const count = Math.ceil((work.end - at) / clusterSize);
  const lost: ByteSpan[] = [];
  const emptied: ByteSpan[] = [];
  const isGivenBack = work.dataFile === 'given back';
  for (let step = 0; step < count; step += 1) {
    const index = (l2Index % mapping.entriesPerSlice) + step;
    const before = readEntry(slice.view, geometry, index);
    const after = work.change(before);
    if (sameEntry(before, after)) continue;
    // Faults for an entry whose references are unsound, before it is changed.
    referencesOf(before, parts);
    writeEntry(slice.view, geometry, index, after);
    mapping.markDirty(slice);
    if (!losesPlace(before, after)) {
      const place = isGivenBack ? emptiedPlace(parts, before) : undefined;
      if (place !== undefined) appendSpan(emptied, { offset: place, length: clusterSize });
      continue;
    }
    if (parts.dataFile === undefined) dropReferences(parts, before, { punch: !isGivenBack || parts.givingBack.passDiscard });
    else if (hasPlace(before)) appendSpan(lost, { offset: at + step * clusterSize, length: clusterSize });
  }
  for (const { offset, length } of emptied) parts.file.punch(hostOffset(offset), length);
  if (work.dataFile !== 'left') giveBack(parts, lost);
}

function appendSpan(spans: ByteSpan[], next: ByteSpan): void {
  const last = spans.at(-1);
  if (last === undefined || endOf(last) !== next.offset) spans.push(next);
  else spans[spans.length - 1] = { offset: last.offset, length: last.length + next.length };
}

/**
 * DAT-04, DAT-05: who reads a raw data file by itself finds what the tables say. The file comes first: once the entries
 * are durable, so are its zeroes. An encrypted one is nothing by itself, and its zeroes are noise to the guest.
 */
function clearRawData(parts: WriteParts, span: ByteSpan, options: { readonly keep: boolean }): void {
  const { dataFile, encryption, header, order } = parts;
  if (dataFile === undefined || !header.isDataFileRaw || encryption !== undefined) return;
  dataFile.clear(span, options);
  order.dataWritten();
}

/**
 * Clusters of the data file whose entries have let go of them. At once: a place is its guest offset for good, and the
 * next write there goes to it. A crash before the entries are durable finds zeroes, as after it; with encryption it would
 * find noise, so the entries come first then.
 */
function giveBack(parts: WriteParts, lost: readonly ByteSpan[]): void {
  const { dataFile, encryption, header, order } = parts;
  if (dataFile === undefined || lost.length === 0) return;
  if (encryption !== undefined) order.flush();
  else if (header.isDataFileRaw) return;
  for (const span of lost) dataFile.clear(span, { keep: false });
}

/**
 * Where a kept cluster lies whose space goes back to the file system (OPT-10). At once: a crash before the entry is durable
 * finds zeroes, as after it. Not where a snapshot reads there, too, nor where zeroes would be noise to the guest.
 */
function emptiedPlace(parts: WriteParts, entry: L2Entry): HostOffset | undefined {
  if (!parts.givingBack.passDiscard || parts.encryption !== undefined || parts.dataFile !== undefined) return undefined;
  if (!keepsPlace(parts, entry) || !isOwnedPlace(entry, parts.geometry)) return undefined;
  const place = placeOf(entry, parts.geometry);
  if (place !== undefined) parts.overlap.admitData(place, parts.geometry.clusterSize);
  return place;
}

/** OPT-10: whether a cluster that is given up stays where it is, as a zero cluster. */
function keepsPlace(parts: WriteParts, entry: L2Entry): boolean {
  if (!parts.givingBack.discardNoUnref || parts.dataFile !== undefined) return false;
  return !isCompressed(entry.high) && placeOf(entry, parts.geometry) !== undefined;
}

function losesPlace(before: L2Entry, after: L2Entry): boolean {
  return isCompressed(before.high) || (after.high === 0 && (after.low & ~zeroBit) === 0);
}

/** OPS-15: without `unmap` the place stays with the zero flag; a compressed cluster always goes (T10). */
function zeroed(parts: WriteParts, entry: L2Entry, options: ZeroOptions): L2Entry {
  const gone = isCompressed(entry.high) || (options.unmap && hasPlace(entry) && !keepsPlace(parts, entry));
  const place = gone ? { high: 0, low: 0 } : { high: entry.high, low: entry.low };
  if (parts.geometry.extendedL2) return { ...place, zeroes: allSubclusters, allocated: 0 };
  return { high: place.high, low: (place.low | zeroBit) >>> 0, zeroes: 0, allocated: 0 };
}

/** OPS-16: what was allocated, or could show through, becomes zero; what is absent without a layer below stays. */
function discarded(parts: WriteParts, entry: L2Entry): L2Entry {
  if (parts.backing === undefined && !isCompressed(entry.high) && !hasPlace(entry)) return entry;
  if (keepsPlace(parts, entry)) return zeroed(parts, entry, { unmap: false });
  if (parts.geometry.extendedL2) return { high: 0, low: 0, zeroes: allSubclusters, allocated: 0 };
  return { ...emptyEntry, low: parts.version === 3 ? zeroBit : 0 };
}

function hasPlace(entry: L2Entry): boolean {
  return entry.high !== 0 || (entry.low & ~zeroBit) !== 0;
}

/** As much work as a slice of entries may cost: who runs some dozens of slices in one step stays bounded. */
const zeroesLength = 128 * 1024;

function* writeZeroes(parts: WriteParts, span: ByteSpan): Generator<number, void, undefined> {
  const zeroes = new Uint8Array(Math.min(zeroesLength, span.length));
  let at = span.offset;
  while (at < endOf(span)) {
    const length = Math.min(zeroes.length, endOf(span) - at);
    write(parts, guestOffset(at), zeroes.subarray(0, length));
    at += length;
    yield at;
  }
}

/** Does all of a piece of work at once. */
export function drain(slices: Generator<number, void, undefined>): void {
  while (slices.next().done !== true);
}
