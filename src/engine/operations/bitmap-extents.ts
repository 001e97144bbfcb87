// What a bitmap tells about the disk: dirty and clean stretches, merged and in pages.

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { MiB } from '../../base/units.ts';
import { nextBit } from '../metadata/bit-runs.ts';
import type { DirtyBitmap } from '../metadata/dirty-bitmap.ts';

/** A stretch of the disk whose bits are all set, or all clear. */
export interface DirtyExtent {
  readonly offset: number;
  readonly length: number;
  readonly dirty: boolean;
}

export interface DirtyExtentPage {
  readonly items: readonly DirtyExtent[];
  /** Where the next page starts; undefined at the end. */
  readonly nextOffset: number | undefined;
}

/** What is asked for; the span lies inside the disk. */
export interface DirtyExtentQuery extends ByteSpan {
  /** At most so many items. */
  readonly limit: number;
}

/** Bytes of bits that one page reads, and pieces that it passes, so that it stays one bounded call. */
const pageReadMax = 8 * MiB;
const pagePiecesMax = 100_000;

/** One page of a consistent bitmap. */
export function listDirtyExtents(bitmap: DirtyBitmap, query: DirtyExtentQuery): DirtyExtentPage {
  const items: DirtyExtent[] = [];
  let at = query.offset;
  let read = 0;
  let pieces = 0;
  for (const piece of dirtyRuns(bitmap, query)) {
    for (const run of piece.runs) {
      if (run.offset > at && !append(items, { offset: at, length: run.offset - at, dirty: false }, query.limit)) {
        return { items, nextOffset: at };
      }
      if (!append(items, { ...run, dirty: true }, query.limit)) return { items, nextOffset: run.offset };
      at = endOf(run);
    }
    if (piece.end > at && !append(items, { offset: at, length: piece.end - at, dirty: false }, query.limit)) {
      return { items, nextOffset: at };
    }
    at = piece.end;
    pieces += 1;
    read += piece.wasRead ? bitmap.bitsPerPiece / 8 : 0;
    if ((read >= pageReadMax || pieces >= pagePiecesMax) && at < endOf(query)) return { items, nextOffset: at };
  }
  return { items, nextOffset: undefined };
}

/** False when the item begins a new one and the page is full. */
function append(items: DirtyExtent[], item: DirtyExtent, limit: number): boolean {
  const last = items.at(-1);
  if (last?.dirty === item.dirty) {
    items[items.length - 1] = { ...last, length: last.length + item.length };
    return true;
  }
  if (items.length === limit) return false;
  items.push(item);
  return true;
}

/** The dirty runs of one piece of a bitmap, cut to a span, and where the piece ends. */
export interface DirtyPiece {
  readonly runs: readonly ByteSpan[];
  readonly end: number;
  /** Whether its bits had to be looked at. */
  readonly wasRead: boolean;
}

/** Piece by piece over a span of the disk. */
export function* dirtyRuns(bitmap: DirtyBitmap, span: ByteSpan): Generator<DirtyPiece, void, undefined> {
  const { granularity, bitsPerPiece } = bitmap;
  const pieceSpan = bitsPerPiece * granularity;
  const end = Math.min(endOf(span), bitmap.virtualSize);
  let at = span.offset;
  while (at < end) {
    const index = Math.floor(at / pieceSpan);
    const pieceEnd = Math.min(end, (index + 1) * pieceSpan);
    assert(pieceEnd > at, 'pieces go forwards');
    if (bitmap.isPieceEmpty(index)) yield { runs: [], end: pieceEnd, wasRead: false };
    else {
      const piece = { offset: at, length: pieceEnd - at };
      yield {
        runs: runsOf(bitmap.piece(index), piece, { start: index * pieceSpan, granularity }),
        end: pieceEnd,
        wasRead: true,
      };
    }
    at = pieceEnd;
  }
}

function runsOf(
  bits: Uint8Array,
  span: ByteSpan,
  scale: { readonly start: number; readonly granularity: number },
): readonly ByteSpan[] {
  const { start, granularity } = scale;
  const runs: ByteSpan[] = [];
  const to = Math.ceil((endOf(span) - start) / granularity);
  let bit = Math.floor((span.offset - start) / granularity);
  while (bit < to) {
    const from = nextBit(bits, { from: bit, to, wanted: true });
    if (from >= to) break;
    bit = nextBit(bits, { from, to, wanted: false });
    const offset = Math.max(span.offset, start + from * granularity);
    runs.push({ offset, length: Math.min(endOf(span), start + bit * granularity) - offset });
  }
  return runs;
}
