// Everything an open image tells about itself (OPS-32, OPS-33).

import { decimalOf } from '../../base/integers.ts';
import { icountUnknown } from '../format/snapshot-table.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { ImageParts } from '../image-parts.ts';
import { readBitmaps } from '../metadata/bitmaps-in-use.ts';
import type { ImageDescription, SnapshotDescription } from './image-description.ts';

export function describe(parts: ImageParts): ImageDescription {
  const { file, geometry, header, version } = parts;
  const { backingName } = header;
  const { backingFormat } = header.extensions;
  return {
    virtualSize: header.virtualSize,
    fileSize: file.size,
    allocatedSize: file.allocatedSize,
    clusterSize: geometry.clusterSize,
    compat: version === 2 ? '0.10' : '1.1',
    compressionType: header.header.compressionType === 1 ? 'zstd' : 'zlib',
    refcountBits: geometry.refcountBits,
    lazyRefcounts: header.isLazy,
    extendedL2: geometry.extendedL2,
    dirty: header.isDirty,
    corrupt: header.isCorrupt,
    ...(backingName === undefined ? {} : { backingFileName: backingName }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
    snapshots: describeSnapshots(parts),
    bitmapCount: readBitmaps(file, header).length,
    zeroAlignment: geometry.subclusterSize,
    discardAlignment: geometry.clusterSize,
  };
}

/** In the order of the table (OPS-29). */
export function describeSnapshots(parts: ImageParts): readonly SnapshotDescription[] {
  return parts.snapshots.records.map((record) => describeSnapshot(record, parts.header.virtualSize));
}

/** `currentSize` stands in where the entry has no disk size (SNT-02). */
export function describeSnapshot(record: SnapshotRecord, currentSize: number): SnapshotDescription {
  const { icount, vmClock } = record;
  const unknown = icount.high === icountUnknown.high && icount.low === icountUnknown.low;
  return {
    id: record.id,
    name: record.name,
    virtualSize: record.virtualSize ?? currentSize,
    vmStateSize: record.vmStateSize,
    createdAtSeconds: record.seconds,
    createdAtNanoseconds: record.nanoseconds,
    vmClockNanoseconds: decimalOf(vmClock.high, vmClock.low),
    ...(unknown ? {} : { icount: decimalOf(icount.high, icount.low) }),
  };
}
