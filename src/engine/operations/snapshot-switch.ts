// The snapshot table and the L1 tables that it names, written beside the old ones and switched to by the header
// (SNT-08, ORD-09).

import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import { ownedBit } from '../format/l1-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { PackedSnapshots } from '../format/packed-snapshots.ts';
import type { WriteParts } from '../image-parts.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { runOf } from './open.ts';

/** DAT-01: a cluster of a data file has one place only, so what it held before is nowhere. Fault `unsupported-option`. */
export function refuseDataFile({ geometry }: Pick<WriteParts, 'geometry'>): void {
  if (!geometry.externalData) return;
  const reason = 'an image with an external data file has no internal snapshots';
  throw new Fault('unsupported-option', { option: 'snapshot', reason });
}

/** Where a snapshot that is to be changed or used stands in the table; faults `snapshot-not-found`, `unsupported-option`. */
export function requireSnapshot(parts: WriteParts, snapshot: string): number {
  refuseDataFile(parts);
  const index = parts.snapshots.indexOf(snapshot);
  if (index === undefined) throw new Fault('snapshot-not-found', { snapshot });
  return index;
}

/**
 * Writes a new snapshot table and switches to it; the old one is dropped (SNT-08). A fault leaves the old one. The switch
 * is durable after the next flush, and so are the drops that wait for it.
 */
export function publish(parts: WriteParts, table: PackedSnapshots): void {
  const { header, geometry, order, overlap, snapshots, allocator } = parts;
  const run = writeBytes(parts, table.bytes);
  const offset = offsetOf(run, geometry.clusterSize);
  try {
    order.flush();
    header.switchSnapshots({ offset, count: table.count });
  } catch (error) {
    if (run !== undefined) allocator.undo(run);
    throw error;
  }
  const before = snapshots.place;
  snapshots.replace(table, offset);
  overlap.snapshotsChanged();
  if (run !== undefined) overlap.claim(run, 'snapshotTable');
  if (before.length === 0) return;
  const old = runOf(before.offset, before.length, geometry.clusterSize);
  overlap.release(old, 'snapshotTable');
  order.drop(old, { punch: true });
}

/** Writes bytes into new clusters in a row; none for no bytes. A fault leaves none. */
export function writeBytes(parts: WriteParts, bytes: Uint8Array): ClusterRun | undefined {
  if (bytes.length === 0) return undefined;
  const { clusterSize } = parts.geometry;
  const run = parts.allocator.allocateRun(divideUp(bytes.length, clusterSize));
  const whole = new Uint8Array(run.count * clusterSize);
  whole.set(bytes);
  try {
    parts.file.writeAt(hostOffset(run.first * clusterSize), whole);
  } catch (error) {
    parts.allocator.undo(run);
    throw error;
  }
  return run;
}

/** Where a run lies in the file; 0 for none. */
export function offsetOf(run: ClusterRun | undefined, clusterSize: number): HostOffset {
  return hostOffset(run === undefined ? 0 : run.first * clusterSize);
}

/** An L1 table of an inactive tree: no entry is owned (T01). */
export function unowned(l1: Uint8Array): Uint8Array {
  const view = viewOf(l1);
  for (let at = 0; at < l1.length; at += 8) view.setUint32(at, view.getUint32(at) & ~ownedBit);
  return l1;
}
