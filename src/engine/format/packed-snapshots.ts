// The entries of a snapshot table as their bytes: 65,536 of them take no more memory than in the file (SNT-01…SNT-05).

import { assert, present } from '../../base/assert.ts';
import { alignUp } from '../../base/integers.ts';
import { viewOf } from './big-endian.ts';
import { bytesOf, textOf } from './header-extensions.ts';
import {
  completedExtraLength,
  completeExtra,
  decodeSnapshotEntry,
  encodeSnapshotEntry,
  rebindTree,
  snapshotEntryLength,
  snapshotFixedLength,
} from './snapshot-table.ts';
import type { SnapshotRecord, SnapshotTree } from './snapshot-table.ts';

/** Ids of more digits are nobody's numbers. */
const idDigitsMax = 15;
const digitZero = 0x30;
const digitNine = 0x39;
/** What a decoder makes of bytes that are no UTF-8. */
const replacement = '\ufffd';

/** Sound entries: each has been judged by whoever read it, and its extra data is inside the limit. */
export class PackedSnapshots {
  /** The table as it lies in the file, nothing behind the last entry. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  /** Where each entry begins; a table is shorter than 2^32 bytes. */
  readonly #starts: Uint32Array;

  constructor(bytes: Uint8Array, starts: Uint32Array) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    this.#starts = starts;
  }

  get count(): number {
    return this.#starts.length;
  }

  /** Decodes one entry. */
  record(index: number): SnapshotRecord {
    return decodeSnapshotEntry(this.bytes.subarray(this.#start(index), this.#end(index)));
  }

  /** In bytes from the start of the file. */
  l1TableOffset(index: number): number {
    const at = this.#start(index);
    return this.#view.getUint32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4);
  }

  l1Entries(index: number): number {
    return this.#view.getUint32(this.#start(index) + 8);
  }

  /** The first entry with this id, or undefined. */
  withId(id: string): number | undefined {
    return this.#find(id, 'id');
  }

  /** The first entry of this name, or undefined. */
  named(name: string): number | undefined {
    return this.#find(name, 'name');
  }

  /** The largest id that is a decimal number of at most `largest`; 0 without one. */
  idMax(largest: number): number {
    let found = 0;
    for (const at of this.#starts) {
      const id = this.#idNumber(at);
      if (id > found && id <= largest) found = id;
    }
    return found;
  }

  /**
   * The table without one entry, or with a new one at its end. All entries get the known extra data, as QEMU writes it;
   * `currentSize` stands in where an entry has no disk size of its own.
   */
  changed(change: {
    readonly without: number | undefined;
    readonly added: SnapshotRecord | undefined;
    readonly currentSize: number;
  }): PackedSnapshots {
    const { without, added, currentSize } = change;
    const addition = added === undefined ? undefined : encodeSnapshotEntry(added, currentSize);
    const kept = this.#starts.filter((_, index) => index !== without);
    const starts = new Uint32Array(kept.length + (addition === undefined ? 0 : 1));
    let length = 0;
    starts.forEach((_, index) => {
      const at = kept[index];
      starts[index] = alignUp(length, 8);
      length = alignUp(length, 8) + (at === undefined ? (addition?.length ?? 0) : this.#completedLength(at));
    });
    const bytes = new Uint8Array(length);
    const view = viewOf(bytes);
    kept.forEach((at, index) => {
      const start = present(starts[index], 'every kept entry has a place');
      const idStart = this.#idStart(at);
      const end = this.#endOf(at);
      bytes.set(this.bytes.subarray(at, idStart), start);
      bytes.set(this.bytes.subarray(idStart, end), start + this.#completedLength(at) - (end - idStart));
      completeExtra(view, start, { keptExtra: idStart - at - snapshotFixedLength, currentSize });
    });
    if (addition !== undefined) bytes.set(addition, length - addition.length);
    return new PackedSnapshots(bytes, starts);
  }

  /** The table with another tree and VM state for one entry; see {@link SnapshotTree}. `currentSize` as in {@link changed}. */
  withTree(index: number, tree: SnapshotTree, currentSize: number): PackedSnapshots {
    const table = this.changed({ without: undefined, added: undefined, currentSize });
    rebindTree(table.#view, table.#start(index), tree);
    return table;
  }

  #find(wanted: string, field: 'id' | 'name'): number | undefined {
    const text = bytesOf(wanted);
    // Bytes that are no UTF-8 are shown with replacement characters, and can be asked for as they are shown.
    const isAsShown = wanted.includes(replacement) || !wanted.isWellFormed();
    const index = this.#starts.findIndex((at) => {
      const idEnd = this.#idStart(at) + this.#view.getUint16(at + 12);
      const start = field === 'id' ? this.#idStart(at) : idEnd;
      const end = field === 'id' ? idEnd : this.#endOf(at);
      if (isAsShown) return textOf(this.bytes.subarray(start, end)) === wanted;
      return end - start === text.length && text.every((byte, offset) => byte === this.bytes[start + offset]);
    });
    return index === -1 ? undefined : index;
  }

  #idNumber(at: number): number {
    const length = this.#view.getUint16(at + 12);
    if (length > idDigitsMax) return 0;
    const start = this.#idStart(at);
    let id = 0;
    for (let digit = start; digit < start + length; digit += 1) {
      const byte = this.#view.getUint8(digit);
      if (byte < digitZero || byte > digitNine) return 0;
      id = id * 10 + byte - digitZero;
    }
    return id;
  }

  #completedLength(at: number): number {
    const extraLength = this.#view.getUint32(at + 36);
    return snapshotEntryLength(this.#view, at) - extraLength + completedExtraLength(extraLength);
  }

  #start(index: number): number {
    const start = this.#starts[index];
    assert(start !== undefined, 'an entry is asked for by an index inside the table');
    return start;
  }

  #end(index: number): number {
    return this.#endOf(this.#start(index));
  }

  #endOf(at: number): number {
    return at + snapshotEntryLength(this.#view, at);
  }

  #idStart(at: number): number {
    return at + snapshotFixedLength + this.#view.getUint32(at + 36);
  }
}
