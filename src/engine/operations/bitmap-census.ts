// Books what the persistent bitmaps own: directory, tables and data (BMP-01…BMP-05).

import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { viewOf } from '../format/big-endian.ts';
import { bitmapEntryLength, bitmapInUseFlag, decodeBitmapDirectory } from '../format/bitmap-directory.ts';
import type { BitmapRecord } from '../format/bitmap-directory.ts';
import {
  bitmapBitsFor,
  bitmapLengthMax,
  bitmapTableEntriesFor,
  bitmapTableEntrySize,
  isBitmapTableEntrySound,
} from '../format/bitmap-table.ts';
import { autoclearBits, hasBit } from '../format/features.ts';
import type { BitmapsExtension } from '../format/header-extensions.ts';
import { virtualSizeOf } from '../format/header.ts';
import { entryOffset } from '../format/l1-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { CheckSubject } from './check-subject.ts';
import type { Pace } from './pace.ts';
import type { ReferenceLedger } from './reference-ledger.ts';
import type { Steps } from './steps.ts';
import { TableCover } from './table-cover.ts';
import type { CoveredStretch } from './table-cover.ts';

const readLength = MiB;
/** BMP-02: in use and auto are known; QEMU refuses the rest. */
const knownFlags = 3;

/**
 * Books the bitmaps whose promise the autoclear bit keeps (BIT-A0). False when directory or tables are damaged: what
 * they own is then unknown, and the log has a corruption and a check error.
 */
export function* bookBitmaps(subject: CheckSubject, ledger: ReferenceLedger, pace: Pace): Steps<boolean> {
  const extension = subject.extensions.bitmaps;
  if (extension === undefined || !hasBit(subject.header.autoclear, autoclearBits.bitmaps)) return true;
  const { directoryOffset, directoryLength } = extension;
  ledger.book({
    offset: directoryOffset,
    length: directoryLength,
    times: 1,
    finding: () => ({ hostOffset: directoryOffset, message: 'The bitmap directory reaches past the end of the file.' }),
  });
  const records = readDirectory(subject, extension);
  if (records === undefined) return broken(ledger, directoryOffset, 'The bitmap directory');
  const tables = new TableCover();
  for (const { tableOffset: offset, tableEntries } of records) {
    const length = tableEntries * bitmapTableEntrySize;
    tables.add(offset, length);
    const finding = () => ({ hostOffset: offset, message: 'A bitmap table reaches past the end of the file.' });
    ledger.book({ offset, length, times: 1, finding });
  }
  for (const stretch of tables.stretches(alignUp(subject.file.size, bitmapTableEntrySize))) {
    const isSound = yield* bookTable({ subject, ledger, pace }, stretch);
    if (!isSound) return broken(ledger, stretch.offset, 'A bitmap table');
  }
  return true;
}

function broken(ledger: ReferenceLedger, at: number, what: string): false {
  ledger.log.corruption(1, () => ({ hostOffset: at, message: `${what} breaks the rules of the format.` }));
  ledger.log.error(1, () => ({
    hostOffset: at,
    message: 'What the bitmaps own cannot be counted; remove the bitmaps and check again.',
  }));
  return false;
}

/** The records, or undefined where QEMU would not load the directory. */
function readDirectory(subject: CheckSubject, extension: BitmapsExtension): readonly BitmapRecord[] | undefined {
  const { file } = subject;
  const { count, directoryLength, directoryOffset } = extension;
  // Every entry has a name: a directory that mostly lies outside the file is broken, and not worth the memory.
  if (directoryOffset + directoryLength > file.size + subject.geometry.clusterSize) return undefined;
  const bytes = new Uint8Array(directoryLength);
  file.readAt(directoryOffset, bytes);
  const records = decoded(bytes, count);
  if (records === undefined) return undefined;
  const isSound = records.every((record) => isRecordSound(subject, record));
  const last = records.at(-1);
  const isFilled = last !== undefined && last.entryAt + bitmapEntryLength(last) === directoryLength;
  return isSound && isFilled ? records : undefined;
}

function decoded(bytes: Uint8Array, count: number): readonly BitmapRecord[] | undefined {
  try {
    return decodeBitmapDirectory(bytes, count);
  } catch (thrown) {
    if (thrown instanceof Fault) return undefined;
    throw thrown;
  }
}

function isRecordSound(subject: CheckSubject, record: BitmapRecord): boolean {
  const { clusterSize } = subject.geometry;
  const { tableOffset, tableEntries, flags, granularityBits, extra } = record;
  if (extra.length > 0) return false;
  if (tableEntries === 0 || tableOffset === 0 || tableOffset % clusterSize !== 0) return false;
  if ((flags & ~knownFlags) !== 0 || tableEntries * clusterSize > bitmapLengthMax) return false;
  if ((flags & bitmapInUseFlag) !== 0) return true;
  const bits = bitmapBitsFor(virtualSizeOf(subject.header), granularityBits);
  return tableEntries === bitmapTableEntriesFor(bits, clusterSize);
}

/** Books the data clusters of the tables that lie over one stretch; false at an entry that breaks its rules. */
function* bookTable(
  { subject, ledger, pace }: { readonly subject: CheckSubject; readonly ledger: ReferenceLedger; readonly pace: Pace },
  stretch: CoveredStretch,
): Steps<boolean> {
  const { clusterSize } = subject.geometry;
  const buffer = new Uint8Array(Math.min(readLength, stretch.length));
  for (let done = 0; done < stretch.length; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, stretch.length - done));
    subject.file.readAt(hostOffset(stretch.offset + done), piece);
    const view = viewOf(piece);
    for (let at = 0; at < piece.length; at += bitmapTableEntrySize) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const offset = entryOffset(high, low);
      if (!isBitmapTableEntrySound(high, low, clusterSize)) return false;
      if (offset === 0) continue;
      ledger.book({
        offset,
        length: clusterSize,
        times: stretch.tables,
        finding: () => ({
          hostOffset: stretch.offset + done + at,
          message: 'A bitmap table entry points past the end of the file.',
        }),
      });
    }
    const pause = pace.spend(piece.length);
    if (pause !== undefined) yield pause;
  }
  return true;
}
