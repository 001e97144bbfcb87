// The snapshot table of an open image: kept as its bytes, looked up by id or name, written anew at each change
// (SNT-01…SNT-08).

import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { FileWindow } from '../file/file-window.ts';
import { readUint64, readVirtualSize, viewOf } from '../format/big-endian.ts';
import type { Geometry } from '../format/geometry.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { l1EntriesMax } from '../format/header.ts';
import type { Header } from '../format/header.ts';
import type { HostOffset } from '../format/offsets.ts';
import { PackedSnapshots } from '../format/packed-snapshots.ts';
import {
  extraLengthMinV3,
  hasTooMuchExtra,
  snapshotEntryLength,
  snapshotFixedLength,
  snapshotTableLengthMax,
} from '../format/snapshot-table.ts';
import type { SnapshotRecord, SnapshotTree } from '../format/snapshot-table.ts';
import { hostOffsetMax } from './host-limits.ts';

/** Where the table lies; `length` in bytes, without padding behind the last entry. */
export interface SnapshotTablePlace {
  readonly offset: HostOffset;
  readonly length: number;
}

/** Ids that are no longer than this count as numbers. */
const numericIdMax = 999_999_999_999_999;

export class SnapshotList {
  #entries: PackedSnapshots;
  #offset: HostOffset;

  private constructor(entries: PackedSnapshots, offset: HostOffset) {
    this.#entries = entries;
    this.#offset = offset;
  }

  /** Reads the table that the header names. Faults `snapshot-table-invalid`, `number-too-large`. */
  static read(file: ByteFile, header: Header, geometry: Geometry): SnapshotList {
    const { snapshotsOffset } = header;
    const starts = new Uint32Array(header.snapshotCount);
    const window = new FileWindow(file);
    let end = 0;
    for (let index = 0; index < header.snapshotCount; index += 1) {
      const start = alignUp(end, 8);
      end = start + readEntryLength(window, snapshotsOffset + start, file.size);
      if (end > snapshotTableLengthMax) {
        throw new Fault('snapshot-table-invalid', { index, reason: 'the table is too long' });
      }
      starts[index] = start;
    }
    const bytes = new Uint8Array(end);
    if (end > 0) file.readAt(snapshotsOffset, bytes);
    const view = viewOf(bytes);
    starts.forEach((at, index) => {
      judge(view, at, { index, header, geometry });
    });
    return new SnapshotList(new PackedSnapshots(bytes, starts), snapshotsOffset);
  }

  get count(): number {
    return this.#entries.count;
  }

  get place(): SnapshotTablePlace {
    return { offset: this.#offset, length: this.#entries.bytes.length };
  }

  /** The entry at a place of the table, decoded. */
  at(index: number): SnapshotRecord {
    return this.#entries.record(index);
  }

  /** By id first, then by name (OPS-27); where it stands in the table. Undefined without such a snapshot. */
  indexOf(snapshot: string): number | undefined {
    return this.#entries.withId(snapshot) ?? this.#entries.named(snapshot);
  }

  /** Tells of the L1 table of every snapshot where it lies: its offset and length in bytes. */
  forEachL1(tell: (offset: number, length: number) => void): void {
    for (let index = 0; index < this.count; index += 1) {
      tell(this.#entries.l1TableOffset(index), this.#entries.l1Entries(index) * 8);
    }
  }

  /** The largest id that is a decimal number of at most `largest`; 0 without one. */
  idMax(largest: number): number {
    return this.#entries.idMax(largest);
  }

  /** One more than the largest numeric id, at least `floor`: an id never comes back when the caller keeps the floor. */
  nextId(floor: number): string {
    return String(Math.max(floor, this.idMax(numericIdMax) + 1));
  }

  /** The table with one more entry at its end; nothing is changed. `currentSize`: of the disk, for entries without one. */
  with(added: SnapshotRecord, currentSize: number): PackedSnapshots {
    return this.#entries.changed({ without: undefined, added, currentSize });
  }

  /** The table without the entry at `without`; nothing is changed. */
  without(without: number, currentSize: number): PackedSnapshots {
    return this.#entries.changed({ without, added: undefined, currentSize });
  }

  /** The table with another tree for the entry at `index`; nothing is changed. */
  withTree(index: number, tree: SnapshotTree, currentSize: number): PackedSnapshots {
    return this.#entries.withTree(index, tree, currentSize);
  }

  /** The table with all known extra data in every entry; nothing is changed. */
  completed(currentSize: number): PackedSnapshots {
    return this.#entries.changed({ without: undefined, added: undefined, currentSize });
  }

  /** The table is another one from now on; it was written, and the header names it. */
  replace(entries: PackedSnapshots, offset: HostOffset): void {
    this.#entries = entries;
    this.#offset = offset;
  }
}

/** The length of the entry at `at`, judged before anything is reserved for it (T80). */
function readEntryLength(window: FileWindow, at: number, fileSize: number): number {
  const place = window.seek(at, snapshotFixedLength);
  if (hasTooMuchExtra(window.view, place)) {
    throw new Fault('snapshot-table-invalid', { hostOffset: at, reason: 'too much extra data' });
  }
  const length = snapshotEntryLength(window.view, place);
  if (at + length > fileSize) {
    throw new Fault('snapshot-table-invalid', { hostOffset: at, reason: 'the table ends outside the file' });
  }
  return length;
}

/** SNT-02, LIM-01: what the entry that begins at `at` must be so that it can be decoded and its tree read. */
function judge(
  view: DataView,
  at: number,
  context: { readonly index: number; readonly header: Header; readonly geometry: Geometry },
): void {
  const { index, header, geometry } = context;
  const refuse = (reason: string): never => {
    throw new Fault('snapshot-table-invalid', { index, reason });
  };
  const extraLength = view.getUint32(at + 36);
  const l1TableOffset = readUint64(view, at, 'snapshot l1_table_offset');
  if (extraLength >= 8) readUint64(view, at + snapshotFixedLength, 'snapshot VM state size');
  if (header.version === 3 && extraLength < extraLengthMinV3) refuse('too little extra data');
  if (view.getUint32(at + 8) > l1EntriesMax) refuse('its L1 table is too long');
  if (l1TableOffset % geometry.clusterSize !== 0 || l1TableOffset >= hostOffsetMax) {
    refuse('its L1 table does not start on a cluster');
  }
  if (extraLength < 16) return;
  const size = readVirtualSize(view, at + snapshotFixedLength + 8);
  if (l1EntriesFor(geometry, size) > l1EntriesMax) refuse('its disk is too large');
}
