// Puts an image on another layer, or on none (OPS-35): what the guest would see change is copied before.
//
//   safe     copies ─ flush ─ header names the new layer (one atomic change)
//   unsafe            flush ─ header names the new layer
//
// A crash before the header leaves an image that reads as ever, with some bytes of its own more than it had.

import { endOf } from '../../base/byte-span.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { Fault } from '../../base/fault.ts';
import { alignDown, alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import { copyParts } from '../data/copy-parts.ts';
import { write } from '../data/writer.ts';
import { drain, zero } from '../data/zeroing.ts';
import type { FileSpan } from '../file/file-span.ts';
import { autoclearBits, hasBit } from '../format/features.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import type { BackingFile } from '../layer/open-gate.ts';
import { askBelow } from '../layer/below.ts';
import { lookup } from '../mapping/lookup.ts';
import { ExtentPace } from './extent-pace.ts';
import type { Progress, Steps } from './steps.ts';

/** What an image is to stand on. */
export interface RebaseWish {
  /** The chain below from then on, nearest first; empty for none. */
  readonly chain: readonly BackingFile[];
  /** `safe`: the guest sees the same bytes. `unsafe`: the caller knows that both chains hold the same. */
  readonly mode: 'safe' | 'unsafe';
}

/** What takes the place of the layer below. */
export interface Rebase {
  /** As the header names it; undefined for none. */
  readonly backing: { readonly fileName: string; readonly format: string } | undefined;
  /** The layer that it stands for. */
  readonly layer: Layer | undefined;
  readonly mode: 'safe' | 'unsafe';
  readonly shared: SharedLayers;
  /** Told when the header names the new layer: whoever has `parts` uses others from then on. */
  readonly switched: () => void;
}

/** From which depth on, counted from 0 for the nearest, the layers below are the same ones before and after. */
export interface SharedLayers {
  readonly old: number;
  readonly new: number;
}

/** The layers that two chains have in common at their ends. */
export function sharedLayers(
  old: readonly Pick<BackingFile, 'path'>[],
  next: readonly Pick<BackingFile, 'path'>[],
): SharedLayers {
  let count = 0;
  for (;;) {
    const one = old[old.length - 1 - count];
    const other = next[next.length - 1 - count];
    if (one === undefined || other === undefined || one.path !== other.path) break;
    count += 1;
  }
  return { old: old.length - count, new: next.length - count };
}

/**
 * Afterwards the image stands on another layer. `safe`: the guest sees the same bytes; `unsafe`: it is the caller who knows
 * that both layers hold the same. Faults `header-full`, `snapshots-need-backing`; cancelled before the switch it is as it
 * was, but for some bytes that it holds itself now.
 */
export function* rebase(parts: WriteParts, wish: Rebase): Steps<void> {
  const { header, order, snapshots } = parts;
  header.judgeBacking(wish.backing);
  if (wish.backing !== undefined && hasBit(header.header.autoclear, autoclearBits.rawExternalData)) {
    const reason = 'a raw data file is the whole disk, and leaves nothing to an image below';
    throw new Fault('unsupported-option', { option: 'backing', reason });
  }
  const hasBelow = parts.backing !== undefined || wish.layer !== undefined;
  if (wish.mode === 'safe' && hasBelow) {
    if (snapshots.count > 0) throw new Fault('snapshots-need-backing', { snapshotCount: snapshots.count });
    yield* keepContent(parts, wish);
  }
  order.settle();
  header.rewriteBacking(wish.backing);
  wish.switched();
}

/** The image holds itself whatever it would read otherwise from the new layer. */
function* keepContent(parts: WriteParts, wish: Rebase): Generator<Progress, void, undefined> {
  const total = parts.header.virtualSize;
  const lengthMax = Math.max(windowLength, parts.geometry.subclusterSize);
  const windows = {
    old: new Uint8Array(lengthMax),
    next: wish.layer === undefined ? undefined : new Uint8Array(lengthMax),
    pace: new ExtentPace(),
  };
  for (let at = 0; at < total;) {
    const own = lookup(parts, guestOffset(at), { lengthMax: total - at });
    const span = { offset: at, length: own.length };
    if (own.kind === 'absent') yield* keepRun(parts, wish, { span, windows });
    at += own.length;
    if (windows.pace.isFullWith(0)) yield { done: at, total };
  }
}

/** How much is read and compared at once; a whole subcluster at least. */
const windowLength = 1 * MiB;

/** What all windows share: fresh memory for each would cost more than the copy. */
interface Windows {
  readonly old: Uint8Array;
  /** Undefined without a new layer: it reads as zeroes. */
  readonly next: Uint8Array | undefined;
  readonly pace: ExtentPace;
}

/** A stretch of which the image has nothing itself; it begins and ends with a subcluster, or with the disk. */
function* keepRun(
  parts: WriteParts,
  wish: Rebase,
  { span: run, windows }: { readonly span: ByteSpan; readonly windows: Windows },
): Generator<Progress, void, undefined> {
  const { subclusterSize } = parts.geometry;
  const { pace } = windows;
  const total = parts.header.virtualSize;
  for (let at = run.offset; at < endOf(run);) {
    const found = compareTables(parts, wish, { offset: at, length: endOf(run) - at });
    if (found.isSame) {
      at += found.length;
      if (pace.isFullWith(0)) yield { done: at, total };
      continue;
    }
    const start = Math.max(run.offset, alignDown(at, subclusterSize));
    const end = Math.min(endOf(run), alignUp(at + found.length, subclusterSize), start + windows.old.length);
    keepWindow(parts, wish, { window: { offset: start, length: end - start }, windows });
    at = end;
    if (pace.isFullWith(end - start)) yield { done: at, total };
  }
}

/** Whether the tables alone say that a stretch, or the start of it, reads the same from both layers. */
function compareTables(
  parts: WriteParts,
  { layer, shared }: Rebase,
  span: ByteSpan,
): { readonly length: number; readonly isSame: boolean } {
  const old = extentOf(parts.backing, span);
  const next = extentOf(layer, { offset: span.offset, length: old.length });
  const areZero = old.kind !== 'data' && next.kind !== 'data';
  const areOne = old.depth >= shared.old && next.depth >= shared.new;
  return { length: next.length, isSame: areZero || areOne };
}

/** Where a layer ends, or there is none, no layer was asked. */
function extentOf(layer: Layer | undefined, span: ByteSpan): Pick<LayerExtent, 'kind' | 'length' | 'depth'> {
  const { offset, length } = span;
  if (layer === undefined || offset >= layer.size) return { kind: 'absent', length, depth: -1 };
  return askBelow(() => layer.extentAt(guestOffset(offset), Math.min(length, layer.size - offset)));
}

function readLayer(layer: Layer | undefined, at: number, target: Uint8Array): void {
  const inside = layer === undefined ? 0 : Math.max(0, Math.min(target.length, layer.size - at));
  if (layer !== undefined && inside > 0) {
    askBelow(() => {
      layer.read(guestOffset(at), target.subarray(0, inside));
    });
  }
  target.fill(0, inside);
}

/** Where the bytes of the layer below lie, as far as it goes. */
function spanBelow({ backing }: WriteParts, at: GuestOffset, lengthMax: number): FileSpan | undefined {
  if (backing === undefined || at >= backing.size) return undefined;
  return askBelow(() => backing.spanAt?.(at, Math.min(lengthMax, backing.size - at)));
}

/** Whether the new layer has nothing but zeroes in a stretch, by its tables. */
function isEmpty(layer: Layer | undefined, span: ByteSpan): boolean {
  for (let at = span.offset; at < endOf(span);) {
    const found = extentOf(layer, { offset: at, length: endOf(span) - at });
    if (found.kind === 'data') return false;
    at += found.length;
  }
  return true;
}

/** What the file system copies by itself is not looked at, unless it may be what the new layer has, too. */
function keepWindow(
  parts: WriteParts,
  wish: Rebase,
  { window, windows }: { readonly window: ByteSpan; readonly windows: Windows },
): void {
  for (const { at, length, source } of copyParts(parts, window, (from, max) => spanBelow(parts, from, max))) {
    const part = { offset: at, length };
    if (source !== undefined && isEmpty(wish.layer, part)) write(parts, at, source);
    else keepDifference(parts, wish, { window: part, windows });
  }
}

/** What a subcluster must become, if anything. */
type Difference = 'same' | 'zero' | 'data';

/** Compares the bytes of both layers, and writes those subclusters of the old one that differ. */
function keepDifference(
  parts: WriteParts,
  wish: Rebase,
  { window, windows }: { readonly window: ByteSpan; readonly windows: Windows },
): void {
  const { geometry, version } = parts;
  const old = windows.old.subarray(0, window.length);
  const next = windows.next?.subarray(0, window.length);
  readLayer(parts.backing, window.offset, old);
  if (next !== undefined) readLayer(wish.layer, window.offset, next);

  const kindAt = (at: number): Difference => {
    const piece = old.subarray(at, at + geometry.subclusterSize);
    const other = next?.subarray(at, at + geometry.subclusterSize);
    const isZero = isZeroes(piece);
    const isSame = other === undefined ? isZero : Buffer.compare(piece, other) === 0;
    if (isSame) return 'same';
    // Without a zero flag a cluster that reads as zeroes is written as such.
    return isZero && version === 3 ? 'zero' : 'data';
  };
  let kindAhead: Difference | undefined = kindAt(0);
  for (let at = 0; at < window.length;) {
    const kind: Difference | undefined = kindAhead;
    let end = at;
    do {
      end += geometry.subclusterSize;
      kindAhead = end < window.length ? kindAt(end) : undefined;
    } while (kindAhead === kind);
    end = Math.min(end, window.length);
    const offset = window.offset + at;
    if (kind === 'data') writeOld(parts, { offset, length: end - at }, old.subarray(at, end));
    if (kind === 'zero') drain(zero(parts, { offset, length: end - at }, { unmap: false }));
    at = end;
  }
}

/** The bytes were read to be compared; what is shared with the layer below takes no room once more. */
function writeOld(parts: WriteParts, span: ByteSpan, bytes: Uint8Array): void {
  for (const { at, length, source } of copyParts(parts, span, (from, max) => spanBelow(parts, from, max))) {
    write(parts, at, source ?? bytes.subarray(at - span.offset, at - span.offset + length));
  }
}
