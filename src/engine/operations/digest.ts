// The digest of what the guest sees; what the tables say is zero is not read.

import { MiB } from '../../base/units.ts';
import { guestOffset } from '../format/offsets.ts';
import type { Layer } from '../layer/layer.ts';
import { ContentDigest } from '../transform/content-digest.ts';
import type { Steps } from './steps.ts';

/** How much one step reads and counts. */
const pieceLength = 1 * MiB;

/** The SHA-256 of all bytes of a layer, in hexadecimal digits; progress in bytes. */
export function* digest(layer: Layer): Steps<string> {
  const sum = new ContentDigest();
  const piece = new Uint8Array(Math.min(pieceLength, layer.size));
  const zeroes = new Uint8Array(piece.length);
  for (let at = 0; at < layer.size;) {
    const { kind, length } = layer.extentAt(guestOffset(at), Math.min(piece.length, layer.size - at));
    if (kind === 'data') {
      const target = piece.subarray(0, length);
      layer.read(guestOffset(at), target);
      sum.add(target);
    } else {
      sum.add(zeroes.subarray(0, length));
    }
    at += length;
    yield { done: at, total: layer.size };
  }
  return sum.end();
}
