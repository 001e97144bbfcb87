// Counts every reference to every host cluster by walking all tables of a file (REF-04, CHK-03).
//
//   header · active L1 and snapshot L1s → L2 tables → data and compressed blobs · snapshot table ·
//   refcount table → refcount blocks · LUKS area · bitmap directory → bitmap tables → bitmap data

import { alignUp, divideUp } from '../../base/integers.ts';
import { KiB } from '../../base/units.ts';
import { viewOf } from '../format/big-endian.ts';
import { l1EntriesMax } from '../format/header.ts';
import { entryOffset, l1ReservedBitsClear } from '../format/l1-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import { bookBitmaps } from './bitmap-census.ts';
import type { CheckLog } from './check-log.ts';
import type { CheckSubject } from './check-subject.ts';
import { bookEncryption } from './encryption-census.ts';
import { L2Census } from './l2-census.ts';
import type { Fragmentation, L2Use } from './l2-census.ts';
import { MetadataPlaces } from './metadata-places.ts';
import type { Pace } from './pace.ts';
import { ReferenceLedger } from './reference-ledger.ts';
import type { SnapshotPlaces } from './snapshot-places.ts';
import type { Steps } from './steps.ts';
import { StoredRefcounts } from './stored-refcounts.ts';
import { TableCover } from './table-cover.ts';
import type { CoveredStretch } from './table-cover.ts';

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
/** How much of an L1 table is looked at in one go. */
const l1ReadLength = 64 * KiB;

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
  for (const stretch of bookL1Tables(walk).stretches(alignUp(subject.file.size, l1EntrySize))) {
    yield* walkL1Stretch(walk, stretch);
  }
  const places = placesOf(walk);
  const l2Census = new L2Census(subject, ledger, { places, mend: options.mend });
  yield* walkL2Tables(walk, l2Census);
  bookTables(walk);
  const isComplete = bookEncryption(subject, ledger) && (yield* bookBitmaps(subject, ledger, walk.pace));
  const refcountDamage = isComplete ? bookRefcountBlocks(walk) : 'none';
  return { ledger, places, stored, fragmentation: l2Census.fragmentation, refcountDamage, isComplete };
}

/** Books the L1 tables themselves; returns those whose entries are to be walked. */
function bookL1Tables({ subject, snapshots, ledger }: Walk): TableCover {
  const { header, geometry } = subject;
  if (subject.hasDataFile && snapshots.count > 0) {
    ledger.log.corruption(1, () => ({ message: 'An image with an external data file cannot have snapshots.' }));
  }
  const tables = new TableCover();
  // In clusters: a cluster of thousands of tables is booked once.
  const inside = new TableCover();
  const past = new TableCover();
  const add = (whose: string, offset: number, length: number): void => {
    if (length === 0) return;
    tables.add(offset, length);
    const end = offset + length;
    const isPast = ledger.reachesPast(end);
    const first = offset / geometry.clusterSize;
    (isPast ? past : inside).add(first, divideUp(end, geometry.clusterSize) - first);
    if (!isPast) return;
    ledger.log.corruption(1, () => ({
      hostOffset: offset,
      message: `The ${whose} reaches past the end of the file.`,
    }));
  };
  add('active L1 table', header.l1TableOffset, header.l1Entries * l1EntrySize);
  for (let index = 0; index < snapshots.count; index += 1) {
    if (judgeSnapshotL1(subject, snapshots, index, ledger.log)) {
      add('L1 table of a snapshot', snapshots.l1TableOffset(index), snapshots.l1Entries(index) * l1EntrySize);
    }
  }
  for (const { offset, length, tables: times } of inside.stretches(Infinity)) {
    ledger.bookInside(offset, offset + length, times);
  }
  for (const { offset, length, tables: times } of past.stretches(Infinity)) {
    ledger.bookPast(offset, offset + length, times);
  }
  return tables;
}

/** Whether the L1 table of a snapshot is where one can be, and no longer than one may be. */
function judgeSnapshotL1(subject: CheckSubject, snapshots: SnapshotPlaces, index: number, log: CheckLog): boolean {
  if (snapshots.l1TableOffset(index) % subject.geometry.clusterSize !== 0) {
    log.corruption(1, () => ({
      hostOffset: snapshots.entryAt(index),
      message: 'The L1 table of a snapshot does not start on a cluster.',
    }));
    return false;
  }
  if (snapshots.l1Entries(index) > l1EntriesMax) {
    log.corruption(1, () => ({
      hostOffset: snapshots.entryAt(index),
      message: 'The L1 table of a snapshot is too large.',
    }));
    return false;
  }
  return true;
}

function* walkL1Stretch(walk: Walk, stretch: CoveredStretch): Steps<void> {
  const { header } = walk.subject;
  const activeEnd = header.l1TableOffset + header.l1Entries * l1EntrySize;
  const isActive = stretch.offset >= header.l1TableOffset && stretch.offset < activeEnd;
  const buffer = new Uint8Array(Math.min(l1ReadLength, stretch.length));
  for (let done = 0; done < stretch.length; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, stretch.length - done));
    walk.subject.file.readAt(hostOffset(stretch.offset + done), piece);
    const view = viewOf(piece);
    for (let at = 0; at < piece.length; at += l1EntrySize) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      if (high === 0 && low === 0) continue;
      judgeL1Entry(walk, { tables: stretch.tables, isActive }, { entryAt: stretch.offset + done + at, high, low });
    }
    const pause = walk.pace.spend(piece.length);
    if (pause !== undefined) yield pause;
  }
}

function judgeL1Entry(
  { subject, ledger, l2Uses }: Walk,
  holders: { readonly tables: number; readonly isActive: boolean },
  entry: { readonly entryAt: number; readonly high: number; readonly low: number },
): void {
  const { header, geometry, file } = subject;
  const { entryAt, high, low } = entry;
  const { tables, isActive } = holders;
  const guestOffset = isActive ? ((entryAt - header.l1TableOffset) / l1EntrySize) * geometry.l2Span : undefined;
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
    activeTables: (isActive ? 1 : 0) + (known?.activeTables ?? 0),
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
  const { header, geometry } = subject;
  const spans = [
    { name: 'snapshot table', offset: snapshots.tableOffset, length: snapshots.tableLength },
    {
      name: 'refcount table',
      offset: header.refcountTableOffset,
      length: header.refcountTableClusters * geometry.clusterSize,
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
  const { bitmaps, encryption } = extensions;
  const { clusterSize } = geometry;
  const places = new MetadataPlaces({
    clusterSize,
    activeL1: { offset: header.l1TableOffset, length: header.l1Entries * l1EntrySize },
  });
  places.add(0, clusterSize);
  places.add(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
  places.add(snapshots.tableOffset, snapshots.tableLength);
  if (bitmaps !== undefined) places.add(bitmaps.directoryOffset, bitmaps.directoryLength);
  if (encryption !== undefined) places.add(encryption.offset, encryption.length);
  for (let index = 0; index < snapshots.count; index += 1) {
    const offset = snapshots.l1TableOffset(index);
    const entries = snapshots.l1Entries(index);
    if (offset % clusterSize === 0 && entries <= l1EntriesMax) places.add(offset, entries * l1EntrySize);
  }
  for (let index = 0; index < stored.entries; index += 1) {
    const place = stored.place(index);
    if (place.kind === 'placed') places.addRefcountBlock(place.offset);
  }
  return places;
}
