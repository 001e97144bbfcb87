// Guest bytes in as packed clusters; one that does not shrink becomes a cluster like any other (CMP-03, T40).

import { assert } from '../../base/assert.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { writeBlobs } from '../mapping/blob-mapper.ts';
import type { PackedClusters } from '../transform/packing.ts';
import { write } from './writer.ts';

/**
 * Stores packed clusters for the guest clusters from `start` on; the last may reach beyond the end of the disk. Faults of
 * mapper and file: some clusters from the start may be written then.
 */
export function writePacked(parts: WriteParts, start: GuestOffset, packed: PackedClusters): void {
  const { clusterSize } = parts.geometry;
  const { bytes, lengths } = packed;
  const diskEnd = parts.header.virtualSize;
  assert(start % clusterSize === 0, 'packed clusters start on a cluster');
  assert(start < diskEnd, 'packed clusters lie on the disk');
  parts.bitmaps.mark({ offset: start, length: Math.min(lengths.length * clusterSize, diskEnd - start) });
  let index = 0;
  let from = 0;
  while (index < lengths.length) {
    const at = guestOffset(start + index * clusterSize);
    const isPlain = lengths[index] === clusterSize;
    const run: number[] = [];
    let end = from;
    for (; index < lengths.length && (lengths[index] === clusterSize) === isPlain; index += 1) {
      const length = lengths[index] ?? 0;
      run.push(length);
      end += length;
    }
    if (isPlain) write(parts, at, bytes.subarray(from, Math.min(end, from + diskEnd - at)));
    else writeBlobs(parts, at, { bytes: bytes.subarray(from, end), lengths: run });
    from = end;
  }
  parts.order.relieve();
}
