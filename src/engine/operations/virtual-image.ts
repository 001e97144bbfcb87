// A qcow2 file that is never stored: header, tables and data are made from a survey and a layer when they are read.

import { assert, present } from '../../base/assert.ts';
import { alignDown, alignUp } from '../../base/integers.ts';
import type { Geometry } from '../format/geometry.ts';
import { zeroBit } from '../format/l2-entry.ts';
import { guestOffset } from '../format/offsets.ts';
import type { Layer } from '../layer/layer.ts';
import type { GuestSurvey } from './guest-survey.ts';
import { runKinds } from './run-list.ts';
import { fillPointers, fillRefcounts, fillRefcountTable } from './sequential-layout.ts';
import type { SequentialLayout } from './sequential-layout.ts';
import type { VirtualFile } from './virtual-file.ts';

/** What such a file is made of; `header` is the used part of the first cluster. */
export interface VirtualImageParts {
  readonly geometry: Geometry;
  readonly layout: SequentialLayout;
  readonly header: Uint8Array;
  readonly survey: GuestSurvey;
  readonly layer: Layer;
}

/** Fills `target` with the bytes of one area from byte `from` of the area on. */
type Fill = (from: number, target: Uint8Array) => void;

/** Entries of L1 table, L2 tables and refcount table have 8 bytes: the file has standard L2 entries. */
const entrySize = 8;

/** Nothing but the parts is kept: the same range is the same bytes for as long as the layer stays as it is. */
export class VirtualImage implements VirtualFile {
  readonly length: number;
  readonly #parts: VirtualImageParts;
  /** In the order of the file, without gaps. */
  readonly #areas: readonly { readonly start: number; readonly end: number; readonly fill: Fill }[];

  constructor(parts: VirtualImageParts) {
    assert(!parts.geometry.extendedL2, 'a virtual image has standard L2 entries');
    this.#parts = parts;
    const { layout, geometry } = parts;
    this.length = layout.clusters * layout.clusterSize;
    this.#areas = [
      { start: 0, end: layout.refcountTableOffset, fill: (from, target) => this.#fillHeader(from, target) },
      {
        start: layout.refcountTableOffset,
        end: layout.refcountBlocksOffset,
        fill: byEntries((first, target) => fillRefcountTable(layout, first, target)),
      },
      {
        start: layout.refcountBlocksOffset,
        end: layout.l1Offset,
        fill: (from, target) =>
          fillRefcounts(target, { from, refcountOrder: geometry.refcountOrder, used: layout.clusters }),
      },
      { start: layout.l1Offset, end: layout.l2Offset, fill: byEntries((first, target) => this.#fillL1(first, target)) },
      {
        start: layout.l2Offset,
        end: layout.dataOffset,
        fill: byEntries((first, target) => this.#fillL2(first, target)),
      },
      { start: layout.dataOffset, end: this.length, fill: (from, target) => this.#fillData(from, target) },
    ];
  }

  read(offset: number, target: Uint8Array): void {
    assert(offset >= 0 && offset + target.length <= this.length, 'a read lies inside the file');
    let done = 0;
    while (done < target.length) {
      const at = offset + done;
      const area = present(
        this.#areas.find((candidate) => at < candidate.end),
        'the areas cover the file',
      );
      const piece = target.subarray(done, done + Math.min(target.length - done, area.end - at));
      area.fill(at - area.start, piece);
      done += piece.length;
    }
  }

  #fillHeader(from: number, target: Uint8Array): void {
    target.fill(0);
    target.set(this.#parts.header.subarray(from, from + target.length));
  }

  #fillL1(first: number, target: Uint8Array): void {
    const { layout, survey } = this.#parts;
    const end = first + target.length / entrySize;
    target.fill(0);
    for (const run of survey.tables.from(first)) {
      if (run.start >= end) break;
      if (run.kind !== runKinds.counted) continue;
      const start = Math.max(run.start, first);
      fillPointers(target, {
        at: (start - first) * entrySize,
        count: Math.min(run.end, end) - start,
        offset: layout.l2Offset + (run.rank + start - run.start) * layout.clusterSize,
        clusterSize: layout.clusterSize,
        entrySize,
        owned: true,
      });
    }
  }

  /** `first` counts the entries of all L2 tables of the file, joined. */
  #fillL2(first: number, target: Uint8Array): void {
    const { survey, geometry } = this.#parts;
    const { l2Entries } = geometry;
    const firstTable = Math.floor(first / l2Entries);
    let done = 0;
    let table = firstTable;
    let within = first % l2Entries;
    for (const run of survey.tables.fromRank(firstTable)) {
      // Neighbouring tables map neighbouring guest clusters.
      const guestCluster = (run.start + table - run.rank) * l2Entries + within;
      const length = Math.min(target.length - done, (run.end * l2Entries - guestCluster) * entrySize);
      this.#fillMapping(guestCluster, target.subarray(done, done + length));
      done += length;
      if (done === target.length) break;
      table = run.rank + run.end - run.start;
      within = 0;
    }
    assert(done === target.length, 'every L2 table of the file is surveyed');
  }

  /** The entries of neighbouring guest clusters from `first` on; beyond the end of the disk they are empty. */
  #fillMapping(first: number, target: Uint8Array): void {
    const { layout, survey } = this.#parts;
    const end = first + target.length / entrySize;
    target.fill(0);
    for (const run of survey.clusters.from(first)) {
      if (run.start >= end) break;
      if (run.kind === runKinds.absent) continue;
      const start = Math.max(run.start, first);
      const at = (start - first) * entrySize;
      const count = Math.min(run.end, end) - start;
      if (run.kind === runKinds.other) {
        fillZeroEntries(target, { at, count });
        continue;
      }
      fillPointers(target, {
        at,
        count,
        offset: layout.dataOffset + (run.rank + start - run.start) * layout.clusterSize,
        clusterSize: layout.clusterSize,
        entrySize,
        owned: true,
      });
    }
  }

  #fillData(from: number, target: Uint8Array): void {
    const { layout, survey } = this.#parts;
    const { clusterSize } = layout;
    const firstRank = Math.floor(from / clusterSize);
    let done = 0;
    for (const run of survey.clusters.fromRank(firstRank)) {
      const skipped = Math.max(0, from - run.rank * clusterSize);
      const guest = run.start * clusterSize + skipped;
      const length = Math.min(target.length - done, run.end * clusterSize - guest);
      this.#readGuest(guest, target.subarray(done, done + length));
      done += length;
      if (done === target.length) break;
    }
    assert(done === target.length, 'every data cluster of the file is surveyed');
  }

  /** The disk may end inside its last cluster: the rest of the cluster is zeroes. */
  #readGuest(guest: number, target: Uint8Array): void {
    const { layer } = this.#parts;
    const stored = Math.max(0, Math.min(target.length, layer.size - guest));
    if (stored > 0) layer.read(guestOffset(guest), target.subarray(0, stored));
    target.fill(0, stored);
  }
}

/** Lets whole entries be filled where any bytes are asked for. */
function byEntries(fillEntries: (first: number, target: Uint8Array) => void): Fill {
  return (from, target) => {
    const start = alignDown(from, entrySize);
    const end = alignUp(from + target.length, entrySize);
    if (start === from && end === from + target.length) {
      fillEntries(start / entrySize, target);
      return;
    }
    const whole = new Uint8Array(end - start);
    fillEntries(start / entrySize, whole);
    target.set(whole.subarray(from - start, from - start + target.length));
  };
}

/** Entries that read as zero and have no place (MAP-03). */
function fillZeroEntries(target: Uint8Array, row: { readonly at: number; readonly count: number }): void {
  const end = row.at + row.count * entrySize;
  for (let at = row.at + entrySize - 1; at < end; at += entrySize) target[at] = zeroBit;
}
