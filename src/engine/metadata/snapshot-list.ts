// The snapshot table of an open image: read whole, looked up by id or name, written anew at each change (SNT-01…SNT-08).

import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { FileWindow } from '../file/file-window.ts';
import type { Geometry } from '../format/geometry.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { l1EntriesMax } from '../format/header.ts';
import type { Header } from '../format/header.ts';
import type { HostOffset } from '../format/offsets.ts';
import {
  decodeSnapshotEntry,
  extraLengthMinV3,
  hasTooMuchExtra,
  snapshotEntryLength,
  snapshotFixedLength,
  snapshotTableLengthMax,
} from '../format/snapshot-table.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import { hostOffsetMax } from './host-limits.ts';

/** Where the table lies; `length` in bytes, without padding behind the last entry. */
export interface SnapshotTablePlace {
  readonly offset: HostOffset;
  readonly length: number;
}

export class SnapshotList {
  #records: readonly SnapshotRecord[];
  #place: SnapshotTablePlace;

  private constructor(records: readonly SnapshotRecord[], place: SnapshotTablePlace) {
    this.#records = records;
    this.#place = place;
  }

  /** Reads the table that the header names. Faults `snapshot-table-invalid`, `number-too-large`. */
  static read(file: ByteFile, header: Header, geometry: Geometry): SnapshotList {
    const records: SnapshotRecord[] = [];
    const window = new FileWindow(file);
    let at: number = header.snapshotsOffset;
    let end = at;
    for (let index = 0; index < header.snapshotCount; index += 1) {
      const entry = readEntry(window, at, file.size);
      if (at + entry.length - header.snapshotsOffset > snapshotTableLengthMax) {
        throw new Fault('snapshot-table-invalid', { index, reason: 'the table is too long' });
      }
      records.push(judged(decodeSnapshotEntry(entry), { index, header, geometry }));
      end = at + entry.length;
      at = alignUp(end, 8);
    }
    return new SnapshotList(records, {
      offset: header.snapshotsOffset,
      length: end - header.snapshotsOffset,
    });
  }

  /** In the order of the table. */
  get records(): readonly SnapshotRecord[] {
    return this.#records;
  }

  get place(): SnapshotTablePlace {
    return this.#place;
  }

  /** By id first, then by name (OPS-27). Fault `snapshot-not-found`. */
  find(snapshot: string): SnapshotRecord {
    const found =
      this.#records.find((record) => record.id === snapshot) ??
      this.#records.find((record) => record.name === snapshot);
    if (found === undefined) throw new Fault('snapshot-not-found', { snapshot });
    return found;
  }

  /** One more than the largest numeric id, at least `floor`: an id never comes back when the caller keeps the floor. */
  nextId(floor: number): string {
    const ids = this.#records.map((record) => (/^\d{1,15}$/.test(record.id) ? Number(record.id) : 0));
    return String(Math.max(floor, ...ids.map((id) => id + 1), 1));
  }

  /** The table is another one from now on; it was written, and the header names it. */
  replace(records: readonly SnapshotRecord[], place: SnapshotTablePlace): void {
    this.#records = records;
    this.#place = place;
  }
}

/** Reads one entry whole, its length judged before anything is reserved for it (T80). */
function readEntry(window: FileWindow, at: number, fileSize: number): Uint8Array {
  if (at + snapshotFixedLength > fileSize) {
    throw new Fault('snapshot-table-invalid', { hostOffset: at, reason: 'the table ends outside the file' });
  }
  const place = window.seek(at, snapshotFixedLength);
  if (hasTooMuchExtra(window.view, place)) {
    throw new Fault('snapshot-table-invalid', { hostOffset: at, reason: 'too much extra data' });
  }
  const entry = new Uint8Array(snapshotEntryLength(window.view, place));
  window.copy(at, entry);
  return entry;
}

/** SNT-02, LIM-01: what an entry must be so that its tree can be read. */
function judged(
  record: SnapshotRecord,
  context: { readonly index: number; readonly header: Header; readonly geometry: Geometry },
): SnapshotRecord {
  const { index, header, geometry } = context;
  const refuse = (reason: string): never => {
    throw new Fault('snapshot-table-invalid', { index, id: record.id, name: record.name, reason });
  };
  if (header.version === 3 && record.extraLength < extraLengthMinV3) refuse('too little extra data');
  if (record.l1Entries > l1EntriesMax) refuse('its L1 table is too long');
  if (record.l1TableOffset % geometry.clusterSize !== 0 || record.l1TableOffset >= hostOffsetMax) {
    refuse('its L1 table does not start on a cluster');
  }
  const size = record.virtualSize;
  if (size !== undefined && l1EntriesFor(geometry, size) > l1EntriesMax) refuse('its disk is too large');
  return record;
}
