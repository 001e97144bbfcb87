// What is known to read as zeroes without a look at the data.

import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { guestOffset } from '../format/offsets.ts';
import type { ReadParts } from '../image-parts.ts';
import { ImageLayer } from './image-layer.ts';

/** Whether the tables of all layers say that every byte of a span of the disk is zero. An empty span is. */
export function isKnownZero(parts: ReadParts, span: ByteSpan): boolean {
  const layer = new ImageLayer(parts, { size: endOf(span), close: () => undefined });
  let at = span.offset;
  while (at < endOf(span)) {
    const extent = layer.extentAt(guestOffset(at), endOf(span) - at);
    if (extent.kind === 'data') return false;
    at += extent.length;
  }
  return true;
}
