// The persistent bitmaps of an open image: what they are, and the marks that every change of the disk leaves in them.
//
//   opened      ─ nothing is written; bitmaps are read when somebody asks
//   first change─ enabled ones are marked as in use in the file, durably: a crash from here on leaves them inconsistent
//   changes     ─ bits are set in memory
//   close       ─ stored, and the mark goes (operations/bitmap-store.ts)

import type { ByteSpan } from '../../base/byte-span.ts';
import { Fault } from '../../base/fault.ts';
import { MiB } from '../../base/units.ts';
import type { TrackedFile } from '../file/tracked-file.ts';
import { viewOf } from '../format/big-endian.ts';
import { bitmapFlagsAt, bitmapInUseFlag, decodeBitmapDirectory } from '../format/bitmap-directory.ts';
import type { BitmapRecord } from '../format/bitmap-directory.ts';
import { bitmapDirectoryLengthMax } from '../format/header-extensions.ts';
import { hostOffset } from '../format/offsets.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import type { BitmapPlace } from './dirty-bitmap.ts';
import type { HeaderArea } from './header-area.ts';

/** Bytes of tables of enabled bitmaps that are kept; what is beyond is given up, and so inconsistent. */
const bitmapTablesMax = 64 * MiB;
/** Bytes of marks in memory before they are written to clusters. */
export const bitmapMarksMax = 64 * MiB;

/** The bitmaps of the header's extension; none when the autoclear bit says that they are stale (BIT-A0). */
export function readBitmaps(file: TrackedFile, header: HeaderArea): readonly BitmapRecord[] {
  const extension = header.extensions.bitmaps;
  if (extension === undefined || !header.hasBitmaps) return [];
  const { count, directoryLength, directoryOffset } = extension;
  if (directoryLength > bitmapDirectoryLengthMax || directoryOffset + directoryLength > file.size) {
    throw new Fault('bitmap-directory-invalid', { directoryOffset, directoryLength });
  }
  const directory = new Uint8Array(directoryLength);
  file.readAt(directoryOffset, directory);
  return decodeBitmapDirectory(directory, count);
}

export class DirtyBitmaps {
  readonly #file: TrackedFile;
  readonly #header: HeaderArea;
  #list: readonly DirtyBitmap[] | undefined;
  /** Enabled bitmaps whose marks are kept, once the file says that they are in use. */
  #tracked: readonly DirtyBitmap[] = [];
  #isReady = false;

  constructor(file: TrackedFile, header: HeaderArea) {
    this.#file = file;
    this.#header = header;
  }

  /** In the order of the directory. Faults `bitmap-directory-invalid`, `number-too-large`. */
  get list(): readonly DirtyBitmap[] {
    this.#list ??= readBitmaps(this.#file, this.#header).map((record) => DirtyBitmap.over(this.place, record));
    return this.#list;
  }

  /** What a bitmap of this image is opened over. */
  get place(): BitmapPlace {
    return {
      file: this.#file,
      clusterSize: this.#header.geometry.clusterSize,
      virtualSize: this.#header.virtualSize,
    };
  }

  /** Fault `bitmap-not-found`. */
  find(name: string): DirtyBitmap {
    const found = this.list.find((bitmap) => bitmap.name === name);
    if (found === undefined) throw new Fault('bitmap-not-found', { bitmap: name });
    return found;
  }

  /** As {@link find}; fault `bitmap-inconsistent` for one that can only be removed. */
  findConsistent(name: string): DirtyBitmap {
    const found = this.find(name);
    found.load();
    if (found.inconsistent) throw new Fault('bitmap-inconsistent', { bitmap: name });
    return found;
  }

  /**
   * Owed before the first change, once. Clears autoclear bits that are unknown here (BIT-A2), and marks the bitmaps that
   * the change may reach as in use (BMP-06). Each mark is a few bytes in place, and until all of them are durable nothing
   * else changes: a crash between leaves some bitmaps "lost" and the others true, never "wrong" (ORD-14), so one flush is
   * enough.
   */
  beforeChange(): void {
    if (this.#isReady) return;
    this.#use(this.list.filter((bitmap) => bitmap.enabled));
    this.#isReady = true;
  }

  /** All consistent bitmaps are in use: the size of the disk is about to change under them (BMP-09). */
  beforeResize(): void {
    this.#use(this.list);
  }

  /** A span of the disk is about to change. */
  mark(span: ByteSpan): void {
    for (const bitmap of this.#tracked) bitmap.mark(span);
  }

  /** Whether so many marks are in memory that they should be written. */
  get isHeavy(): boolean {
    if (this.#tracked.length === 0) return false;
    return this.#tracked.reduce((sum, bitmap) => sum + bitmap.marksLength, 0) > bitmapMarksMax;
  }

  /** Whether the file is behind. */
  get needsStore(): boolean {
    return this.#list?.some((bitmap) => bitmap.needsStore) ?? false;
  }

  /** These are the bitmaps from now on, as the file has them. */
  replace(list: readonly DirtyBitmap[]): void {
    this.#list = list;
    this.#tracked = [];
    this.#isReady = false;
  }

  /** Read before they are marked: one that cannot be read would stay marked, and be lost, for nothing. */
  #use(wanted: readonly DirtyBitmap[]): void {
    const free = wanted.filter(({ record }) => record !== undefined && (record.flags & bitmapInUseFlag) === 0);
    const tooMuch = new Set<DirtyBitmap>();
    let tablesLength = 0;
    for (const bitmap of free) {
      tablesLength += bitmap.inconsistent ? 0 : bitmap.tableLength;
      if (tablesLength > bitmapTablesMax) tooMuch.add(bitmap);
      else bitmap.load();
    }
    for (const { record } of free) if (record !== undefined) this.#markInUse(record);
    if (this.#header.hasUnknownAutoclear) this.#header.setAutoclear({ bitmaps: this.#header.hasBitmaps });
    this.#file.flush();
    for (const bitmap of free) {
      if (tooMuch.has(bitmap)) bitmap.giveUp();
      bitmap.markedInUse();
    }
    this.#tracked = this.list.filter((bitmap) => bitmap.enabled && !bitmap.inconsistent);
  }

  #markInUse(record: BitmapRecord): void {
    const directory = this.#header.extensions.bitmaps;
    if (directory === undefined) return;
    const flags = new Uint8Array(4);
    viewOf(flags).setUint32(0, record.flags | bitmapInUseFlag);
    this.#file.writeAt(hostOffset(directory.directoryOffset + record.entryAt + bitmapFlagsAt), flags);
  }
}
