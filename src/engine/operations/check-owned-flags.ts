// Checks, and mends, the "owned" flags of the active tables: set exactly where a refcount is 1 (CHK-08; T01, T02).

import { MiB } from '../../base/units.ts';
import { viewOf } from '../format/big-endian.ts';
import { entryOffset, isOwned, offsetHighMask, offsetLowMask, ownedBit } from '../format/l1-entry.ts';
import { compressedBit } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { Census } from './census.ts';
import type { CheckLog } from './check-log.ts';
import { hostClusters } from './check-subject.ts';
import type { CheckSubject } from './check-subject.ts';
import type { Comparison } from './compare-refcounts.ts';
import type { Pace } from './pace.ts';
import type { Steps } from './steps.ts';

const l1EntrySize = 8;
const readLength = MiB;
const twoPow32 = 0x1_0000_0000;

/** An L2 table to look at: how many active L1 entries name it, and the first guest byte that it maps. */
interface ActiveTable {
  readonly times: number;
  readonly guestOffset: number;
}

/** Walks the active L1 table and its L2 tables; the comparison has settled the census's counters. */
export function* checkOwnedFlags(
  subject: CheckSubject,
  judged: { readonly census: Census; readonly comparison: Comparison },
  log: CheckLog,
  options: { readonly mend: boolean; readonly pace: Pace },
): Steps<void> {
  const walk = new FlagWalk(subject, judged, log, options);
  const { clusterSize, l2Span } = subject.geometry;
  const { l1TableOffset, l1Entries } = subject.header;
  const tables = new Map<number, ActiveTable>();
  const buffer = new Uint8Array(Math.min(readLength, l1Entries * l1EntrySize));
  const { pace } = options;
  for (let done = 0; done < l1Entries * l1EntrySize; done += buffer.length) {
    if (l1TableOffset + done >= subject.file.size) break;
    const piece = buffer.subarray(0, Math.min(buffer.length, l1Entries * l1EntrySize - done));
    subject.file.readAt(hostOffset(l1TableOffset + done), piece);
    const view = viewOf(piece);
    for (let at = 0; at < piece.length; at += l1EntrySize) {
      const entry = { at: l1TableOffset + done + at, high: view.getUint32(at), low: view.getUint32(at + 4) };
      const offset = entryOffset(entry.high, entry.low);
      if (offset === 0) continue;
      const guestOffset = ((done + at) / l1EntrySize) * l2Span;
      if (!walk.checkL1Entry(entry, guestOffset) || offset >= subject.file.size) continue;
      const known = tables.get(offset);
      tables.set(offset, { times: (known?.times ?? 0) + 1, guestOffset: known?.guestOffset ?? guestOffset });
    }
    const pause = pace.spend(piece.length);
    if (pause !== undefined) yield pause;
  }
  pace.expect(tables.size * clusterSize);
  for (const [offset, table] of tables) {
    walk.checkTable(offset, table);
    const pause = pace.spend(clusterSize);
    if (pause !== undefined) yield pause;
  }
  if (walk.hasMended) subject.file.flush();
}

class FlagWalk {
  readonly #subject: CheckSubject;
  readonly #census: Census;
  readonly #unreadable: ReadonlySet<number>;
  readonly #log: CheckLog;
  readonly #mend: boolean;
  readonly #buffer: Uint8Array;
  readonly #view: DataView;
  /** Clusters that the comparison has settled. */
  readonly #settledEnd: number;
  #hasMended = false;

  constructor(
    subject: CheckSubject,
    judged: { readonly census: Census; readonly comparison: Comparison },
    log: CheckLog,
    options: { readonly mend: boolean },
  ) {
    this.#subject = subject;
    this.#census = judged.census;
    this.#unreadable = judged.comparison.unreadable;
    this.#log = log;
    this.#mend = options.mend;
    this.#buffer = new Uint8Array(subject.geometry.clusterSize);
    this.#view = viewOf(this.#buffer);
    // With an unreadable block every cluster is asked for one by one.
    this.#settledEnd =
      judged.comparison.unreadable.size > 0 ? 0 : Math.min(hostClusters(subject), judged.census.ledger.clusters);
  }

  get hasMended(): boolean {
    return this.#hasMended;
  }

  /** False when the refcount of the table cannot be read: then the table is not looked at. */
  checkL1Entry(
    entry: { readonly at: number; readonly high: number; readonly low: number },
    guestOffset: number,
  ): boolean {
    const offset = entryOffset(entry.high, entry.low);
    const refcount = this.#refcountOf(Math.floor(offset / this.#subject.geometry.clusterSize));
    if (refcount === undefined) return false;
    if ((refcount === 1) === isOwned(entry.high)) return true;
    if (this.#mend && this.#writeL1Entry(entry)) {
      this.#log.corruptionsFixed += 1;
      return true;
    }
    this.#log.corruption(1, () => ({
      guestOffset,
      hostOffset: entry.at,
      message: `The L2 table at ${offset} has refcount ${refcount} and its owned flag is ${isOwned(entry.high) ? 'set' : 'clear'}.`,
    }));
    return true;
  }

  checkTable(offset: number, table: ActiveTable): void {
    const { clusterSize, clusterBits, l2Entries, l2EntrySize } = this.#subject.geometry;
    this.#subject.file.readAt(hostOffset(offset), this.#buffer);
    const view = this.#view;
    const { counts } = this.#census.ledger;
    const clustersPerHigh = twoPow32 / clusterSize;
    const { hasDataFile } = this.#subject;
    const settledEnd = hasDataFile ? 0 : this.#settledEnd;
    let chunkIndex = -1;
    let chunk = counts.chunkIfAny(0);
    const wrong: number[] = [];
    for (let index = 0; index < l2Entries; index += 1) {
      const high = view.getUint32(index * l2EntrySize);
      const low = view.getUint32(index * l2EntrySize + 4);
      if ((high & compressedBit) !== 0) continue;
      // Without a place there is nothing to own; with a data file the flag alone is the cluster at 0, and right (DAT-02).
      if ((high & offsetHighMask) === 0 && (low & offsetLowMask) === 0) continue;
      const cluster = (high & offsetHighMask) * clustersPerHigh + (low >>> clusterBits);
      if (cluster < settledEnd) {
        if (cluster >>> 16 !== chunkIndex) {
          chunkIndex = cluster >>> 16;
          chunk = counts.chunkIfAny(chunkIndex);
        }
        if ((chunk?.[cluster & 0xffff] === 1) === high >= ownedBit) continue;
      } else {
        const refcount = hasDataFile ? 1 : this.#refcountOf(cluster);
        if (refcount === undefined || (refcount === 1) === high >= ownedBit) continue;
      }
      wrong.push(index);
    }
    if (wrong.length > 0) this.#report(offset, table, wrong);
  }

  /** Turns the flags of the entries `wrong` around, or reports them. */
  #report(offset: number, table: ActiveTable, wrong: readonly number[]): void {
    if (this.#mend && this.#turnFlags(offset, wrong)) {
      this.#log.corruptionsFixed += wrong.length;
      return;
    }
    const { clusterSize, l2EntrySize } = this.#subject.geometry;
    for (const index of wrong) {
      const isSet = this.#view.getUint32(index * l2EntrySize) >= ownedBit;
      this.#log.corruption(table.times, () => ({
        guestOffset: table.guestOffset + index * clusterSize,
        hostOffset: offset + index * l2EntrySize,
        message: `The owned flag of entry ${index} of the L2 table at ${offset} is ${isSet ? 'set although' : 'clear and'} the refcount is ${isSet ? 'not ' : ''}1.`,
      }));
    }
  }

  #turnFlags(offset: number, wrong: readonly number[]): boolean {
    const { l2EntrySize } = this.#subject.geometry;
    const first = (wrong[0] ?? 0) * l2EntrySize;
    const end = (wrong.at(-1) ?? 0) * l2EntrySize + l2EntrySize;
    if (this.#census.places.isOwned({ offset: offset + first, length: end - first })) return false;
    for (const index of wrong) {
      const high = this.#view.getUint32(index * l2EntrySize);
      this.#view.setUint32(index * l2EntrySize, (high ^ ownedBit) >>> 0);
    }
    this.#subject.file.writeAt(hostOffset(offset + first), this.#buffer.subarray(first, end));
    this.#hasMended = true;
    return true;
  }

  #writeL1Entry({ at, high, low }: { readonly at: number; readonly high: number; readonly low: number }): boolean {
    if (this.#census.places.isOwnedBesidesL1({ offset: at, length: l1EntrySize })) return false;
    const bytes = new Uint8Array(l1EntrySize);
    viewOf(bytes).setUint32(0, (high ^ ownedBit) >>> 0);
    viewOf(bytes).setUint32(4, low);
    this.#subject.file.writeAt(hostOffset(at), bytes);
    this.#hasMended = true;
    return true;
  }

  /** The stored refcount, or undefined where it cannot be read. */
  #refcountOf(cluster: number): number | undefined {
    if (cluster < this.#settledEnd) return this.#census.ledger.counts.get(cluster);
    if (this.#unreadable.has(Math.floor(cluster / this.#subject.geometry.refcountsPerBlock))) return undefined;
    return this.#census.stored.get(cluster);
  }
}
