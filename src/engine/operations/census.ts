// Counts every reference to every host cluster by walking all tables of a file (REF-04, CHK-03).
//
//   header · active L1 and snapshot L1s → L2 tables → data and compressed blobs · snapshot table ·
//   refcount table → refcount blocks · LUKS area · bitmap directory → bitmap tables → bitmap data

import { alignUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { viewOf } from '../format/big-endian.ts';
import { l1EntriesMax } from '../format/header.ts';
import { entryOffset, l1ReservedBitsClear } from '../format/l1-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import { bookBitmaps } from './bitmap-census.ts';
import type { CheckLog } from './check-log.ts';
import type { SnapshotPlaces } from './check-snapshots.ts';
import type { CheckSubject } from './check-subject.ts';
import { L2Census } from './l2-census.ts';
import type { Fragmentation, L2Use } from './l2-census.ts';
import { MetadataPlaces } from './metadata-places.ts';
import type { Pace } from './pace.ts';
import { ReferenceLedger } from './reference-ledger.ts';
import type { Steps } from './steps.ts';
import { StoredRefcounts } from './stored-refcounts.ts';
import { coverOf } from './table-cover.ts';
import type { CoveredStretch, PlacedTable } from './table-cover.ts';

/**
 * What is wrong with the refcount structures themselves (CHK-06): `outside`, a block lies past the end of the file;
 * `broken`, an entry is no place of a block, or its block is used by something else too.
 */
export type RefcountDamage = 'none' | 'outside' | 'broken';

/** The true references of one file. */
export interface Census {
  readonly ledger: ReferenceLedger;
  readonly places: MetadataPlaces;
  readonly stored: StoredRefcounts;
  readonly fragmentation: Fragmentation;
  readonly refcountDamage: RefcountDamage;
  /** False when an owner of clusters could not be read: then the counts decide nothing. */
  readonly isComplete: boolean;
}

/** What the parts of one census share. */
interface Walk {
  readonly subject: CheckSubject;
  readonly snapshots: SnapshotPlaces;
  readonly ledger: ReferenceLedger;
  readonly stored: StoredRefcounts;
  /** The L2 tables found so far, by offset: each is read once, however many L1 entries name it. */
  readonly l2Uses: Map<number, L2Use>;
  readonly pace: Pace;
}

const l1EntrySize = 8;
const readLength = MiB;

/** Walks everything. With `mend`, broken L2 entries that hold nothing are emptied on the way (CHK-09). */
export function* takeCensus(
  subject: CheckSubject,
  snapshots: SnapshotPlaces,
  log: CheckLog,
  options: { readonly mend: boolean; readonly pace: Pace },
): Steps<Census> {
  const ledger = new ReferenceLedger(subject, log);
  const stored = new StoredRefcounts(subject);
  const walk: Walk = { subject, snapshots, ledger, stored, l2Uses: new Map(), pace: options.pace };
  ledger.bookCluster(0, 1);
  for (const stretch of coverOf(bookL1Tables(walk), alignUp(subject.file.size, l1EntrySize))) {
    yield* walkL1Stretch(walk, stretch);
  }
  const places = placesOf(walk);
  const l2Census = new L2Census(subject, ledger, { places, mend: options.mend });
  yield* walkL2Tables(walk, l2Census);
  bookTables(walk);
  const isComplete = yield* bookBitmaps(subject, ledger, walk.pace);
  const refcountDamage = isComplete ? bookRefcountBlocks(walk) : 'none';
  return { ledger, places, stored, fragmentation: l2Census.fragmentation, refcountDamage, isComplete };
}

/** Books the L1 tables themselves; returns those whose entries are to be walked. */
function bookL1Tables({ subject, snapshots, ledger }: Walk): readonly PlacedTable[] {
  const { header, geometry } = subject;
  const active = { offset: header.l1TableOffset, length: header.l1Entries * l1EntrySize, active: true };
  const tables: PlacedTable[] = [active];
  if (subject.hasDataFile && snapshots.entries.length > 0) {
    ledger.log.corruption(1, () => ({ message: 'An image with an external data file cannot have snapshots.' }));
  }
  for (const { entryAt, l1TableOffset, l1Entries } of snapshots.entries) {
    if (l1TableOffset % geometry.clusterSize !== 0) {
      ledger.log.corruption(1, () => ({
        hostOffset: entryAt,
        message: 'The L1 table of a snapshot does not start on a cluster.',
      }));
    } else if (l1Entries > l1EntriesMax) {
      ledger.log.corruption(1, () => ({ hostOffset: entryAt, message: 'The L1 table of a snapshot is too large.' }));
    } else if (l1Entries > 0) {
      tables.push({ offset: l1TableOffset, length: l1Entries * l1EntrySize, active: false });
    }
  }
  for (const { offset, length, active: isActive } of tables) {
    const whose = isActive ? 'active L1 table' : 'L1 table of a snapshot';
    ledger.book({
      offset,
      length,
      times: 1,
      finding: () => ({ hostOffset: offset, message: `The ${whose} reaches past the end of the file.` }),
    });
  }
  return tables;
}

function* walkL1Stretch(walk: Walk, stretch: CoveredStretch): Steps<void> {
  const buffer = new Uint8Array(Math.min(readLength, stretch.length));
  for (let done = 0; done < stretch.length; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, stretch.length - done));
    walk.subject.file.readAt(hostOffset(stretch.offset + done), piece);
    const view = viewOf(piece);
    for (let at = 0; at < piece.length; at += l1EntrySize) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      if (high !== 0 || low !== 0) judgeL1Entry(walk, stretch, { entryAt: stretch.offset + done + at, high, low });
    }
    const pause = walk.pace.spend(piece.length);
    if (pause !== undefined) yield pause;
  }
}

function judgeL1Entry(
  { subject, ledger, l2Uses }: Walk,
  stretch: CoveredStretch,
  entry: { readonly entryAt: number; readonly high: number; readonly low: number },
): void {
  const { header, geometry, file } = subject;
  const { entryAt, high, low } = entry;
  const { tables, activeTables } = stretch;
  const hasGuest = activeTables > 0;
  const guestOffset = hasGuest ? ((entryAt - header.l1TableOffset) / l1EntrySize) * geometry.l2Span : undefined;
  const finding = (trouble: string) => () => ({
    ...(guestOffset === undefined ? {} : { guestOffset }),
    hostOffset: entryAt,
    message: `An L1 entry ${trouble}.`,
  });
  if (!l1ReservedBitsClear(high, low)) ledger.log.corruption(tables, finding('sets reserved bits'));
  const offset = entryOffset(high, low);
  ledger.book({
    offset,
    length: geometry.clusterSize,
    times: tables,
    finding: finding('points past the end of the file'),
  });
  if (offset % geometry.clusterSize !== 0)
    ledger.log.corruption(tables, finding('points into the middle of a cluster'));
  // A table behind the end of the file reads as zeroes: nothing to walk.
  if (offset >= file.size) return;
  const known = l2Uses.get(offset);
  l2Uses.set(offset, {
    offset,
    tables: tables + (known?.tables ?? 0),
    activeTables: activeTables + (known?.activeTables ?? 0),
    guestOffset: known?.guestOffset ?? guestOffset,
  });
}

function* walkL2Tables({ subject, l2Uses, pace }: Walk, l2Census: L2Census): Steps<void> {
  const { clusterSize } = subject.geometry;
  pace.expect(l2Uses.size * clusterSize);
  for (const use of l2Uses.values()) {
    l2Census.walk(use);
    const pause = pace.spend(clusterSize);
    if (pause !== undefined) yield pause;
  }
  l2Uses.clear();
  // The dropped places are gone before a refcount is lowered.
  if (l2Census.hasMended) subject.file.flush();
}

function bookTables({ subject, snapshots, ledger }: Walk): void {
  const { header, geometry, extensions } = subject;
  const spans = [
    { name: 'snapshot table', offset: snapshots.tableOffset, length: snapshots.tableLength },
    {
      name: 'refcount table',
      offset: header.refcountTableOffset,
      length: header.refcountTableClusters * geometry.clusterSize,
    },
    {
      name: 'encryption header',
      offset: extensions.encryption?.offset ?? 0,
      length: extensions.encryption?.length ?? 0,
    },
  ];
  for (const { name, offset, length } of spans) {
    const finding = () => ({ hostOffset: offset, message: `The ${name} reaches past the end of the file.` });
    ledger.book({ offset, length, times: 1, finding });
  }
}

/** Books the refcount blocks. */
function bookRefcountBlocks({ subject, ledger, stored }: Walk): RefcountDamage {
  const { clusterSize } = subject.geometry;
  let damage: RefcountDamage = 'none';
  const report = (index: number, trouble: string): void => {
    const hostOffsetOfEntry = subject.header.refcountTableOffset + index * 8;
    ledger.log.corruption(1, () => ({
      hostOffset: hostOffsetOfEntry,
      message: `Refcount table entry ${index} ${trouble}.`,
    }));
  };
  for (let index = 0; index < stored.entries; index += 1) {
    const place = stored.place(index);
    if (!stored.isEntrySound(index)) {
      report(index, 'sets reserved bits');
      damage = 'broken';
    } else if (place.kind !== 'none' && place.offset % clusterSize !== 0) {
      report(index, 'points into the middle of a cluster');
      damage = 'broken';
    } else if (place.kind !== 'none' && place.offset >= ledger.clusters * clusterSize) {
      report(index, 'points past the end of the file');
      if (damage === 'none') damage = 'outside';
    } else if (place.kind === 'placed') {
      const cluster = place.offset / clusterSize;
      ledger.bookCluster(cluster, 1);
      if (ledger.counts.get(cluster) === 1) continue;
      report(index, 'names a block that something else uses too');
      damage = 'broken';
    }
  }
  return damage;
}

function placesOf({ subject, snapshots, stored }: Walk): MetadataPlaces {
  const { header, geometry, extensions } = subject;
  const places = new MetadataPlaces({ clusterSize: geometry.clusterSize });
  places.add('header', { offset: 0, length: geometry.clusterSize });
  places.add('active-l1', { offset: header.l1TableOffset, length: header.l1Entries * l1EntrySize });
  places.add('refcounts', {
    offset: header.refcountTableOffset,
    length: header.refcountTableClusters * geometry.clusterSize,
  });
  places.add('snapshots', { offset: snapshots.tableOffset, length: snapshots.tableLength });
  for (const { l1TableOffset, l1Entries } of snapshots.entries) {
    if (l1TableOffset % geometry.clusterSize !== 0 || l1Entries === 0 || l1Entries > l1EntriesMax) continue;
    places.add('snapshots', { offset: l1TableOffset, length: l1Entries * l1EntrySize });
  }
  if (extensions.bitmaps !== undefined) {
    places.add('bitmaps', { offset: extensions.bitmaps.directoryOffset, length: extensions.bitmaps.directoryLength });
  }
  if (extensions.encryption !== undefined) places.add('encryption', extensions.encryption);
  for (let index = 0; index < stored.entries; index += 1) {
    const place = stored.place(index);
    if (place.kind === 'placed') places.addRefcountBlock(place.offset);
  }
  return places;
}
