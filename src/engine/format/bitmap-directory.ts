// Entries of the bitmap directory and of bitmap tables (section "Bitmaps"; BMP-01…BMP-05).

import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { readUint64, viewOf } from './big-endian.ts';
import { textOf } from './header-extensions.ts';
import { hostOffset } from './offsets.ts';
import type { HostOffset } from './offsets.ts';

const bitmapFixedLength = 24;
/** BMP-02: somebody was writing; the bitmap is not to be trusted. */
export const bitmapInUseFlag = 1;
/** Where an entry keeps its flags. */
export const bitmapFlagsAt = 12;
/** BMP-05. */
const bitmapTableEntriesMax = 0x800_0000;
const bitmapNameLengthMax = 1023;
const granularityBitsMin = 9;
const granularityBitsMax = 31;
/** BMP-01: a dirty tracking bitmap, the only type there is. */
const bitmapType = 1;

/** One persistent bitmap. */
export interface BitmapRecord {
  readonly name: string;
  readonly tableOffset: HostOffset;
  readonly tableEntries: number;
  readonly flags: number;
  readonly granularityBits: number;
  /** Where the entry starts in the directory, in bytes. */
  readonly entryAt: number;
}

/** Decodes a whole directory of `count` entries. Faults `bitmap-directory-invalid`, `number-too-large`. */
export function decodeBitmapDirectory(bytes: Uint8Array, count: number): readonly BitmapRecord[] {
  const view = viewOf(bytes);
  const records: BitmapRecord[] = [];
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
    const nameAt = at + bitmapFixedLength + extraLength;
    if (nameAt + nameLength > bytes.length) throw new Fault('bitmap-directory-invalid', { index });
    const tableEntries = view.getUint32(at + 8);
    if (tableEntries > bitmapTableEntriesMax) throw new Fault('bitmap-directory-invalid', { index, tableEntries });
    records.push({
      name: textOf(bytes.subarray(nameAt, nameAt + nameLength)),
      tableOffset: hostOffset(readUint64(view, at, 'bitmap_table_offset')),
      tableEntries,
      flags: view.getUint32(at + bitmapFlagsAt),
      granularityBits,
      entryAt: at,
    });
    at = alignUp(nameAt + nameLength, 8);
  }
  return records;
}
