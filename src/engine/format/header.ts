// The fixed part of the QCOW2 header, versions 2 and 3: bytes and values.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignDown, countMax } from '../../base/integers.ts';
import { MiB, sectorSize } from '../../base/units.ts';
import {
  readMask64,
  readUint64,
  readVirtualSize,
  viewOf,
  writeMask64,
  writeUint64,
  writeVirtualSize,
} from './big-endian.ts';
import { autoclearBits, bitsOf, emptyMask, hasBit, incompatibleBits } from './features.ts';
import type { Mask64 } from './features.ts';
import {
  clusterBitsMax,
  clusterBitsMin,
  extendedClusterBitsMin,
  geometryOf,
  l1EntriesFor,
  refcountOrderMax,
} from './geometry.ts';
import type { Geometry } from './geometry.ts';
import { hostOffset } from './offsets.ts';
import type { HostOffset } from './offsets.ts';
import { snapshotTableLengthMax } from './snapshot-table.ts';

/** `QFI\xfb` (FMT-01). */
export const magic = 0x5146_49fb;
/** Length of a version 2 header (FMT-02) and the smallest and the usual one of version 3 (FMT-03). */
export const headerLengthV2 = 72;
const headerLengthMinV3 = 104;
export const headerLengthV3 = 112;
/** LIM-07. */
export const backingNameLengthMax = 1023;
/** LIM-01: 32 MiB of L1 table. */
export const l1EntrySize = 8;
export const l1EntriesMax = (32 * MiB) / l1EntrySize;
/** LIM-02: 8 MiB of refcount table. */
export const refcountTableLengthMax = 8 * MiB;
/** LIM-03. */
export const snapshotCountMax = 65_536;

/** 0 none, 1 legacy AES, 2 LUKS (FMT-11). */
export type EncryptionMethod = 0 | 1 | 2;

/** The fixed header. Offsets and sizes in bytes; section "Header" of the QCOW2 specification. */
export interface Header {
  readonly version: 2 | 3;
  readonly backingNameOffset: number;
  readonly backingNameLength: number;
  readonly clusterBits: number;
  /** As stored; QEMU cuts it down to sectors, see {@link virtualSizeOf} (FMT-06). */
  readonly size: number;
  readonly encryptionMethod: EncryptionMethod;
  readonly l1Entries: number;
  readonly l1TableOffset: HostOffset;
  readonly refcountTableOffset: HostOffset;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: HostOffset;
  readonly incompatible: Mask64;
  readonly compatible: Mask64;
  readonly autoclear: Mask64;
  readonly refcountOrder: number;
  /** Length of the header itself: 72 for version 2. */
  readonly length: number;
  /** 0 deflate, 1 zstd. */
  readonly compressionType: 0 | 1;
  /** Bytes from 112 to `length`, kept as they are (FMT-04). */
  readonly unknownFields: Uint8Array;
}

/** The whole sectors of the stored size: what the guest sees (FMT-06). */
export function virtualSizeOf(header: Header): number {
  return alignDown(header.size, sectorSize);
}

export function headerGeometry(header: Header): Geometry {
  return geometryOf({
    clusterBits: header.clusterBits,
    extendedL2: hasBit(header.incompatible, incompatibleBits.extendedL2),
    refcountOrder: header.refcountOrder,
    externalData: hasDataFile(header),
  });
}

/** BIT-I2: the data lies in another file. */
export function hasDataFile(header: Header): boolean {
  return hasBit(header.incompatible, incompatibleBits.externalDataFile);
}

/** BIT-A1: the data file reads as the disk by itself. */
export function isDataFileRaw(header: Header): boolean {
  return hasBit(header.autoclear, autoclearBits.rawExternalData);
}

/**
 * Decodes and judges the fixed header from the first bytes of a file (at least 112, or all there are). Tables that
 * the header points to are judged by {@link judgeTables}; unknown incompatible bits by whoever opens the image.
 */
export function decodeHeader(bytes: Uint8Array): Header {
  if (bytes.length < 8) throw new Fault('header-truncated', { length: bytes.length });
  const view = viewOf(bytes);
  if (view.getUint32(0) !== magic) throw new Fault('magic-wrong', {});
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) throw new Fault('version-unsupported', { version });
  const fixedLength = version === 2 ? headerLengthV2 : headerLengthMinV3;
  if (bytes.length < fixedLength) throw new Fault('header-truncated', { length: bytes.length });

  const clusterBits = view.getUint32(20);
  if (clusterBits < clusterBitsMin || clusterBits > clusterBitsMax) {
    throw new Fault('cluster-bits-invalid', { clusterBits });
  }
  const clusterSize = 2 ** clusterBits;
  const length = version === 2 ? headerLengthV2 : view.getUint32(100);
  if (length < fixedLength || length > clusterSize) throw new Fault('header-length-invalid', { headerLength: length });
  if (bytes.length < length) throw new Fault('header-truncated', { length: bytes.length });

  const header: Header = {
    version,
    ...decodeBackingName(view, { headerLength: length, clusterSize }),
    clusterBits,
    size: readVirtualSize(view, 24),
    encryptionMethod: decodeEncryptionMethod(view.getUint32(32)),
    l1Entries: view.getUint32(36),
    l1TableOffset: hostOffset(readUint64(view, 40, 'l1_table_offset')),
    refcountTableOffset: hostOffset(readUint64(view, 48, 'refcount_table_offset')),
    refcountTableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: hostOffset(readUint64(view, 64, 'snapshots_offset')),
    incompatible: version === 2 ? emptyMask : readMask64(view, 72),
    compatible: version === 2 ? emptyMask : readMask64(view, 80),
    autoclear: version === 2 ? emptyMask : readMask64(view, 88),
    refcountOrder: version === 2 ? 4 : view.getUint32(96),
    length,
    compressionType: 0,
    unknownFields: version === 2 ? new Uint8Array(0) : bytes.slice(headerLengthV3, Math.max(length, headerLengthV3)),
  };
  const compressionByte = length > headerLengthMinV3 ? view.getUint8(headerLengthMinV3) : 0;
  return judged({ ...header, compressionType: decodeCompressionType(header, compressionByte) });
}

/** FMT-10; a name that begins inside the header itself is nobody's work and refused too. */
function decodeBackingName(
  view: DataView,
  room: { readonly headerLength: number; readonly clusterSize: number },
): Pick<Header, 'backingNameOffset' | 'backingNameLength'> {
  const backingNameOffset = readUint64(view, 8, 'backing_file_offset');
  const backingNameLength = view.getUint32(16);
  if (backingNameOffset === 0) return { backingNameOffset, backingNameLength: 0 };
  const inside = backingNameOffset >= room.headerLength && backingNameOffset <= room.clusterSize;
  const lengthMax = Math.min(backingNameLengthMax, room.clusterSize - backingNameOffset);
  if (!inside || backingNameLength > lengthMax) {
    throw new Fault('backing-name-invalid', { backingNameOffset, backingNameLength });
  }
  return { backingNameOffset, backingNameLength };
}

function decodeEncryptionMethod(value: number): EncryptionMethod {
  if (value !== 0 && value !== 1 && value !== 2) throw new Fault('encryption-method-invalid', { method: value });
  return value;
}

/** The type byte and incompatible bit 3 say the same, or the image is broken (BIT-I3). */
function decodeCompressionType(header: Header, byte: number): 0 | 1 {
  const declared = hasBit(header.incompatible, incompatibleBits.compressionType);
  if (declared !== (byte !== 0)) throw new Fault('compression-type-invalid', { compressionType: byte, declared });
  if (byte !== 0 && byte !== 1) throw new Fault('compression-type-unknown', { compressionType: byte });
  return byte;
}

function judged(header: Header): Header {
  if (header.refcountOrder > refcountOrderMax) {
    throw new Fault('refcount-order-invalid', { refcountOrder: header.refcountOrder });
  }
  if (hasBit(header.incompatible, incompatibleBits.extendedL2) && header.clusterBits < extendedClusterBitsMin) {
    throw new Fault('subcluster-size-invalid', { clusterBits: header.clusterBits });
  }
  if (isDataFileRaw(header) && !hasDataFile(header)) {
    throw new Fault('data-file-invalid', { reason: 'the data file is said to be raw, and there is none' });
  }
  return header;
}

/**
 * Judges what the header says of its tables (FMT-07…FMT-09, LIM-01…03). A check must get at broken images: it skips
 * the snapshot rules and the presence of a refcount table (OPS-02).
 */
export function judgeTables(header: Header, geometry: Geometry, use: { readonly forCheck: boolean }): void {
  // Aligned, behind the header, and its last byte still has a safe offset.
  const isPlace = (offset: number, length: number): boolean =>
    offset % geometry.clusterSize === 0 && (length === 0 || offset > 0) && offset <= countMax - length;
  if (header.l1Entries > l1EntriesMax || !isPlace(header.l1TableOffset, header.l1Entries * l1EntrySize)) {
    throw new Fault('l1-table-invalid', { l1Entries: header.l1Entries, hostOffset: header.l1TableOffset });
  }
  const needed = l1EntriesFor(geometry, virtualSizeOf(header));
  if (header.l1Entries < needed) throw new Fault('l1-table-too-small', { l1Entries: header.l1Entries, needed });
  const tableLength = header.refcountTableClusters * geometry.clusterSize;
  if (tableLength > refcountTableLengthMax || !isPlace(header.refcountTableOffset, tableLength)) {
    throw new Fault('refcount-table-invalid', { length: tableLength, hostOffset: header.refcountTableOffset });
  }
  if (use.forCheck) return;
  if (header.refcountTableClusters === 0) throw new Fault('refcount-table-invalid', { length: 0 });
  const snapshotsLengthMax = header.snapshotCount > 0 ? snapshotTableLengthMax : 0;
  if (
    header.snapshotCount > snapshotCountMax ||
    (header.snapshotCount > 0 && !isPlace(header.snapshotsOffset, snapshotsLengthMax))
  ) {
    throw new Fault('snapshot-table-invalid', { count: header.snapshotCount, hostOffset: header.snapshotsOffset });
  }
}

/** Encodes the fixed header, `header.length` bytes. */
export function encodeHeader(header: Header): Uint8Array {
  assert(header.version === 3 || header.length === headerLengthV2, 'a version 2 header has 72 bytes');
  assert(header.version === 3 || bitsOf(header.incompatible).length === 0, 'version 2 has no feature bits');
  const bytes = new Uint8Array(header.length);
  const view = viewOf(bytes);
  view.setUint32(0, magic);
  view.setUint32(4, header.version);
  writeUint64(view, 8, header.backingNameOffset);
  view.setUint32(16, header.backingNameLength);
  view.setUint32(20, header.clusterBits);
  writeVirtualSize(view, 24, header.size);
  view.setUint32(32, header.encryptionMethod);
  view.setUint32(36, header.l1Entries);
  writeUint64(view, 40, header.l1TableOffset);
  writeUint64(view, 48, header.refcountTableOffset);
  view.setUint32(56, header.refcountTableClusters);
  view.setUint32(60, header.snapshotCount);
  writeUint64(view, 64, header.snapshotsOffset);
  if (header.version === 2) return bytes;
  writeMask64(view, 72, header.incompatible);
  writeMask64(view, 80, header.compatible);
  writeMask64(view, 88, header.autoclear);
  view.setUint32(96, header.refcountOrder);
  view.setUint32(100, header.length);
  if (header.length > headerLengthMinV3) view.setUint8(headerLengthMinV3, header.compressionType);
  bytes.set(header.unknownFields, Math.min(headerLengthV3, header.length));
  return bytes;
}
