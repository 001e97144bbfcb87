// Walks one L2 table for the census: judges its entries and books what they reference (MAP-02, SUB-01…05, CMP-01).

import { viewOf } from '../format/big-endian.ts';
import { entryOffset, isOwned, offsetHighMask } from '../format/l1-entry.ts';
import { decodeCompressed, isCompressed, l2ReservedBitsClear, zeroBit } from '../format/l2-entry.ts';
import { hostOffset } from '../format/offsets.ts';
import type { CheckFinding } from './check-report.ts';
import type { CheckSubject } from './check-subject.ts';
import type { MetadataPlaces } from './metadata-places.ts';
import { narrow } from './reference-counts.ts';
import type { ReferenceLedger } from './reference-ledger.ts';

/** One L2 table and how it is reached; offsets in bytes. */
export interface L2Use {
  readonly offset: number;
  /** How many L1 entries of all trees name it. */
  readonly tables: number;
  /** How many of them are active. */
  readonly activeTables: number;
  /** The first guest byte that it maps, where an active entry names it. */
  readonly guestOffset: number | undefined;
}

/** Counts of the active layer, as `qemu-img check` prints them. */
export interface Fragmentation {
  readonly allocatedClusters: number;
  readonly fragmentedClusters: number;
  readonly compressedClusters: number;
}

interface Entry {
  readonly use: L2Use;
  readonly index: number;
  readonly high: number;
  readonly low: number;
  /** The halves of the second word of an extended entry; 0 without one. */
  readonly zeroes: number;
  readonly allocated: number;
}

/** The largest count that the quick way writes: a narrow chunk's. */
const quickCountMax = 0xff;
const twoPow32 = 0x1_0000_0000;

export class L2Census {
  readonly #subject: CheckSubject;
  readonly #ledger: ReferenceLedger;
  readonly #places: MetadataPlaces;
  readonly #mend: boolean;
  readonly #buffer: Uint8Array;
  readonly #view: DataView;
  #allocated = 0;
  #fragmented = 0;
  #compressed = 0;
  #hasMended = false;

  /** With `mend`, entries that hold nothing but a broken place are emptied on the spot (CHK-09). */
  constructor(
    subject: CheckSubject,
    ledger: ReferenceLedger,
    options: { readonly places: MetadataPlaces; readonly mend: boolean },
  ) {
    this.#subject = subject;
    this.#ledger = ledger;
    this.#places = options.places;
    this.#mend = options.mend;
    this.#buffer = new Uint8Array(subject.geometry.clusterSize);
    this.#view = viewOf(this.#buffer);
  }

  get fragmentation(): Fragmentation {
    return {
      allocatedClusters: this.#allocated,
      fragmentedClusters: this.#fragmented,
      compressedClusters: this.#compressed,
    };
  }

  /** Whether entries were emptied; they are not flushed yet. */
  get hasMended(): boolean {
    return this.#hasMended;
  }

  /** Reads the table, at any offset inside the file: a broken L1 entry may name an unaligned one. */
  walk(use: L2Use): void {
    this.#subject.file.readAt(hostOffset(use.offset), this.#buffer);
    const { clusterBits, clusterSize, l2EntrySize, l2Entries, extendedL2 } = this.#subject.geometry;
    const { counts, fileClusters } = this.#ledger;
    const view = this.#view;
    const clustersPerHigh = twoPow32 / clusterSize;
    // All that a plain entry has below its offset is the zero flag.
    const belowOffset = (clusterSize - 1) & ~zeroBit;
    const quickMax = Math.min(quickCountMax, counts.countMax) - use.tables;
    const isQuick = !this.#subject.hasDataFile;
    let chunkIndex = -1;
    let chunk: Uint8Array | undefined;
    let allocated = 0;
    let fragmented = 0;
    // Where the next data cluster lies if it follows the last one, in clusters; 0 before the first.
    let next = 0;
    for (let index = 0; index < l2Entries; index += 1) {
      const at = index * l2EntrySize;
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const zeroes = extendedL2 ? view.getUint32(at + 8) : 0;
      const bits = extendedL2 ? view.getUint32(at + 12) : 0;
      if (isQuick && (high & 0x7f00_0000) === 0 && (low & belowOffset) === 0 && (zeroes & bits) === 0) {
        const cluster = (high & offsetHighMask) * clustersPerHigh + (low >>> clusterBits);
        if (cluster === 0 && bits === 0) continue;
        if (cluster > 0 && cluster < fileClusters) {
          if (cluster >>> 16 !== chunkIndex) {
            chunkIndex = cluster >>> 16;
            chunk = narrow(counts.chunkAt(chunkIndex));
          }
          const count = chunk?.[cluster & 0xffff] ?? quickCountMax;
          if (chunk !== undefined && count <= quickMax) {
            chunk[cluster & 0xffff] = count + use.tables;
          } else {
            this.#ledger.bookCluster(cluster, use.tables);
            chunkIndex = -1;
          }
          allocated += 1;
          if (next !== 0 && cluster !== next) fragmented += 1;
          next = cluster + 1;
          continue;
        }
      }
      next = this.#judge({ use, index, high, low, zeroes, allocated: bits }, next);
      // Booking the slow way may have widened the chunk.
      chunkIndex = -1;
    }
    this.#allocated += allocated * use.activeTables;
    this.#fragmented += fragmented * use.activeTables;
  }

  /** Judges an entry with something unusual about it; returns where the next data cluster would follow. */
  #judge(entry: Entry, next: number): number {
    const { use, high, low, zeroes, allocated } = entry;
    const { log } = this.#ledger;
    const { clusterSize, extendedL2 } = this.#subject.geometry;
    if (isCompressed(high)) {
      this.#judgeCompressed(entry);
      return next;
    }
    if (!l2ReservedBitsClear(high, low, true)) {
      log.corruption(use.tables, () => this.#finding(entry, 'sets reserved bits'));
    }
    const offset = entryOffset(high, low);
    const isZero = !extendedL2 && (low & zeroBit) !== 0;
    const isPlaced = offset !== 0 || (this.#subject.hasDataFile && isOwned(high) && !isZero);
    if (!isPlaced) {
      if (allocated !== 0) {
        log.corruption(use.tables, () => this.#finding(entry, 'has allocated subclusters but no place for them'));
      }
      return next;
    }
    if ((zeroes & allocated) !== 0) {
      log.corruption(use.tables, () => this.#finding(entry, 'has subclusters that are allocated and zero at once'));
    }
    if (offset % clusterSize !== 0) {
      const holdsData = extendedL2 ? allocated !== 0 : !isZero;
      if (!holdsData && this.#mend && this.#empty(entry)) return next;
      log.corruption(use.tables, () => this.#finding(entry, 'points into the middle of a cluster'));
    }
    const own = this.#guestOffsetOf(entry);
    if (this.#subject.hasDataFile && own !== undefined && own !== offset) {
      log.corruption(use.tables, () => this.#finding(entry, 'points to another place of the data file than its own'));
    }
    const position = offset / clusterSize;
    this.#allocated += use.activeTables;
    if (next !== 0 && position !== next) this.#fragmented += use.activeTables;
    if (!this.#subject.hasDataFile) this.#bookData(entry, { offset, length: clusterSize });
    return position + 1;
  }

  #judgeCompressed(entry: Entry): void {
    const { use, high, low, zeroes, allocated } = entry;
    const { log } = this.#ledger;
    if (isOwned(high)) {
      log.corruption(use.tables, () => this.#finding(entry, 'is compressed and marked as owned'));
    }
    if (this.#subject.hasDataFile) {
      log.corruption(use.tables, () => this.#finding(entry, 'is compressed although the data lies in another file'));
      return;
    }
    const blob = decodeCompressed(high, low, this.#subject.geometry);
    if ((zeroes | allocated) !== 0) {
      log.corruption(use.tables, () => this.#finding(entry, 'is compressed and has subcluster bits'));
      // QEMU books nothing here, and its repair frees a blob that still reads well. We keep it.
      this.#bookData(entry, blob);
      return;
    }
    this.#bookData(entry, blob);
    this.#allocated += use.activeTables;
    this.#compressed += use.activeTables;
    // Compressed clusters are fragmented by nature (CHK-01).
    this.#fragmented += use.activeTables;
  }

  #bookData(entry: Entry, span: { readonly offset: number; readonly length: number }): void {
    this.#ledger.book({
      ...span,
      times: entry.use.tables,
      finding: () => this.#finding(entry, 'points past the end of the file'),
    });
  }

  /** Makes the entry read as zeroes without a place; false where writing would hit other metadata. */
  #empty(entry: Entry): boolean {
    const { extendedL2, l2EntrySize } = this.#subject.geometry;
    const span = { offset: this.#entryAt(entry), length: l2EntrySize };
    if (this.#places.isOwned(span)) return false;
    const bytes = new Uint8Array(l2EntrySize);
    if (extendedL2) viewOf(bytes).setUint32(8, entry.zeroes);
    else viewOf(bytes).setUint32(4, zeroBit);
    this.#subject.file.writeAt(hostOffset(span.offset), bytes);
    this.#ledger.log.corruptionsFixed += 1;
    this.#hasMended = true;
    return true;
  }

  #finding(entry: Entry, trouble: string): Omit<CheckFinding, 'kind'> {
    const { use, index } = entry;
    const message = `Entry ${index} of the L2 table at ${use.offset} ${trouble}.`;
    const at = { hostOffset: this.#entryAt(entry), message };
    const guestOffset = this.#guestOffsetOf(entry);
    return guestOffset === undefined ? at : { guestOffset, ...at };
  }

  /** Where an active table maps the entry to. */
  #guestOffsetOf({ use, index }: Entry): number | undefined {
    return use.guestOffset === undefined ? undefined : use.guestOffset + index * this.#subject.geometry.clusterSize;
  }

  #entryAt({ use, index }: Entry): number {
    return use.offset + index * this.#subject.geometry.l2EntrySize;
  }
}
