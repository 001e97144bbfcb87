// Guest bytes in as packed clusters; one that does not shrink becomes a cluster like any other (CMP-03, T40).

import { assert } from '../../base/assert.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { writeBlobs } from '../mapping/blob-mapper.ts';
import type { CodecResult } from '../transform/codec-task.ts';
import { write } from './writer.ts';
import { writeZeroRun } from './zero-detection.ts';

/**
 * Stores packed clusters for the guest clusters from `start` on; the last may reach beyond the end of the disk. Faults of
 * mapper and file: some clusters from the start may be written then.
 */
export function writePacked(parts: WriteParts, start: GuestOffset, packed: CodecResult): void {
  const { clusterSize } = parts.geometry;
  const { bytes, lengths } = packed;
  const diskEnd = parts.header.virtualSize;
  assert(start % clusterSize === 0, 'packed clusters start on a cluster');
  assert(start < diskEnd, 'packed clusters lie on the disk');
  let index = 0;
  let from = 0;
  while (index < lengths.length) {
    const at = guestOffset(start + index * clusterSize);
    const kind = kindOf(lengths[index] ?? 0, clusterSize);
    const run: number[] = [];
    let end = from;
    for (; index < lengths.length; index += 1) {
      const length = lengths[index] ?? 0;
      if (kindOf(length, clusterSize) !== kind) break;
      run.push(length);
      end += length;
    }
    const guestLength = Math.min(run.length * clusterSize, diskEnd - at);
    if (kind === 'zero') writeZeroRun(parts, at, guestLength);
    else if (kind === 'plain') write(parts, at, bytes.subarray(from, Math.min(end, from + guestLength)));
    else {
      parts.bitmaps.mark({ offset: at, length: guestLength });
      writeBlobs(parts, at, { bytes: bytes.subarray(from, end), lengths: run });
    }
    from = end;
  }
  parts.order.relieve();
}

function kindOf(length: number, clusterSize: number): 'zero' | 'plain' | 'packed' {
  assert(length >= 0, 'every cluster was packed');
  if (length === 0) return 'zero';
  return length === clusterSize ? 'plain' : 'packed';
}
