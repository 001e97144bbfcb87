// The write order of the engine: what reaches the disk before what, so that a crash leaves leaks at most.
//
// A flush brings these stages to the disk; a stage without anything to write costs nothing:
//
//   guest data ───┐                                     line 1: data before the L2 entry
//   refcounts  ───┼─ flush ─ refcount table ─ flush ─┬─ L2 entries ─┬─ flush ─ references dropped
//   new L2 tables ┘                                  └─ L1 entries ─┘
//               line 2: a refcount before its reference   lines 3 and 5: only what is durably gone is given back
//
// With an external data file the first flush is two: the data file's, then the image file's (OPS-13, T57).
//
// References are raised in the cache when a cluster is allocated. They are never lowered there before the flush that
// made the drop durable: a dropped reference waits in a list, its cluster counts as used, and so nobody gets it (line 5)
// and no refcount on disk is ever below its references (line 3). Refcounts never wait for L2 tables, so there is no
// circle. Line 4, the header last, is kept by those who move tables.
//
// With lazy refcounts the dirty bit stands in for the refcount stages (ORD-13): it is durable before the first L2 entry.

import { assert } from '../../base/assert.ts';
import type { ByteFile } from '../file/byte-file.ts';
import type { Geometry } from '../format/geometry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HeaderArea } from './header-area.ts';
import type { MappingTables } from './mapping-tables.ts';
import type { ClusterRun, RefcountTables } from './refcount-tables.ts';
import type { SliceCache } from './slice-cache.ts';

export interface WriteOrderParts {
  readonly file: ByteFile;
  /** Where guest data is written, if not to `file`. */
  readonly dataFile: ByteFile | undefined;
  readonly geometry: Geometry;
  readonly header: HeaderArea;
  readonly refcounts: RefcountTables;
  readonly refcountCache: SliceCache;
  readonly mapping: MappingTables;
  readonly mappingCache: SliceCache;
  /** Whether refcounts may lag behind; undefined for what the header says (OPT-06). */
  readonly lazyRefcounts: boolean | undefined;
}

/** References that are gone in memory and given back after the next flush. */
interface Drop extends ClusterRun {
  /** Whether clusters that nobody uses any more go back to the file system. */
  readonly punch: boolean;
}

/** More waiting drops than this are given back by a flush of our own; see {@link WriteOrder.relieve}. */
const dropsMax = 4096;

export class WriteOrder {
  readonly #parts: WriteOrderParts;
  /** L2 entries changed since the last flush refer to new data or to newly counted clusters. */
  #mappingWaits = false;
  /** We set the dirty bit: refcounts on disk may be behind. */
  #lazy: boolean;
  #drops: Drop[] = [];

  constructor(parts: WriteOrderParts) {
    this.#parts = parts;
    this.#lazy = false;
  }

  /** Whether the dirty bit on disk stands for changes of ours, which {@link settle} clears. */
  get ownsDirtyBit(): boolean {
    return this.#lazy;
  }

  /** Line 1: guest data was written that an L2 entry is about to name. */
  dataWritten(): void {
    this.#mappingWaits = true;
  }

  /** Line 2: called before clusters are counted that an L2 or L1 entry will name. A fault leaves everything as it was. */
  beforeRaise(): void {
    this.#mappingWaits = true;
    // A dirty bit that is not ours stays for the recovery: refcounts are kept in order meanwhile.
    const { header, lazyRefcounts } = this.#parts;
    if (!(lazyRefcounts ?? header.isLazy) || header.isDirty) return;
    // Durable before the first L2 entry: that waits for a flush as of the line above.
    this.#parts.header.setIncompatible('dirty', true);
    this.#lazy = true;
  }

  /** Lines 3 and 5: a reference was taken away in an L1 or L2 entry; the count follows when that is durable. */
  drop(run: ClusterRun, options: { readonly punch: boolean }): void {
    const last = this.#drops.at(-1);
    if (last?.punch === options.punch && last.first + last.count === run.first) {
      this.#drops[this.#drops.length - 1] = { ...last, count: last.count + run.count };
      return;
    }
    this.#drops.push({ ...run, punch: options.punch });
  }

  /** Called by the L2 cache before it writes: everything that its entries may name is durable after it. */
  beforeMapping(): void {
    if (!this.#mappingWaits) return;
    if (!this.#lazy) this.#writeRefcounts();
    this.#parts.dataFile?.flush();
    this.#parts.file.flush();
    this.#mappingWaits = false;
  }

  /** When this returns, everything that was changed before it survives a crash. */
  flush(): void {
    const { file, dataFile, mapping, mappingCache } = this.#parts;
    this.beforeMapping();
    // What was overwritten in its place needs no entry, but a flush promises it, too (OPS-13).
    dataFile?.flush();
    mappingCache.writeBack();
    // The tables that new L1 entries name are durable as they were made: their own entries may come before or after.
    if (mapping.hasUnwrittenL1) mapping.writeL1();
    file.flush();
    this.#giveBack();
  }

  /** Flushes when so many references wait to be given back that memory or the file would grow. */
  relieve(): void {
    if (this.#drops.length > dropsMax) this.flush();
  }

  /** Everything is on disk and the refcounts are exact: before a close, a check or a structural operation. */
  settle(): void {
    this.flush();
    this.#writeRefcounts();
    this.#parts.file.flush();
    assert(this.#drops.length === 0, 'a flush gives everything back');
    if (!this.#lazy) return;
    this.#parts.header.setIncompatible('dirty', false);
    this.#lazy = false;
    this.#parts.file.flush();
  }

  #writeRefcounts(): void {
    const { file, refcounts, refcountCache } = this.#parts;
    refcountCache.writeBack();
    if (!refcounts.hasUnwrittenEntries) return;
    file.flush();
    refcounts.writeEntries();
  }

  /** Lowers the counts of all drops; what a fault of the file leaves over waits for the next flush, or it would leak. */
  #giveBack(): void {
    const { refcounts } = this.#parts;
    const drops = this.#drops;
    let given = 0;
    try {
      for (const drop of drops) {
        for (let rest = drop; rest.count > 0; drops[given] = rest) rest = behind(rest, refcounts.lowerFirst(rest));
        given += 1;
        if (drop.punch) this.#punchFree(drop);
      }
    } finally {
      this.#drops = drops.slice(given);
    }
  }

  /** Gives the clusters of a run that nobody uses any more back to the file system, in as few pieces as possible. */
  #punchFree(run: ClusterRun): void {
    const { file, geometry, refcounts } = this.#parts;
    const end = run.first + run.count;
    let at: number = run.first;
    while (at < end) {
      const start = at;
      while (at < end && refcounts.get(asCluster(at)) === 0) at += 1;
      if (at > start) {
        file.punch(hostOffset(start * geometry.clusterSize), (at - start) * geometry.clusterSize);
      }
      at += 1;
    }
  }
}

/** A drop without its first clusters. */
function behind(drop: Drop, count: number): Drop {
  return { ...drop, first: asCluster(drop.first + count), count: drop.count - count };
}

function asCluster(index: number): ClusterRun['first'] {
  return index as ClusterRun['first'];
}
