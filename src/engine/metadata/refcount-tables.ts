// How often each host cluster is used: the refcount table in memory, its blocks through the cache (REF-01…REF-06).

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf } from '../format/big-endian.ts';
import type { Geometry } from '../format/geometry.ts';
import { hostCluster, hostOffset } from '../format/offsets.ts';
import type { HostCluster, HostOffset } from '../format/offsets.ts';
import { readRefcount, writeRefcount } from '../format/refcount-block.ts';
import { refcountBlockOffset, refcountReservedBitsClear } from '../format/refcount-table-entry.ts';
import { alignUp, highHalf, lowHalf } from '../../base/integers.ts';
import { hostOffsetMax } from './host-limits.ts';
import { sliceOffset } from './slice-cache.ts';
import type { Slice, SliceCache } from './slice-cache.ts';

/** Host clusters that follow each other. */
export interface ClusterRun {
  readonly first: HostCluster;
  readonly count: number;
}

export interface RefcountTablesParts {
  readonly file: ByteFile;
  readonly geometry: Geometry;
  readonly cache: SliceCache;
  readonly sliceLength: number;
  readonly tableOffset: HostOffset;
  readonly tableClusters: number;
}

/** Entries of one piece of the table that is written at once: a sector. */
const entriesPerSector = 64;

/**
 * Changes counts in the cache only; {@link writeEntries} and the cache's write-back bring them to the disk in the order
 * that `WriteOrder` keeps.
 */
export class RefcountTables {
  readonly #file: ByteFile;
  readonly #geometry: Geometry;
  readonly #cache: SliceCache;
  readonly #sliceLength: number;
  readonly #countsPerSlice: number;
  #tableOffset: HostOffset;
  #tableClusters: number;
  /** The table as stored, as far as the file held it: behind it all entries are empty. */
  #entries: DataView;
  /** Sectors of the table that are newer in memory. */
  readonly #dirtySectors = new Set<number>();
  #lowestFree = 0;
  #packedEnd: HostOffset | undefined;
  /** The block that was asked for last: neighbours ask for the same one. */
  #knownBlock: { readonly index: number; readonly offset: HostOffset } | undefined;

  private constructor(parts: RefcountTablesParts, entries: Uint8Array) {
    this.#file = parts.file;
    this.#geometry = parts.geometry;
    this.#cache = parts.cache;
    this.#sliceLength = parts.sliceLength;
    this.#countsPerSlice = (parts.sliceLength * 8) / parts.geometry.refcountBits;
    this.#tableOffset = parts.tableOffset;
    this.#tableClusters = parts.tableClusters;
    this.#entries = viewOf(entries);
  }

  static read(parts: RefcountTablesParts): RefcountTables {
    const { file, geometry, tableOffset, tableClusters } = parts;
    const entries = readInside(file, tableOffset, tableClusters * geometry.clusterSize);
    return new RefcountTables(parts, entries);
  }

  get tableRun(): ClusterRun {
    return {
      first: hostCluster(this.#tableOffset / this.#geometry.clusterSize),
      count: this.#tableClusters,
    };
  }

  /** How many blocks the table has room for. */
  get entryCount(): number {
    return (this.#tableClusters * this.#geometry.clusterSize) / 8;
  }

  /** One past the last table entry that names a block. */
  get blockEnd(): number {
    let end = this.#entries.byteLength / 8;
    while (end > 0 && this.#isEmpty(end - 1)) end -= 1;
    return end;
  }

  hasBlock(blockIndex: number): boolean {
    return !this.#isEmpty(blockIndex);
  }

  /** Where block `blockIndex`, which there is, lies; faults `refcount-entry-invalid`. */
  blockOffset(blockIndex: number): HostOffset {
    const high = this.#entries.getUint32(blockIndex * 8);
    const low = this.#entries.getUint32(blockIndex * 8 + 4);
    const offset = refcountBlockOffset(high, low);
    const aligned = offset % this.#geometry.clusterSize === 0;
    if (!refcountReservedBitsClear(low) || !aligned || offset === 0 || offset >= hostOffsetMax) {
      throw new Fault('refcount-entry-invalid', { tableIndex: blockIndex, hostOffset: offset });
    }
    return hostOffset(offset);
  }

  /** The refcount of one cluster; 0 where there is no block. */
  get(cluster: HostCluster): number {
    const blockIndex = Math.floor(cluster / this.#geometry.refcountsPerBlock);
    if (this.#knownBlock?.index !== blockIndex && !this.hasBlock(blockIndex)) return 0;
    const { view } = this.#sliceOf(cluster);
    return readRefcount(view, this.#geometry.refcountOrder, cluster % this.#countsPerSlice);
  }

  /** The first cluster at or after `from` whose count is 0, or the first that no block counts. */
  nextFree(from: HostCluster): HostCluster {
    let at: number = from;
    const { refcountOrder, refcountsPerBlock } = this.#geometry;
    while (this.hasBlock(Math.floor(at / refcountsPerBlock))) {
      const { view } = this.#sliceOf(hostCluster(at));
      const start = at % this.#countsPerSlice;
      const found = firstZero(view, { order: refcountOrder, start, end: this.#countsPerSlice });
      at += found - start;
      if (found < this.#countsPerSlice) break;
    }
    return hostCluster(at);
  }

  /** No cluster below it is free. Only a hint for where to start looking (REF-07). */
  get lowestFree(): HostCluster {
    return hostCluster(this.#lowestFree);
  }

  set lowestFree(cluster: HostCluster) {
    this.#lowestFree = cluster;
  }

  /**
   * Where the next blob may begin, within a cluster that blobs have begun to fill (REF-13); undefined when there is none,
   * or when the last of them has gone and the cluster with it.
   */
  get packedEnd(): HostOffset | undefined {
    return this.#packedEnd;
  }

  set packedEnd(offset: HostOffset | undefined) {
    this.#packedEnd = offset;
  }

  /** Adds one reference to each cluster; every one has a block. Fault `refcount-overflow`: nothing is changed then. */
  raise(run: ClusterRun): void {
    const changed = { count: 0 };
    try {
      this.#change(run, { by: 1, changed });
    } catch (error) {
      this.#change({ first: run.first, count: changed.count }, { by: -1, changed: { count: 0 } });
      throw error;
    }
  }

  /** Takes one reference from each cluster. Fault `refcount-underflow` (REF-06): the clusters before it are done. */
  lower(run: ClusterRun): void {
    this.#change(run, { by: -1, changed: { count: 0 } });
  }

  /**
   * The same for the first clusters of a run, those that one slice counts; returns how many they are. When the file faults,
   * none of them was changed.
   */
  lowerFirst(run: ClusterRun): number {
    const count = Math.min(run.count, this.#countsPerSlice - (run.first % this.#countsPerSlice));
    this.lower({ first: run.first, count });
    return count;
  }

  /** Enters a new block, which was written before; see {@link writeEntries}. */
  setBlock(blockIndex: number, offset: HostOffset): void {
    assert(blockIndex < this.entryCount, 'the table has room for the block');
    assert(this.#isEmpty(blockIndex), 'a block is entered where none was');
    if (blockIndex * 8 >= this.#entries.byteLength) this.#entries = viewOf(this.grownTable(this.#tableClusters));
    this.#entries.setUint32(blockIndex * 8, highHalf(offset));
    this.#entries.setUint32(blockIndex * 8 + 4, lowHalf(offset));
    this.#dirtySectors.add(Math.floor(blockIndex / entriesPerSector));
    this.#knownBlock = undefined;
  }

  get hasUnwrittenEntries(): boolean {
    return this.#dirtySectors.size > 0;
  }

  /** Writes new table entries; the blocks they name are durable by now (ORD-07). */
  writeEntries(): void {
    for (const sector of this.#dirtySectors) {
      const at = sector * entriesPerSector * 8;
      const length = Math.min(entriesPerSector * 8, this.#entries.byteLength - at);
      const bytes = new Uint8Array(this.#entries.buffer, this.#entries.byteOffset + at, length);
      this.#file.writeAt(hostOffset(this.#tableOffset + at), bytes);
    }
    this.#dirtySectors.clear();
  }

  /** The table as bytes with room for more clusters, for whoever moves it. */
  grownTable(clusters: number): Uint8Array {
    const grown = new Uint8Array(clusters * this.#geometry.clusterSize);
    assert(clusters >= this.#tableClusters, 'a table grows');
    grown.set(new Uint8Array(this.#entries.buffer, this.#entries.byteOffset, this.#entries.byteLength));
    return grown;
  }

  /** The table lies elsewhere from now on; `entries` was written there. Returns where it was. */
  moveTable(table: {
    readonly offset: HostOffset;
    readonly clusters: number;
    readonly entries: Uint8Array;
  }): ClusterRun {
    const before = this.tableRun;
    this.#tableOffset = table.offset;
    this.#tableClusters = table.clusters;
    this.#entries = viewOf(table.entries);
    this.#dirtySectors.clear();
    this.#knownBlock = undefined;
    return before;
  }

  /** Changes one count after the other, slice by slice; `changed` tells how many were changed before a fault. */
  #change(run: ClusterRun, change: { readonly by: 1 | -1; readonly changed: { count: number } }): void {
    const { refcountsPerBlock, clusterSize } = this.#geometry;
    const { by, changed } = change;
    while (changed.count < run.count) {
      const cluster = hostCluster(run.first + changed.count);
      if (!this.hasBlock(Math.floor(cluster / refcountsPerBlock))) {
        assert(by === -1, 'a raised cluster has a refcount block');
        throw new Fault('refcount-underflow', { hostOffset: cluster * clusterSize });
      }
      const start = cluster % this.#countsPerSlice;
      const end = Math.min(this.#countsPerSlice, start + run.count - changed.count);
      this.#changeInSlice(this.#sliceOf(cluster), { ...change, cluster, start, end });
    }
  }

  #changeInSlice(
    slice: Slice,
    change: {
      readonly by: 1 | -1;
      readonly changed: { count: number };
      /** The cluster that `start` counts. */
      readonly cluster: HostCluster;
      readonly start: number;
      readonly end: number;
    },
  ): void {
    const { refcountOrder, refcountMax, clusterSize } = this.#geometry;
    const { by, changed, cluster, start, end } = change;
    for (let index = start; index < end; index += 1) {
      const count = readRefcount(slice.view, refcountOrder, index) + by;
      if (count > refcountMax || count < 0) {
        const code = count < 0 ? 'refcount-underflow' : 'refcount-overflow';
        throw new Fault(code, { hostOffset: (cluster + index - start) * clusterSize });
      }
      writeRefcount(slice.view, refcountOrder, index, count);
      if (index === start) this.#cache.markDirty(slice);
      changed.count += 1;
      if (by === -1 && count === 0) this.#noteFree(cluster + index - start);
    }
  }

  #noteFree(cluster: number): void {
    this.#lowestFree = Math.min(this.#lowestFree, cluster);
    if (this.#packedEnd === undefined) return;
    if (Math.floor(this.#packedEnd / this.#geometry.clusterSize) === cluster) this.#packedEnd = undefined;
  }

  #sliceOf(cluster: HostCluster): Slice {
    const { refcountsPerBlock } = this.#geometry;
    const blockIndex = Math.floor(cluster / refcountsPerBlock);
    if (this.#knownBlock?.index !== blockIndex) {
      this.#knownBlock = { index: blockIndex, offset: this.blockOffset(blockIndex) };
    }
    const sliceIndex = Math.floor((cluster % refcountsPerBlock) / this.#countsPerSlice);
    const at = sliceIndex * this.#sliceLength;
    return this.#cache.get(sliceOffset(this.#knownBlock.offset, at, this.#sliceLength));
  }

  #isEmpty(blockIndex: number): boolean {
    if (blockIndex * 8 >= this.#entries.byteLength) return true;
    return this.#entries.getUint32(blockIndex * 8) === 0 && this.#entries.getUint32(blockIndex * 8 + 4) === 0;
  }
}

/** The index of the first count of 0 in `start…end`, or `end`. */
function firstZero(
  view: DataView,
  span: { readonly order: number; readonly start: number; readonly end: number },
): number {
  const { order, start, end } = span;
  if (order === 4) {
    for (let index = start; index < end; index += 1) if (view.getUint16(index * 2) === 0) return index;
    return end;
  }
  for (let index = start; index < end; index += 1) if (readRefcount(view, order, index) === 0) return index;
  return end;
}

/**
 * A table of `length` bytes as far as it lies inside the file, in whole entries of 8 bytes. Behind the end of the file
 * there are zeroes (FMT-14), and no memory is taken for them: a small file cannot claim much of it (T80).
 */
export function readInside(file: ByteFile, offset: HostOffset, length: number): Uint8Array {
  const inside = Math.max(0, Math.min(length, file.size - offset));
  const table = new Uint8Array(alignUp(inside, 8));
  if (inside > 0) file.readAt(offset, table.subarray(0, inside));
  return table;
}
