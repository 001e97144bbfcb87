// Reads the snapshot table for a check: tolerant where a check reports or a repair mends (CHK-12, SNT-01…SNT-05).

import { alignUp, isSafePair, joinHalves } from '../../base/integers.ts';
import { FileWindow } from '../file/file-window.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import { l1EntriesMax, snapshotCountMax } from '../format/header.ts';
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
    const unreadable = unreadableSizeOf(subject, window, hostOffset);
    if (unreadable !== undefined) {
      log.error(1, () => ({ hostOffset, message: `Snapshot table entry ${index} ${unreadable}` }));
    }
    places.add(hostOffset, window.view, window.seek(hostOffset, snapshotFixedLength));
    end = entryEnd;
  }
  return places;
}

/**
 * What QEMU reads and we do not (LIM-05): such an image is sound, and no repair makes it smaller. The end of a sentence
 * about the entry at `entryAt`; undefined for one that can be read.
 */
function unreadableSizeOf({ geometry }: CheckSubject, window: FileWindow, entryAt: number): string | undefined {
  const { view } = window;
  const at = window.seek(entryAt, snapshotFixedLength + extraLengthMinV3);
  const extraLength = view.getUint32(at + 36);
  if (extraLength >= 8 && !isSafePair(view.getUint32(at + 40))) {
    return `has a VM state of 8 PiB or more, which this service does not read${refusedThen}`;
  }
  if (extraLength < extraLengthMinV3) return undefined;
  const size = joinHalves(view.getUint32(at + 48), view.getUint32(at + 52));
  if (Number.isSafeInteger(size) && l1EntriesFor(geometry, size) <= l1EntriesMax) return undefined;
  return `is of a disk larger than this service reads${refusedThen}`;
}

const refusedThen =
  ': it refuses the image. Delete the snapshot with `qemu-img snapshot -d`; an image of this service is detached meanwhile.';

/** Dropped at once by the repair that asked for it: fixed, not standing. */
function noteDropped(log: CheckLog, count: number): void {
  log.corruption(count, () => ({ message: `${count} snapshots are beyond the limits of the snapshot table.` }));
}
