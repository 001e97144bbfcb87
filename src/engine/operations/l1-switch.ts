// Another active L1 table: written elsewhere, then named by the header in one write (ORD-06).

import { divideUp } from '../../base/integers.ts';
import { hostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { runOf } from './open.ts';

/**
 * Switches to an L1 table with these bytes and returns where the old one lies, which is not guarded any more and still
 * counted; undefined without one. The switch is durable after the next flush. A fault before it leaves the old table.
 */
export function switchL1(parts: WriteParts, l1: Uint8Array): ClusterRun | undefined {
  const { mapping, geometry, file, header, order, overlap, allocator } = parts;
  const { clusterSize } = geometry;
  const before = mapping.place;
  const run = l1.length === 0 ? undefined : allocator.allocateRun(divideUp(l1.length, clusterSize));
  const place = { offset: hostOffset(run === undefined ? 0 : run.first * clusterSize), entries: l1.length / 8 };
  try {
    if (run !== undefined) {
      const whole = new Uint8Array(run.count * clusterSize);
      whole.set(l1);
      file.writeAt(place.offset, whole);
    }
    order.flush();
  } catch (error) {
    if (run !== undefined) allocator.undo(run);
    throw error;
  }
  header.switchDisk({ virtualSize: header.virtualSize, l1TableOffset: place.offset, l1Entries: place.entries });
  // From here on the new table counts, whether or not the next flush works.
  mapping.moveL1(place, l1);
  if (run !== undefined) overlap.claim(run, 'activeL1');
  if (before.entries === 0) return undefined;
  const old = runOf(before.offset, before.entries * 8, clusterSize);
  overlap.release(old, 'activeL1');
  return old;
}
