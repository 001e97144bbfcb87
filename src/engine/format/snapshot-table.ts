// Entries of the snapshot table (section "Snapshots"; SNT-01…SNT-05). Entries follow each other at multiples of 8.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignDown, highHalf, lowHalf } from '../../base/integers.ts';
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
import type { Mask64 } from './features.ts';
import { bytesOf, textOf } from './header-extensions.ts';
import { hostOffset } from './offsets.ts';
import type { HostOffset } from './offsets.ts';

/** Bytes of an entry before its extra data, id and name. */
export const snapshotFixedLength = 40;
/** What QEMU writes as extra data: VM state size, disk size, icount (SNT-02). */
const knownExtraLength = 24;
/** Version 3 entries have at least VM state size and disk size. */
export const extraLengthMinV3 = 16;
/** SNT-04. */
export const extraLengthMax = 1024;
/** SNT-05: ids and names have 16-bit lengths. */
const textLengthMax = 0xffff;
/** SNT-05. */
export const snapshotTableLengthMax = 64 * MiB;
/** An icount of all ones is "unknown" (T70). */
export const icountUnknown: Mask64 = { high: 0xffff_ffff, low: 0xffff_ffff };

/** One entry. Sizes in bytes. */
export interface SnapshotRecord {
  readonly l1TableOffset: HostOffset;
  readonly l1Entries: number;
  /** A decimal string when QEMU or we wrote it. */
  readonly id: string;
  readonly name: string;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly vmClock: Mask64;
  /** The 64-bit size from the extra data where there is one, else the 32-bit one (T73). */
  readonly vmStateSize: number;
  /** The disk size at that moment, cut down to sectors (FMT-06); undefined: the entry does not say, the current size holds. */
  readonly virtualSize: number | undefined;
  readonly icount: Mask64;
  /** Bytes of extra data as stored. */
  readonly extraLength: number;
  /** Extra data behind the known 24 bytes, kept as it is. */
  readonly unknownExtra: Uint8Array;
  /** Id and name as stored, for bytes that are no UTF-8. */
  readonly idBytes: Uint8Array;
  readonly nameBytes: Uint8Array;
}

/** What of an entry changes with its VM state. */
export type SnapshotTree = Pick<SnapshotRecord, 'l1TableOffset' | 'l1Entries' | 'vmStateSize'>;

/** The length of the entry that begins at `at`, without padding; its first {@link snapshotFixedLength} bytes are there. */
export function snapshotEntryLength(view: DataView, at: number): number {
  return snapshotFixedLength + view.getUint32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14);
}

/** Whether the entry that begins at `at` has more extra data than any reader accepts (SNT-04). */
export function hasTooMuchExtra(view: DataView, at: number): boolean {
  return view.getUint32(at + 36) > extraLengthMax;
}

/**
 * Decodes one entry of exactly {@link snapshotEntryLength} bytes. Faults `snapshot-table-invalid`,
 * `number-too-large`, `virtual-size-too-large`.
 */
export function decodeSnapshotEntry(entry: Uint8Array): SnapshotRecord {
  const view = viewOf(entry);
  assert(entry.length === snapshotEntryLength(view, 0), 'a snapshot entry is given whole');
  const extraLength = view.getUint32(36);
  if (extraLength > extraLengthMax) throw new Fault('snapshot-table-invalid', { extraLength });
  const idStart = snapshotFixedLength + extraLength;
  const nameStart = idStart + view.getUint16(12);
  const idBytes = bytesBetween(entry, idStart, nameStart);
  const nameBytes = bytesBetween(entry, nameStart, entry.length);
  return {
    l1TableOffset: hostOffset(readUint64(view, 0, 'snapshot l1_table_offset')),
    l1Entries: view.getUint32(8),
    id: textOf(idBytes),
    name: textOf(nameBytes),
    seconds: view.getUint32(16),
    nanoseconds: view.getUint32(20),
    vmClock: readMask64(view, 24),
    vmStateSize: extraLength >= 8 ? readUint64(view, 40, 'snapshot VM state size') : view.getUint32(32),
    virtualSize: extraLength >= 16 ? alignDown(readVirtualSize(view, 48), sectorSize) : undefined,
    icount: extraLength >= 24 ? readMask64(view, 56) : icountUnknown,
    extraLength,
    unknownExtra: bytesBetween(entry, snapshotFixedLength + Math.min(extraLength, knownExtraLength), idStart),
    idBytes,
    nameBytes,
  };
}

/** A copy; all empty ones are the same. */
function bytesBetween(entry: Uint8Array, start: number, end: number): Uint8Array {
  return start === end ? noBytes : entry.slice(start, end);
}

const noBytes = new Uint8Array(0);

/** A new entry; id and name in UTF-8. */
export function newSnapshotRecord(
  facts: Omit<SnapshotRecord, 'extraLength' | 'unknownExtra' | 'idBytes' | 'nameBytes'>,
): SnapshotRecord {
  return {
    ...facts,
    extraLength: knownExtraLength,
    unknownExtra: noBytes,
    idBytes: bytesOf(facts.id),
    nameBytes: bytesOf(facts.name),
  };
}

/**
 * Encodes one entry without padding. Known extra data is always written, as QEMU does; `currentSize` stands in where
 * the entry has no disk size of its own.
 */
export function encodeSnapshotEntry(record: SnapshotRecord, currentSize: number): Uint8Array {
  const { idBytes, nameBytes, unknownExtra } = record;
  const extraLength = knownExtraLength + unknownExtra.length;
  assert(extraLength <= extraLengthMax, 'extra data stays inside its limit');
  assert(idBytes.length <= textLengthMax && nameBytes.length <= textLengthMax, 'id and name have at most 65535 bytes');
  const entry = new Uint8Array(snapshotFixedLength + extraLength + idBytes.length + nameBytes.length);
  const view = viewOf(entry);
  writeUint64(view, 0, record.l1TableOffset);
  view.setUint32(8, record.l1Entries);
  view.setUint16(12, idBytes.length);
  view.setUint16(14, nameBytes.length);
  view.setUint32(16, record.seconds);
  view.setUint32(20, record.nanoseconds);
  writeMask64(view, 24, record.vmClock);
  view.setUint32(36, extraLength);
  writeVmStateSize(view, 0, record.vmStateSize);
  writeVirtualSize(view, 48, record.virtualSize ?? currentSize);
  writeMask64(view, 56, record.icount);
  entry.set(unknownExtra, snapshotFixedLength + knownExtraLength);
  entry.set(idBytes, snapshotFixedLength + extraLength);
  entry.set(nameBytes, snapshotFixedLength + extraLength + idBytes.length);
  return entry;
}

/** Points the complete entry that begins at `at` to another L1 table. */
export function rebindTree(view: DataView, at: number, tree: SnapshotTree): void {
  assert(view.getUint32(at + 36) >= knownExtraLength, 'the entry is complete');
  writeUint64(view, at, tree.l1TableOffset);
  view.setUint32(at + 8, tree.l1Entries);
  writeVmStateSize(view, at, tree.vmStateSize);
}

/** SNT-03: 64 bits in the extra data; in the old place a state that does not fit 32 bits shows as none. */
function writeVmStateSize(view: DataView, at: number, size: number): void {
  view.setUint32(at + 32, highHalf(size) === 0 ? lowHalf(size) : 0);
  writeUint64(view, at + snapshotFixedLength, size);
}

/** How much extra data an entry has once it is complete. */
export function completedExtraLength(extraLength: number): number {
  return Math.max(Math.min(extraLength, extraLengthMax), knownExtraLength);
}

/**
 * Makes the entry that begins at `at` complete: what its first `keptExtra` bytes of extra data do not say is filled in as
 * a reader takes it (SNT-02, T70, T73). There is room for {@link completedExtraLength} bytes of extra data.
 */
export function completeExtra(
  view: DataView,
  at: number,
  entry: { readonly keptExtra: number; readonly currentSize: number },
): void {
  const { keptExtra, currentSize } = entry;
  const extraAt = at + snapshotFixedLength;
  view.setUint32(at + 36, completedExtraLength(keptExtra));
  if (keptExtra < 8) writeUint64(view, extraAt, view.getUint32(at + 32));
  // SNT-03, as above.
  view.setUint32(at + 32, view.getUint32(extraAt) === 0 ? view.getUint32(extraAt + 4) : 0);
  if (keptExtra < 16) writeVirtualSize(view, extraAt + 8, currentSize);
  if (keptExtra < knownExtraLength) writeMask64(view, extraAt + 16, icountUnknown);
}
