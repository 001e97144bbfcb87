// Everything an open image tells about itself (OPS-32, OPS-33).

import { decimalOf } from '../../base/integers.ts';
import { icountUnknown } from '../format/snapshot-table.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { ImageParts } from '../image-parts.ts';
import { describeEncryption } from './describe-encryption.ts';
import { readBitmaps } from '../metadata/dirty-bitmaps.ts';
import type { FoundSnapshot, ImageDescription, SnapshotDescription, SnapshotPageQuery } from './image-description.ts';

export function describe(parts: ImageParts): ImageDescription {
  const { file, dataFile, geometry, header, version } = parts;
  const { backingName } = header;
  const { backingFormat, dataFileName } = header.extensions;
  const encryption = describeEncryption(parts);
  return {
    virtualSize: header.virtualSize,
    fileSize: file.size,
    allocatedSize: file.allocatedSize + (dataFile?.allocatedSize ?? 0),
    clusterSize: geometry.clusterSize,
    compat: version === 2 ? '0.10' : '1.1',
    compressionType: header.header.compressionType === 1 ? 'zstd' : 'zlib',
    refcountBits: geometry.refcountBits,
    lazyRefcounts: header.isLazy,
    extendedL2: geometry.extendedL2,
    ...(encryption === undefined ? {} : { encryption }),
    dirty: header.isDirty,
    corrupt: header.isCorrupt,
    ...(backingName === undefined ? {} : { backingFileName: backingName }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
    ...(dataFileName === undefined ? {} : { dataFileName }),
    ...(header.hasDataFile ? { dataFileRaw: header.isDataFileRaw } : {}),
    snapshotCount: parts.snapshots.count,
    snapshotIdMax: parts.snapshots.idMax(snapshotIdCountable),
    bitmapCount: readBitmaps(file, header).length,
  };
}

/** QEMU counts snapshot ids in 32 bits; foreign ids beyond that are nothing to count on from. */
const snapshotIdCountable = 0xffff_fffe;

/** Those of a page that there are, in the order of the table (OPS-29). */
export function describeSnapshots(parts: ImageParts, page: SnapshotPageQuery): readonly SnapshotDescription[] {
  const { snapshots, header } = parts;
  const length = Math.max(0, Math.min(page.limit, snapshots.count - page.from));
  return Array.from({ length }, (_, index) => describeSnapshot(snapshots.at(page.from + index), header.virtualSize));
}

/** By id, else by name. */
export function findSnapshot({ snapshots, header }: ImageParts, snapshot: string): FoundSnapshot | undefined {
  const index = snapshots.indexOf(snapshot);
  if (index === undefined) return undefined;
  return { index, snapshot: describeSnapshot(snapshots.at(index), header.virtualSize) };
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
