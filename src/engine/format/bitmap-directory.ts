// Entries of the bitmap directory (section "Bitmaps"; BMP-01, BMP-02, BMP-05). Entries follow each other at multiples of 8.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { readUint64, viewOf, writeUint64 } from './big-endian.ts';
import { textOf } from './header-extensions.ts';
import { hostOffset } from './offsets.ts';
import type { HostOffset } from './offsets.ts';

const bitmapFixedLength = 24;
/** BMP-02: somebody was writing; the bitmap is not to be trusted. */
export const bitmapInUseFlag = 1;
/** BMP-02: the bitmap tells of every change of the disk. */
export const bitmapAutoFlag = 2;
/** BMP-02: who does not know the extra data may use the bitmap all the same. */
export const bitmapExtraCompatibleFlag = 4;
/** Where an entry keeps its flags. */
export const bitmapFlagsAt = 12;
/** BMP-05. */
const bitmapTableEntriesMax = 0x800_0000;
export const bitmapNameLengthMax = 1023;
export const granularityBitsMin = 9;
export const granularityBitsMax = 31;
/** BMP-01: a dirty tracking bitmap, the only type there is. */
const bitmapType = 1;

/** One persistent bitmap. */
export interface BitmapRecord {
  readonly name: string;
  /** The name as stored, for bytes that are no UTF-8. */
  readonly nameBytes: Uint8Array;
  readonly tableOffset: HostOffset;
  readonly tableEntries: number;
  readonly flags: number;
  readonly granularityBits: number;
  /** Extra data as stored: nobody knows any yet. */
  readonly extra: Uint8Array;
  /** Where the entry starts in the directory, in bytes. */
  readonly entryAt: number;
}

/** Decodes a whole directory of `count` entries. Faults `bitmap-directory-invalid`, `number-too-large`. */
export function decodeBitmapDirectory(bytes: Uint8Array, count: number): readonly BitmapRecord[] {
  const view = viewOf(bytes);
  const records: BitmapRecord[] = [];
  const names = new Set<string>();
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (at + bitmapFixedLength > bytes.length) throw new Fault('bitmap-directory-invalid', { index });
    const nameLength = view.getUint16(at + 18);
    const extraLength = view.getUint32(at + 20);
    if (view.getUint8(at + 16) !== bitmapType) throw new Fault('bitmap-directory-invalid', { index, reason: 'type' });
    if (nameLength < 1 || nameLength > bitmapNameLengthMax)
      throw new Fault('bitmap-directory-invalid', { index, nameLength });
    const granularityBits = view.getUint8(at + 17);
    if (granularityBits < granularityBitsMin || granularityBits > granularityBitsMax) {
      throw new Fault('bitmap-directory-invalid', { index, granularityBits });
    }
    const extraAt = at + bitmapFixedLength;
    const nameAt = extraAt + extraLength;
    if (nameAt + nameLength > bytes.length) throw new Fault('bitmap-directory-invalid', { index });
    const tableEntries = view.getUint32(at + 8);
    if (tableEntries > bitmapTableEntriesMax) throw new Fault('bitmap-directory-invalid', { index, tableEntries });
    const nameBytes = bytes.slice(nameAt, nameAt + nameLength);
    // By bytes: names that are no UTF-8 may look alike as text.
    const key = String.fromCharCode(...nameBytes);
    if (names.has(key)) throw new Fault('bitmap-directory-invalid', { index, reason: 'name' });
    names.add(key);
    records.push({
      name: textOf(nameBytes),
      nameBytes,
      tableOffset: hostOffset(readUint64(view, at, 'bitmap_table_offset')),
      tableEntries,
      flags: view.getUint32(at + bitmapFlagsAt),
      granularityBits,
      extra: extraLength === 0 ? noBytes : bytes.slice(extraAt, nameAt),
      entryAt: at,
    });
    at = alignUp(nameAt + nameLength, 8);
  }
  return records;
}

const noBytes = new Uint8Array(0);

/** A record before it has its place in a directory. */
export type NewBitmapRecord = Omit<BitmapRecord, 'entryAt' | 'name'>;

/** Encodes a whole directory: every entry padded to 8 bytes, the last one too, as QEMU counts its length. */
export function encodeBitmapDirectory(records: readonly NewBitmapRecord[]): Uint8Array {
  const starts: number[] = [];
  let length = 0;
  for (const record of records) {
    starts.push(length);
    length += bitmapEntryLength(record);
  }
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  records.forEach((record, index) => {
    const { nameBytes, extra } = record;
    assert(nameBytes.length >= 1 && nameBytes.length <= bitmapNameLengthMax, 'a bitmap has a name of 1 to 1023 bytes');
    assert(record.tableEntries <= bitmapTableEntriesMax, 'a bitmap table stays inside its limit');
    const at = starts[index] ?? 0;
    writeUint64(view, at, record.tableOffset);
    view.setUint32(at + 8, record.tableEntries);
    view.setUint32(at + bitmapFlagsAt, record.flags);
    view.setUint8(at + 16, bitmapType);
    view.setUint8(at + 17, record.granularityBits);
    view.setUint16(at + 18, nameBytes.length);
    view.setUint32(at + 20, extra.length);
    bytes.set(extra, at + bitmapFixedLength);
    bytes.set(nameBytes, at + bitmapFixedLength + extra.length);
  });
  return bytes;
}

/** Bytes of one entry with its padding. */
export function bitmapEntryLength(record: Pick<BitmapRecord, 'nameBytes' | 'extra'>): number {
  return alignUp(bitmapFixedLength + record.extra.length + record.nameBytes.length, 8);
}
