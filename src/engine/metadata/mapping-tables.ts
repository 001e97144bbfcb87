// Guest to host: the active L1 table in memory, L2 tables through the cache (MAP-01, MAP-02, T18, T19).

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf } from '../format/big-endian.ts';
import type { Geometry } from '../format/geometry.ts';
import { entryHigh, entryLow, entryOffset, isOwned } from '../format/l1-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { hostOffsetMax } from './host-limits.ts';
import { readInside } from './refcount-tables.ts';
import { sliceOffset } from './slice-cache.ts';
import type { Slice, SliceCache } from './slice-cache.ts';

export interface L1Place {
  readonly offset: HostOffset;
  readonly entries: number;
}

export interface MappingTablesParts {
  readonly file: ByteFile;
  readonly geometry: Geometry;
  readonly cache: SliceCache;
  readonly sliceLength: number;
}

/** Entries that are written at once: a sector. */
const entriesPerSector = 64;

/** One mapping tree: the image's own, or a snapshot's (then only read). */
export class MappingTables {
  readonly #file: ByteFile;
  readonly #geometry: Geometry;
  readonly #cache: SliceCache;
  readonly #sliceLength: number;
  readonly entriesPerSlice: number;
  #place: L1Place;
  /** As far as the file held it, until a slot behind that is changed. */
  #l1: DataView;
  readonly #dirtySectors = new Set<number>();

  /** `l1`: the table, or whole entries from its start; those behind it are empty. */
  constructor(parts: MappingTablesParts, place: L1Place, l1: Uint8Array) {
    assert(l1.length <= place.entries * 8, 'an L1 table is no longer than its place');
    this.#file = parts.file;
    this.#geometry = parts.geometry;
    this.#cache = parts.cache;
    this.#sliceLength = parts.sliceLength;
    this.entriesPerSlice = parts.sliceLength / parts.geometry.l2EntrySize;
    this.#place = place;
    this.#l1 = viewOf(l1);
  }

  static read(parts: MappingTablesParts, place: L1Place): MappingTables {
    return new MappingTables(parts, place, readInside(parts.file, place.offset, place.entries * 8));
  }

  get place(): L1Place {
    return this.#place;
  }

  get l1Entries(): number {
    return this.#place.entries;
  }

  /** Where the L2 table of an L1 slot lies; undefined without one. Faults `l1-entry-invalid`. */
  l2Table(l1Index: number): HostOffset | undefined {
    if (l1Index * 8 >= this.#l1.byteLength) return undefined;
    const offset = entryOffset(this.#l1.getUint32(l1Index * 8), this.#l1.getUint32(l1Index * 8 + 4));
    if (offset === 0) return undefined;
    if (offset % this.#geometry.clusterSize !== 0 || offset >= hostOffsetMax) {
      throw new Fault('l1-entry-invalid', { l1Index, hostOffset: offset });
    }
    return hostOffset(offset);
  }

  /** Where the L2 tables lie, in the order of their slots. Faults `l1-entry-invalid`. */
  *l2Tables(): Generator<HostOffset, void, undefined> {
    for (let l1Index = 0; l1Index < this.l1Entries; l1Index += 1) {
      const table = this.l2Table(l1Index);
      if (table !== undefined) yield table;
    }
  }

  /** Whether the L2 table of a slot is used exactly once, by its own word (MAP-01). */
  ownsL2Table(l1Index: number): boolean {
    return l1Index * 8 < this.#l1.byteLength && isOwned(this.#l1.getUint32(l1Index * 8));
  }

  /** Points a slot elsewhere; on disk after the next {@link writeL1}. */
  setL2Table(l1Index: number, target: { readonly offset: HostOffset; readonly owned: boolean } | undefined): void {
    assert(l1Index < this.#place.entries, 'a changed slot lies in the L1 table');
    if (l1Index * 8 >= this.#l1.byteLength) this.#l1 = viewOf(this.copyOfL1(this.#place.entries));
    this.#l1.setUint32(l1Index * 8, target === undefined ? 0 : entryHigh(target.offset, target.owned));
    this.#l1.setUint32(l1Index * 8 + 4, target === undefined ? 0 : entryLow(target.offset));
    this.#dirtySectors.add(Math.floor(l1Index / entriesPerSector));
  }

  get hasUnwrittenL1(): boolean {
    return this.#dirtySectors.size > 0;
  }

  /** Writes changed slots in place; the tables they name are durable by now (ORD-05). */
  writeL1(): void {
    for (const sector of this.#dirtySectors) {
      const at = sector * entriesPerSector * 8;
      const length = Math.min(entriesPerSector * 8, this.#l1.byteLength - at);
      const bytes = new Uint8Array(this.#l1.buffer, this.#l1.byteOffset + at, length);
      this.#file.writeAt(hostOffset(this.#place.offset + at), bytes);
    }
    this.#dirtySectors.clear();
  }

  /** The L1 table as bytes, cut or grown with empty slots. */
  copyOfL1(entries: number): Uint8Array {
    const copy = new Uint8Array(entries * 8);
    const length = Math.min(copy.length, this.#l1.byteLength);
    copy.set(new Uint8Array(this.#l1.buffer, this.#l1.byteOffset, length));
    return copy;
  }

  /** The tree is another one from now on; its L1 table was written, and the header names it. */
  moveL1(place: L1Place, l1: Uint8Array): void {
    assert(l1.length === place.entries * 8, 'an L1 table is given whole');
    assert(this.#dirtySectors.size === 0, 'no change of the old L1 table is left behind');
    this.#place = place;
    this.#l1 = viewOf(l1);
  }

  /** The cached slice that holds entry `l2Index` of the table at `table`. */
  slice(table: HostOffset, l2Index: number): Slice {
    return this.#cache.get(sliceOffset(table, l2Index * this.#geometry.l2EntrySize, this.#sliceLength));
  }

  /** The slice was changed; see {@link SliceCache.markDirty}. */
  markDirty(slice: Slice): void {
    this.#cache.markDirty(slice);
  }
}
