// Writes guest bytes as packed clusters; packing is asked for early and in pieces, so that others can do them side by side.

import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { KiB } from '../../base/units.ts';
import { writePacked } from '../data/packed-writer.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { CodecNeed } from '../transform/codec-need.ts';
import type { Steps } from './steps.ts';

/** How much one need brings, unless a cluster is longer. */
const needLength = 512 * KiB;

/** A part of a write on its way to being packed. */
interface Piece {
  readonly at: GuestOffset;
  readonly length: number;
  readonly need: CodecNeed;
}

/**
 * Writes whole clusters, the last of which may be cut by the end of the disk; with `detectZeroes`, clusters of zeroes are
 * made zero, or left out where nothing is anyway. Fault `unsupported-option` {option: compress, reason}, before anything
 * is changed; those of mapper and file: some clusters from the start may be written then.
 */
export function* writeCompressed(
  parts: WriteParts,
  start: GuestOffset,
  write: { readonly source: Uint8Array; readonly detectZeroes: boolean },
): Steps<void> {
  judgePacking(parts);
  judgeSpan(parts, start, write.source.length);
  const total = write.source.length;
  const pieces = [...piecesOf(parts, start, write)];
  for (const { need } of pieces) yield { done: 0, total, asks: need };
  let done = 0;
  for (const { at, length, need } of pieces) {
    yield { done, total, awaits: need };
    writePacked(parts, at, need.take());
    done += length;
  }
}

/** Faults `unsupported-option` for an image whose clusters cannot be packed (CMP-06, CMP-10, T41). */
export function judgePacking(parts: Pick<WriteParts, 'encryption' | 'dataFile'>): void {
  if (parts.dataFile !== undefined) throw refusal('compressed clusters have no place in an external data file');
  if (parts.encryption === undefined) return;
  throw refusal('the image is encrypted, and compressed clusters would be stored in clear text');
}

function judgeSpan({ geometry, header }: WriteParts, start: number, length: number): void {
  const { clusterSize } = geometry;
  const end = start + length;
  if (start % clusterSize === 0 && (end % clusterSize === 0 || end === header.virtualSize)) return;
  throw refusal(`only whole clusters of ${clusterSize} bytes are stored compressed`);
}

function refusal(reason: string): Fault {
  return new Fault('unsupported-option', { option: 'compress', value: true, reason });
}

function* piecesOf(
  parts: WriteParts,
  start: GuestOffset,
  { source, detectZeroes }: { readonly source: Uint8Array; readonly detectZeroes: boolean },
): Generator<Piece> {
  const { clusterSize } = parts.geometry;
  const lengthMax = Math.max(needLength, clusterSize);
  for (let from = 0; from < source.length; from += lengthMax) {
    const bytes = source.subarray(from, from + lengthMax);
    // What lies behind the end of the disk is zero.
    const clusters = new Uint8Array(alignUp(bytes.length, clusterSize));
    clusters.set(bytes);
    const need = packNeed(parts, clusters, { dropsZeroes: detectZeroes });
    yield { at: guestOffset(start + from), length: bytes.length, need };
  }
}

/** The need for packing whole clusters as the image stores them. */
export function packNeed(
  { geometry, header }: WriteParts,
  bytes: Uint8Array<ArrayBuffer>,
  { dropsZeroes }: { readonly dropsZeroes: boolean },
): CodecNeed {
  const { compressionType: type } = header.header;
  return new CodecNeed({ kind: 'pack', type, clusterSize: geometry.clusterSize, bytes, dropsZeroes });
}
