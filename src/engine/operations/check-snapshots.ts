// Reads the snapshot table for a check: tolerant where a check reports or a repair mends (CHK-12, SNT-01…SNT-05).

import { alignUp } from '../../base/integers.ts';
import { FileWindow } from '../file/file-window.ts';
import { snapshotCountMax } from '../format/header.ts';
import {
  extraLengthMax,
  extraLengthMinV3,
  snapshotFixedLength,
  snapshotTableLengthMax,
} from '../format/snapshot-table.ts';
import type { CheckLog } from './check-log.ts';
import type { CheckSubject } from './check-subject.ts';
import type { RepairMode } from './check-report.ts';

/** QEMU keeps positions in the table in a signed 32-bit number. */
const tableSpanMax = 2 ** 31 - 1;

/** One entry, as far as a check needs it; offsets and lengths in bytes. */
export interface SnapshotPlace {
  /** Where the entry lies in the file. */
  readonly entryAt: number;
  /** May be above 2^53 in a broken image. */
  readonly l1TableOffset: number;
  readonly l1Entries: number;
  readonly extraLength: number;
  /** Length of the entry without padding. */
  readonly length: number;
}

/** The table as a check sees it. */
export interface SnapshotPlaces {
  readonly entries: readonly SnapshotPlace[];
  readonly tableOffset: number;
  readonly tableLength: number;
  /** How many entries at the end a repair drops (SNT-05). */
  readonly dropped: number;
}

/**
 * Walks the table. Undefined when it cannot be read as it is: the log then holds the check error. With `all` an
 * oversized table is cut and extra data that is too long is accepted, to be mended later.
 */
export function readSnapshotPlaces(subject: CheckSubject, log: CheckLog, mode: RepairMode): SnapshotPlaces | undefined {
  const { header, geometry } = subject;
  const none = { entries: [], tableOffset: header.snapshotsOffset, tableLength: 0, dropped: 0 };
  // SNT-08: without snapshots the offset has no meaning.
  if (header.snapshotCount === 0) return none;
  if (header.snapshotsOffset % geometry.clusterSize !== 0) {
    log.error(1, () => ({
      hostOffset: header.snapshotsOffset,
      message: 'The snapshot table does not start on a cluster, so its snapshots cannot be counted.',
    }));
    return undefined;
  }
  if (header.snapshotCount > snapshotCountMax && mode !== 'all') {
    log.error(1, () => ({
      hostOffset: header.snapshotsOffset,
      message: `The image claims ${header.snapshotCount} snapshots, more than ${snapshotCountMax}; repair "all" drops the surplus.`,
    }));
    return undefined;
  }
  const count = Math.min(header.snapshotCount, snapshotCountMax);
  const surplus = header.snapshotCount - count;
  if (surplus > 0) noteDropped(log, surplus);
  return walkEntries(subject, log, { count, surplus, mode });
}

function walkEntries(
  subject: CheckSubject,
  log: CheckLog,
  table: { readonly count: number; readonly surplus: number; readonly mode: RepairMode },
): SnapshotPlaces | undefined {
  const { header } = subject;
  const entries: SnapshotPlace[] = [];
  const window = new FileWindow(subject.file);
  let end = 0;
  let keptLength = 0;
  for (let index = 0; index < table.count; index += 1) {
    const entry = readPlace(window, header.snapshotsOffset + alignUp(end, 8));
    if (entry.extraLength > extraLengthMax) {
      if (table.mode !== 'all') {
        log.error(1, () => ({
          hostOffset: entry.entryAt,
          message: `Snapshot table entry ${index} has too much extra data; repair "all" cuts it.`,
        }));
        return undefined;
      }
      log.corruption(1, () => ({
        hostOffset: entry.entryAt,
        message: `Snapshot table entry ${index} has ${entry.extraLength} bytes of extra data, more than ${extraLengthMax}.`,
      }));
    }
    const entryEnd = alignUp(end, 8) + entry.length;
    keptLength = alignUp(keptLength, 8) + entry.length - Math.max(0, entry.extraLength - extraLengthMax);
    if (keptLength > snapshotTableLengthMax || entryEnd > tableSpanMax) {
      if (table.mode !== 'all') {
        log.error(1, () => ({
          hostOffset: entry.entryAt,
          message: `The snapshot table is too long from entry ${index} on; repair "all" drops the rest.`,
        }));
        return undefined;
      }
      noteDropped(log, table.count - index);
      return placesOf(subject, { entries, tableLength: end, dropped: table.surplus + table.count - index });
    }
    if (header.version === 3 && entry.extraLength < extraLengthMinV3) {
      log.corruption(1, () => ({
        hostOffset: entry.entryAt,
        message: `Snapshot table entry ${index} does not say how large the disk was.`,
      }));
    }
    entries.push(entry);
    end = entryEnd;
  }
  return placesOf(subject, { entries, tableLength: end, dropped: table.surplus });
}

function readPlace(window: FileWindow, entryAt: number): SnapshotPlace {
  const { view } = window;
  const at = window.seek(entryAt, snapshotFixedLength);
  const extraLength = view.getUint32(at + 36);
  return {
    entryAt,
    l1TableOffset: view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4),
    l1Entries: view.getUint32(at + 8),
    extraLength,
    length: snapshotFixedLength + extraLength + view.getUint16(at + 12) + view.getUint16(at + 14),
  };
}

function placesOf(subject: CheckSubject, found: Omit<SnapshotPlaces, 'tableOffset'>): SnapshotPlaces {
  return { ...found, tableOffset: subject.header.snapshotsOffset };
}

/** Dropped at once by the repair that asked for it: fixed, not standing. */
function noteDropped(log: CheckLog, count: number): void {
  log.corruption(count, () => ({ message: `${count} snapshots are beyond the limits of the snapshot table.` }));
}
