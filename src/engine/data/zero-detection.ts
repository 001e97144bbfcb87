// Writes that look for zeroes: whole clusters of them become entries instead of bytes.

import { alignDown } from '../../base/integers.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { ImageLayer } from './image-layer.ts';
import { write } from './writer.ts';
import { drain, zero } from './zeroing.ts';

/** Like `write`; clusters of `source` that hold zeroes only are made zero, or left out where nothing is anyway. */
export function writeDetectingZeroes(parts: WriteParts, start: GuestOffset, source: Uint8Array): void {
  const { clusterSize } = parts.geometry;
  for (const { from, end, isZero } of zeroRuns(source, { start, clusterSize })) {
    const at = guestOffset(start + from);
    if (isZero) writeZeroRun(parts, at, end - from);
    else write(parts, at, source.subarray(from, end));
  }
}

/** A part of some bytes: clusters of zeroes, or others. */
export interface ZeroRun {
  readonly from: number;
  readonly end: number;
  readonly isZero: boolean;
}

/** Cuts the bytes that lie at `start` where clusters of zeroes begin and end. */
export function* zeroRuns(
  source: Uint8Array,
  place: { readonly start: GuestOffset; readonly clusterSize: number },
): Generator<ZeroRun> {
  const { start, clusterSize } = place;
  let from = 0;
  while (from < source.length) {
    let end = pieceEnd(start, from, { length: source.length, clusterSize });
    const isZero = isZeroes(source.subarray(from, end));
    while (end < source.length) {
      const next = pieceEnd(start, end, { length: source.length, clusterSize });
      if (isZeroes(source.subarray(end, next)) !== isZero) break;
      end = next;
    }
    yield { from, end, isZero };
    from = end;
  }
}

/** Makes a span zero that is to be, unless no layer has anything there; it counts as written all the same (BMP-08). */
export function writeZeroRun(parts: WriteParts, at: GuestOffset, length: number): void {
  const span = { offset: at, length };
  if (isAbsent(parts, at, length)) parts.bitmaps.mark(span);
  else drain(zero(parts, span, { unmap: true }));
}

/** Whether no layer has anything there: it reads as zeroes already. */
function isAbsent(parts: WriteParts, at: GuestOffset, length: number): boolean {
  const layer = new ImageLayer(parts, { size: at + length, close: () => undefined });
  let done = 0;
  while (done < length) {
    const extent = layer.extentAt(guestOffset(at + done), length - done);
    if (extent.kind !== 'absent') return false;
    done += extent.length;
  }
  return true;
}

/** The end of the cluster, or of the source. */
function pieceEnd(
  start: number,
  at: number,
  source: { readonly length: number; readonly clusterSize: number },
): number {
  return Math.min(source.length, alignDown(start + at, source.clusterSize) + source.clusterSize - start);
}
