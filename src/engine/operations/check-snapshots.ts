// Reads the snapshot table for a check: tolerant where a check reports or a repair mends (CHK-12, SNT-01…SNT-05).

import { alignUp } from '../../base/integers.ts';
import { FileWindow } from '../file/file-window.ts';
import { snapshotCountMax } from '../format/header.ts';
import {
  extraLengthMax,
  extraLengthMinV3,
  snapshotEntryLength,
  snapshotFixedLength,
  snapshotTableLengthMax,
} from '../format/snapshot-table.ts';
import type { CheckLog } from './check-log.ts';
import type { CheckSubject } from './check-subject.ts';
import type { RepairMode } from './check-report.ts';
import { SnapshotPlaces } from './snapshot-places.ts';

/** QEMU keeps positions in the table in a signed 32-bit number. */
const tableSpanMax = 2 ** 31 - 1;

/**
 * Walks the table. Undefined when it cannot be read as it is: the log then holds the check error. With `all` an
 * oversized table is cut and extra data that is too long is accepted, to be mended later.
 */
export function readSnapshotPlaces(subject: CheckSubject, log: CheckLog, mode: RepairMode): SnapshotPlaces | undefined {
  const { header, geometry } = subject;
  // SNT-08: without snapshots the offset has no meaning.
  if (header.snapshotCount === 0) return new SnapshotPlaces({ offset: header.snapshotsOffset, countMax: 0 });
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
  // A surplus over the header itself is all surplus: there is no table.
  const countMax = header.snapshotsOffset === 0 ? 0 : snapshotCountMax;
  const count = header.snapshotCount > snapshotCountMax ? countMax : header.snapshotCount;
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
  const places = new SnapshotPlaces({ offset: header.snapshotsOffset, countMax: table.count });
  places.dropped = table.surplus;
  const window = new FileWindow(subject.file);
  let end = 0;
  let keptLength = 0;
  for (let index = 0; index < table.count; index += 1) {
    const hostOffset = header.snapshotsOffset + alignUp(end, 8);
    const at = window.seek(hostOffset, snapshotFixedLength);
    const extraLength = window.view.getUint32(at + 36);
    const length = snapshotEntryLength(window.view, at);
    if (extraLength > extraLengthMax) {
      if (table.mode !== 'all') {
        log.error(1, () => ({
          hostOffset,
          message: `Snapshot table entry ${index} has too much extra data; repair "all" cuts it.`,
        }));
        return undefined;
      }
      log.corruption(1, () => ({
        hostOffset,
        message: `Snapshot table entry ${index} has ${extraLength} bytes of extra data, more than ${extraLengthMax}.`,
      }));
    }
    const entryEnd = alignUp(end, 8) + length;
    keptLength = alignUp(keptLength, 8) + length - Math.max(0, extraLength - extraLengthMax);
    if (keptLength > snapshotTableLengthMax || entryEnd > tableSpanMax) {
      if (table.mode !== 'all') {
        log.error(1, () => ({
          hostOffset,
          message: `The snapshot table is too long from entry ${index} on; repair "all" drops the rest.`,
        }));
        return undefined;
      }
      noteDropped(log, table.count - index);
      places.dropped += table.count - index;
      return places;
    }
    if (header.version === 3 && extraLength < extraLengthMinV3) {
      log.corruption(1, () => ({
        hostOffset,
        message: `Snapshot table entry ${index} does not say how large the disk was.`,
      }));
    }
    places.add(hostOffset, window.view, at);
    end = entryEnd;
  }
  return places;
}

/** Dropped at once by the repair that asked for it: fixed, not standing. */
function noteDropped(log: CheckLog, count: number): void {
  log.corruption(count, () => ({ message: `${count} snapshots are beyond the limits of the snapshot table.` }));
}
