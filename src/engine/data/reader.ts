// Guest bytes out: one extent after the other, each from where it lies.

import { assert, unreachable } from '../../base/assert.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { ReadParts } from '../image-parts.ts';
import { askBelow } from '../layer/below.ts';
import { lookup } from '../mapping/lookup.ts';

/** Fills `target` with the bytes from `start` on; beyond the layer below there are zeroes. Faults of lookup and file. */
export function read(parts: ReadParts, start: GuestOffset, target: Uint8Array): void {
  let done = 0;
  while (done < target.length) {
    const at = guestOffset(start + done);
    const extent = lookup(parts, at, { lengthMax: target.length - done });
    assert(extent.length > 0, 'a lookup makes progress');
    assert(extent.length <= target.length - done, 'a lookup stays inside the request');
    const piece = target.subarray(done, done + extent.length);
    switch (extent.kind) {
      case 'data':
        parts.data.readAt(extent.host, at, piece);
        break;
      case 'zero':
        piece.fill(0);
        break;
      case 'compressed':
        readPacked(parts, at, { blob: extent, piece });
        break;
      case 'absent':
        readBelow(parts, at, piece);
        break;
      default:
        unreachable(extent);
    }
    done += extent.length;
  }
}

function readPacked(
  parts: ReadParts,
  at: GuestOffset,
  part: { readonly blob: Parameters<ReadParts['unpacked']['get']>[0]; readonly piece: Uint8Array },
): void {
  const inCluster = at % parts.geometry.clusterSize;
  part.piece.set(parts.unpacked.get(part.blob).subarray(inCluster, inCluster + part.piece.length));
}

/** The bytes of the layer below; zeroes where it ends (T13). */
function readBelow(parts: ReadParts, at: GuestOffset, piece: Uint8Array): void {
  const { backing } = parts;
  const inside = backing === undefined ? 0 : Math.max(0, Math.min(piece.length, backing.size - at));
  if (backing !== undefined && inside > 0) {
    askBelow(() => {
      backing.read(at, piece.subarray(0, inside));
    });
  }
  piece.fill(0, inside);
}
