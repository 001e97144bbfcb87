// One persistent bitmap of an open image: what the file holds, and the bits that were set since.
//
//   piece        one cluster of bits; a table entry in the file
//   marks        bits to be added to a piece: setting one reads nothing
//   kept places  clusters that pieces were written to and that no table in the file names yet

import { assert } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import type { TrackedFile } from '../file/tracked-file.ts';
import { bitmapAutoFlag, bitmapExtraCompatibleFlag, bitmapInUseFlag } from '../format/bitmap-directory.ts';
import type { BitmapRecord, NewBitmapRecord } from '../format/bitmap-directory.ts';
import {
  allOneEntry,
  allZeroEntry,
  bitmapBitsFor,
  bitmapLengthMax,
  bitmapTableEntriesFor,
  bitmapTableEntrySize,
  decodeBitmapTable,
  encodeBitmapTable,
} from '../format/bitmap-table.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { clearBitsFrom, setBits } from './bit-runs.ts';

/** Bits to be added to a piece; `all` of them without a byte of memory. */
type Marks = Uint8Array | 'all';

/** What a bitmap is opened over. */
export interface BitmapPlace {
  readonly file: TrackedFile;
  readonly clusterSize: number;
  readonly virtualSize: number;
}

export class DirtyBitmap {
  readonly #file: TrackedFile;
  readonly #clusterSize: number;
  /** As in the file; undefined for one that is not there yet. */
  #record: BitmapRecord | undefined;
  readonly #nameBytes: Uint8Array;
  readonly #extra: Uint8Array;
  readonly #compatibleFlag: number;
  readonly granularityBits: number;
  readonly name: string;
  #enabled: boolean;
  #inconsistent: boolean;
  /** We set the flag in the file, and keep the bits. */
  #usedByUs = false;
  #virtualSize: number;
  #table: Float64Array | undefined;
  readonly #marks = new Map<number, Marks>();
  #marksLength = 0;
  readonly #keptPlaces = new Set<number>();
  /** Clusters that the table in the file names and the one in memory does not. */
  #superseded: number[] = [];
  /** Whether the table in memory differs from the one in the file. */
  #tableChanged = false;
  /** Whether anything but the flag in the file is behind. */
  #changed = false;

  private constructor(
    place: BitmapPlace,
    facts: NewBitmapRecord & { readonly name: string; readonly record: BitmapRecord | undefined },
  ) {
    this.#file = place.file;
    this.#clusterSize = place.clusterSize;
    this.#virtualSize = place.virtualSize;
    this.#record = facts.record;
    this.#nameBytes = facts.nameBytes;
    this.#extra = facts.extra;
    this.name = facts.name;
    this.granularityBits = facts.granularityBits;
    this.#enabled = (facts.flags & bitmapAutoFlag) !== 0;
    this.#compatibleFlag = facts.flags & bitmapExtraCompatibleFlag;
    this.#inconsistent = facts.record !== undefined && !isUsable(facts.record, this.tableEntries, place.clusterSize);
  }

  /** A bitmap that the file holds. */
  static over(place: BitmapPlace, record: BitmapRecord): DirtyBitmap {
    return new DirtyBitmap(place, { ...record, record });
  }

  /** A new one without any bit set, which the file does not hold before it is stored. */
  static empty(
    place: BitmapPlace,
    facts: { readonly name: string; readonly granularityBits: number; readonly enabled: boolean },
  ): DirtyBitmap {
    const { name, granularityBits, enabled } = facts;
    const bitmap = new DirtyBitmap(place, {
      name,
      nameBytes: new TextEncoder().encode(name),
      granularityBits,
      flags: enabled ? bitmapAutoFlag : 0,
      extra: new Uint8Array(0),
      tableOffset: hostOffset(0),
      tableEntries: 0,
      record: undefined,
    });
    bitmap.#table = new Float64Array(bitmap.tableEntries);
    bitmap.#tableChanged = true;
    bitmap.#changed = true;
    return bitmap;
  }

  /** As the file has it; undefined before the first store. */
  get record(): BitmapRecord | undefined {
    return this.#record;
  }

  /** Whether changes of the disk are recorded (the flag `auto`). */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** Somebody else left it in use, or it breaks rules: it can only be removed (BMP-06). */
  get inconsistent(): boolean {
    return this.#inconsistent;
  }

  /** Bytes of the disk that one bit stands for. */
  get granularity(): number {
    return 2 ** this.granularityBits;
  }

  get virtualSize(): number {
    return this.#virtualSize;
  }

  get bits(): number {
    return bitmapBitsFor(this.#virtualSize, this.granularityBits);
  }

  get bitsPerPiece(): number {
    return this.#clusterSize * 8;
  }

  /** How many pieces there are: as many as table entries. */
  get tableEntries(): number {
    return bitmapTableEntriesFor(this.bits, this.#clusterSize);
  }

  get tableLength(): number {
    return this.tableEntries * bitmapTableEntrySize;
  }

  /** Bytes of marks in memory. */
  get marksLength(): number {
    return this.#marksLength;
  }

  /** Whether the file does not hold all of it, or says that somebody uses it, which is us. */
  get needsStore(): boolean {
    return !this.#inconsistent && (this.#usedByUs || this.#changed || this.#marks.size > 0);
  }

  get tableChanged(): boolean {
    return this.#tableChanged;
  }

  /** Reads the table once; a bitmap whose table breaks the rules is inconsistent from then on. */
  load(): void {
    if (this.#table !== undefined || this.#inconsistent) return;
    this.#table = this.#readTable();
    if (this.#table === undefined) this.#inconsistent = true;
  }

  /** The table as the file has it; undefined when it breaks the rules. */
  #readTable(): Float64Array | undefined {
    if (this.#record === undefined) return undefined;
    const { tableOffset, tableEntries } = this.#record;
    const length = tableEntries * bitmapTableEntrySize;
    if (tableOffset === 0 || tableOffset % this.#clusterSize !== 0 || tableOffset + length > this.#file.size)
      return undefined;
    const table = decodeBitmapTable(this.#read(tableOffset, new Uint8Array(length)), this.#clusterSize);
    // A cluster of bits that is not there is nobody's to read or to drop.
    return table?.some((entry) => entry >= this.#file.size) === true ? undefined : table;
  }

  /** The file says from now on that the bitmap is in use: `flags` of its entry. Bits of one that we do not keep are lost. */
  markedInUse(): void {
    assert(this.#record !== undefined, 'a bitmap in the file is marked');
    this.#record = { ...this.#record, flags: this.#record.flags | bitmapInUseFlag };
    this.#usedByUs = !this.#inconsistent;
  }

  /** The bitmap is not kept any more: what the file has of it stays marked as in use. */
  giveUp(): void {
    this.#inconsistent = true;
    this.#usedByUs = false;
    for (const index of this.#marks.keys()) this.#setMarks(index, undefined);
  }

  /** Sets the bits of all that a span touches, inside the disk. Reads and writes nothing. */
  mark(span: ByteSpan): void {
    const end = Math.min(endOf(span), this.#virtualSize);
    if (end <= span.offset) return;
    const last = Math.floor((end - 1) / this.granularity);
    let bit = Math.floor(span.offset / this.granularity);
    while (bit <= last) {
      const index = Math.floor(bit / this.bitsPerPiece);
      const start = index * this.bitsPerPiece;
      const stop = Math.min(last + 1, start + this.bitsPerPiece);
      this.#markPiece(index, bit - start, stop - start);
      bit = stop;
    }
  }

  #markPiece(index: number, from: number, to: number): void {
    const marks = this.#marks.get(index);
    if (marks === 'all') return;
    if (from === 0 && to === this.bitsPerPiece) {
      this.#setMarks(index, 'all');
      return;
    }
    const bytes = marks ?? new Uint8Array(this.#clusterSize);
    setBits(bytes, from, to);
    if (marks === undefined) this.#setMarks(index, bytes);
  }

  /** Whether a piece is known to have no bit set, without reading it. */
  isPieceEmpty(index: number): boolean {
    return this.#entry(index) === allZeroEntry && !this.#marks.has(index);
  }

  /** A copy of the bits of a piece as they are now; bits behind the end of the disk are 0. */
  piece(index: number): Uint8Array {
    const bytes = new Uint8Array(this.#clusterSize);
    const entry = this.#entry(index);
    const marks = this.#marks.get(index);
    if (entry === allOneEntry || marks === 'all') bytes.fill(0xff);
    else {
      if (entry !== allZeroEntry) this.#read(hostOffset(entry), bytes);
      if (marks !== undefined)
        for (let at = 0; at < bytes.length; at += 1) bytes[at] = (bytes[at] ?? 0) | (marks[at] ?? 0);
    }
    clearBitsFrom(bytes, this.bits - index * this.bitsPerPiece);
    return bytes;
  }

  /** Pieces whose marks are in memory only. */
  markedPieces(): readonly number[] {
    return [...this.#marks.keys()];
  }

  /** The cluster where a piece may be written again, since nothing in the file names it. */
  keptPlace(index: number): HostOffset | undefined {
    return this.#keptPlaces.has(index) ? hostOffset(this.#entry(index)) : undefined;
  }

  /** A piece was written to a place of its own, or is all zero or all one. */
  moved(index: number, entry: number): void {
    if (this.#entry(index) !== entry) this.#supersede(index);
    this.#setEntry(index, entry);
    if (entry !== allZeroEntry && entry !== allOneEntry) this.#keptPlaces.add(index);
    this.#setMarks(index, undefined);
  }

  /** Clears all bits. */
  clear(): void {
    for (let index = 0; index < this.tableEntries; index += 1) {
      this.#supersede(index);
      this.#setEntry(index, allZeroEntry);
    }
    for (const index of this.#marks.keys()) this.#setMarks(index, undefined);
  }

  /** Follows the disk to another size: new bits are 0, bits behind the end are gone (BMP-09). */
  resize(virtualSize: number): void {
    if (this.tableEntries > 0) this.#detach(this.tableEntries - 1);
    const before = this.#loaded();
    const entriesBefore = this.tableEntries;
    this.#virtualSize = virtualSize;
    for (let index = this.tableEntries; index < entriesBefore; index += 1) {
      this.#supersede(index);
      this.#setMarks(index, undefined);
    }
    const table = new Float64Array(this.tableEntries);
    table.set(before.subarray(0, this.tableEntries));
    this.#table = table;
    this.#tableChanged = true;
    this.#changed = true;
    if (this.tableEntries > 0) this.#detach(this.tableEntries - 1);
  }

  /** Whether its data would stay inside the limit of the format (BMP-05). */
  static fits(bits: number, clusterSize: number): boolean {
    return bitmapTableEntriesFor(bits, clusterSize) * clusterSize <= bitmapLengthMax;
  }

  tableBytes(): Uint8Array {
    return encodeBitmapTable(this.#loaded());
  }

  /** What a directory that is stored now says of it; `tableOffset` when its table was written anew. */
  recordWith(tableOffset: HostOffset | undefined): NewBitmapRecord {
    if (this.#inconsistent) {
      assert(this.#record !== undefined, 'an inconsistent bitmap comes from the file');
      return this.#record;
    }
    const place = tableOffset ?? this.#record?.tableOffset;
    assert(place !== undefined, 'a new bitmap has a new table');
    return {
      nameBytes: this.#nameBytes,
      extra: this.#extra,
      granularityBits: this.granularityBits,
      tableOffset: place,
      tableEntries: this.tableEntries,
      flags: (this.#enabled ? bitmapAutoFlag : 0) | this.#compatibleFlag,
    };
  }

  /** The file holds it under `record`. Returns the clusters of pieces that nothing names any more. */
  stored(record: BitmapRecord): readonly number[] {
    const gone = this.#superseded;
    this.#record = record;
    if (this.#inconsistent) return gone;
    this.#usedByUs = false;
    this.#keptPlaces.clear();
    this.#superseded = [];
    this.#tableChanged = false;
    this.#changed = false;
    return gone;
  }

  enable(enabled: boolean): void {
    this.#enabled = enabled;
    this.#changed = true;
  }

  /** What its entry in the directory takes. */
  get entry(): { readonly nameBytes: Uint8Array; readonly extra: Uint8Array } {
    return { nameBytes: this.#nameBytes, extra: this.#extra };
  }

  /** Every cluster of bits that belongs to it, for whoever removes it; none of a table that breaks the rules. */
  places(): readonly number[] {
    const table = this.#table ?? this.#readTable() ?? new Float64Array(0);
    return [...[...table].filter((entry) => entry > allOneEntry), ...this.#superseded];
  }

  /** Takes a piece out of the file's table and keeps its bits in memory. */
  #detach(index: number): void {
    const bits = this.piece(index);
    this.#supersede(index);
    this.#setEntry(index, allZeroEntry);
    this.#setMarks(index, bits);
  }

  #setMarks(index: number, marks: Marks | undefined): void {
    this.#marksLength += heldBy(marks) - heldBy(this.#marks.get(index));
    if (marks === undefined) this.#marks.delete(index);
    else this.#marks.set(index, marks);
  }

  #supersede(index: number): void {
    const entry = this.#entry(index);
    if (entry <= allOneEntry) return;
    this.#keptPlaces.delete(index);
    this.#superseded.push(entry);
  }

  #setEntry(index: number, entry: number): void {
    this.#loaded()[index] = entry;
    this.#tableChanged = true;
    this.#changed = true;
  }

  #entry(index: number): number {
    return this.#loaded()[index] ?? allZeroEntry;
  }

  #loaded(): Float64Array {
    this.load();
    assert(this.#table !== undefined, 'a bitmap that is consistent has a table');
    return this.#table;
  }

  #read(offset: HostOffset, target: Uint8Array): Uint8Array {
    this.#file.readAt(offset, target.subarray(0, Math.max(0, Math.min(target.length, this.#file.size - offset))));
    return target;
  }
}

function heldBy(marks: Marks | undefined): number {
  return marks === undefined || marks === 'all' ? 0 : marks.length;
}

/** What a consistent bitmap of this engine is: known flags, no extra data that matters, and a table of the right length. */
function isUsable(record: BitmapRecord, tableEntries: number, clusterSize: number): boolean {
  const known = bitmapAutoFlag | bitmapExtraCompatibleFlag;
  if ((record.flags & ~known) !== 0) return false;
  if (record.extra.length > 0 && (record.flags & bitmapExtraCompatibleFlag) === 0) return false;
  const isPlaceSound = record.tableOffset !== 0 && record.tableOffset % clusterSize === 0;
  return isPlaceSound && record.tableEntries === tableEntries && tableEntries * clusterSize <= bitmapLengthMax;
}
