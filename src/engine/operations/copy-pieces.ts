// What a layer has, cut into the pieces that a copy is made of.

import { alignDown, alignUp } from '../../base/integers.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { Layer, StoredCluster } from '../layer/layer.ts';

/** Pieces in the order of the disk; data begins and ends with a cluster of the copy, or with the disk. */
export type CopyPiece =
  | { readonly kind: 'absent' | 'zero' | 'data'; readonly at: GuestOffset; readonly end: number }
  /** Whole clusters that are stored as the copy would store them. */
  | {
      readonly kind: 'stored';
      readonly at: GuestOffset;
      readonly end: number;
      readonly blobs: readonly StoredCluster[];
    };

/** How the copy stores clusters. */
export interface CopyForm {
  readonly clusterSize: number;
  /** How long a piece of data, or the blobs of one together, may be; one cluster at least. */
  readonly lengthMax: number;
  /** Undefined when it stores them unpacked. */
  readonly compressionType: 0 | 1 | undefined;
}

/** Without gaps; a piece of data may begin in the last cluster of the one before. */
export function* copyPieces(layer: Layer, form: CopyForm): Generator<CopyPiece, void, undefined> {
  let at = 0;
  while (at < layer.size) {
    const first = look(layer, at, form.lengthMax);
    if (first.kind !== 'data') {
      yield { kind: first.kind, at: guestOffset(at), end: at + first.length };
      at += first.length;
      continue;
    }
    const blobs = storedFrom(layer, at, form);
    const piece: CopyPiece =
      blobs.length > 0
        ? { kind: 'stored', at: guestOffset(at), end: at + blobs.length * form.clusterSize, blobs }
        : {
            kind: 'data',
            at: guestOffset(alignDown(at, form.clusterSize)),
            end: dataEnd(layer, at + first.length, form),
          };
    yield piece;
    at = piece.end;
  }
}

/** What was never written counts as zeroes: nobody reads it (OPS-07). */
function look(
  layer: Layer,
  at: number,
  lengthMax: number,
): { readonly kind: 'absent' | 'zero' | 'data'; readonly length: number } {
  const rest = layer.size - at;
  const extent = layer.extentAt(guestOffset(at), rest);
  const { kind, length } = extent;
  if (kind !== 'data') return { kind, length };
  return extent.preallocated === true ? { kind: 'zero', length } : { kind, length: Math.min(length, lengthMax) };
}

function dataEnd(layer: Layer, from: number, form: CopyForm): number {
  const { clusterSize, lengthMax } = form;
  const border = Math.min(layer.size, alignDown(from - 1, clusterSize) + lengthMax);
  let end = from;
  while (end < border) {
    const next = look(layer, end, border - end);
    if (next.kind !== 'data' || storedAt(layer, end, form) !== undefined) break;
    end += next.length;
  }
  return Math.min(layer.size, border, alignUp(end, clusterSize));
}

function storedFrom(layer: Layer, at: number, form: CopyForm): readonly StoredCluster[] {
  const blobs: StoredCluster[] = [];
  let length = 0;
  for (let next = at; next - at < form.lengthMax; next += form.clusterSize) {
    const blob = storedAt(layer, next, form);
    if (blob === undefined) break;
    length += blob.packedLength;
    if (length > form.lengthMax && blobs.length > 0) break;
    blobs.push(blob);
  }
  return blobs;
}

/** The whole cluster at `at`, if the layer has it packed as the copy would. */
function storedAt(layer: Layer, at: number, { clusterSize, compressionType }: CopyForm): StoredCluster | undefined {
  if (compressionType === undefined || at % clusterSize !== 0 || at + clusterSize > layer.size) return undefined;
  const extent = layer.extentAt(guestOffset(at), clusterSize);
  if (extent.kind !== 'data' || !extent.compressed || extent.length < clusterSize) return undefined;
  const blob = layer.storedAt?.(guestOffset(at));
  return blob?.clusterSize === clusterSize && blob.compressionType === compressionType ? blob : undefined;
}
