// Where the state of a virtual machine lies in a snapshot's tree (MAP-11): behind the last L2 table that its disk needs.
//
//   L1 of a snapshot   │ disk ─────────────────── │ VM state ──────── │
//                      0        l1EntriesFor(disk size)       l1Entries

import type { ByteSpan } from '../../base/byte-span.ts';
import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import type { Geometry } from '../format/geometry.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { l1EntriesMax } from '../format/header.ts';
import { virtualSizeMax } from '../format/offsets.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';

/**
 * The VM state of a snapshot, as a span of guest offsets behind its disk; empty without one. `currentSize` stands in where
 * the entry has no disk size. Fault `content-too-large` when it reaches beyond what an engine can name.
 */
export function vmStateSpan(geometry: Geometry, record: SnapshotRecord, currentSize: number): ByteSpan {
  const offset = vmStateL1Start(geometry, record, currentSize) * geometry.l2Span;
  const length = record.vmStateSize;
  if (length > 0 && offset + length > virtualSizeMax) {
    throw new Fault('content-too-large', { lengthMax: Math.max(0, virtualSizeMax - offset) });
  }
  return { offset, length };
}

/** The first slot of the L1 table that the disk does not need. */
export function vmStateL1Start(geometry: Geometry, record: SnapshotRecord, currentSize: number): number {
  return l1EntriesFor(geometry, record.virtualSize ?? currentSize);
}

/** How many slots an L1 table has with a VM state of so many bytes. Fault `content-too-large` (LIM-01). */
export function l1EntriesWithState(geometry: Geometry, l1Start: number, length: number): number {
  const offset = l1Start * geometry.l2Span;
  const lengthMax = Math.max(0, Math.min(virtualSizeMax - offset, (l1EntriesMax - l1Start) * geometry.l2Span));
  if (length > lengthMax) throw new Fault('content-too-large', { lengthMax });
  return l1Start + divideUp(length, geometry.l2Span);
}
