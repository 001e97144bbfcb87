// Guest bytes in: in place where the clusters are ours alone, else through the mapper.

import { assert } from '../../base/assert.ts';
import type { ByteSource } from '../file/file-span.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { ReadParts, WriteParts } from '../image-parts.ts';
import { lookup } from '../mapping/lookup.ts';
import { admitData, writeUnowned } from '../mapping/mapper.ts';
import { isKnownZero } from './known-zeroes.ts';
import { read } from './reader.ts';

/**
 * Writes all of `source` from `start` on; the span lies inside the disk. Faults of mapper and file: a part from the
 * start may be written then.
 */
export function write(parts: WriteParts, start: GuestOffset, source: ByteSource): void {
  parts.bitmaps.mark({ offset: start, length: source.length });
  let done = 0;
  while (done < source.length) {
    const at = guestOffset(start + done);
    const rest = source.subarray(done);
    const length = writeSome(parts, at, rest);
    assert(length > 0 && length <= rest.length, 'a write makes progress inside the request');
    done += length;
  }
  parts.order.relieve();
}

function writeSome(parts: WriteParts, at: GuestOffset, rest: ByteSource): number {
  const extent = lookup(parts, at, { lengthMax: rest.length });
  const ownTable = parts.mapping.ownsL2Table(Math.floor(at / parts.geometry.l2Span));
  // An entry of a shared table may still say "owned": the table decides first (T03, MAP-04).
  if (extent.kind === 'data' && extent.owned && ownTable) {
    admitData(parts, { offset: extent.host, length: extent.length });
    parts.data.writeAt(extent.host, at, rest.subarray(0, extent.length));
    return extent.length;
  }
  const source = rest.subarray(0, extentEnd(parts, at, rest.length));
  return writeUnowned(parts, at, {
    source,
    before: {
      read: (offset, target) => {
        read(parts, offset, target);
      },
      isZero: (offset, length) => isKnownZero(parts, { offset, length }),
    },
  });
}

/** Whether all of a span is data whose clusters are ours alone: writing it touches no table. */
export function overwrites(parts: ReadParts, start: GuestOffset, length: number): boolean {
  let done = 0;
  while (done < length) {
    const at = guestOffset(start + done);
    const extent = lookup(parts, at, { lengthMax: length - done });
    if (extent.kind !== 'data' || !extent.owned) return false;
    if (!parts.mapping.ownsL2Table(Math.floor(at / parts.geometry.l2Span))) return false;
    done += extent.length;
  }
  return true;
}

/** The end of the L2 slice, so that one call changes one slice. */
function extentEnd(parts: WriteParts, at: GuestOffset, length: number): number {
  const sliceSpan = parts.mapping.entriesPerSlice * parts.geometry.clusterSize;
  return Math.min(length, sliceSpan - (at % sliceSpan));
}
