// What of the data clusters was never written: asked of the file system, where QEMU asks it (OPS-08a).
//
// An image whose clusters are preallocated in its tables only is a sparse file: far more clusters are referenced than the
// file occupies. In such a file a hole under a data cluster reads as zeroes, and the map says so.

import { divideUp } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf } from '../format/big-endian.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { readRefcount } from '../format/refcount-block.ts';
import { refcountBlockOffset } from '../format/refcount-table-entry.ts';
import type { HeaderArea } from './header-area.ts';
import { readInside } from './refcount-tables.ts';

/** Whether a stretch of host bytes was ever written, and how far that holds. */
export interface HostStretch {
  readonly isHole: boolean;
  readonly length: number;
}

const tableEntrySize = 8;

/** At most so many bytes of refcounts are counted: beyond, an image is taken as one that was written. */
const countedLengthMax = 64 * MiB;

export class HostHoles {
  readonly #file: ByteFile;
  readonly #data: ByteFile;
  readonly #header: HeaderArea;
  /** The last verdict, and the file that it was about. */
  #known = { size: -1, allocatedSize: -1, isSparse: false };

  /** `data`: where data clusters lie, the file itself or one beside it. */
  constructor(parts: { readonly file: ByteFile; readonly data: ByteFile; readonly header: HeaderArea }) {
    this.#file = parts.file;
    this.#data = parts.data;
    this.#header = parts.header;
  }

  /** The first part of a stretch of data clusters. */
  look(host: HostOffset, length: number): HostStretch {
    if (!this.#isPreallocated()) return { isHole: false, length };
    const data = this.#data.nextData(host);
    // Behind the last data, and behind the end of the file, everything is zeroes.
    if (data === undefined) return { isHole: true, length };
    if (data.offset > host) return { isHole: true, length: Math.min(length, data.offset - host) };
    return { isHole: false, length: Math.min(length, data.offset + data.length - host) };
  }

  #isPreallocated(): boolean {
    const { size, allocatedSize } = this.#file;
    if (this.#known.size !== size || this.#known.allocatedSize !== allocatedSize) {
      this.#known = { size, allocatedSize, isSparse: this.#judge(size, allocatedSize) };
    }
    return this.#known.isSparse;
  }

  /** By QEMU's rule: clearly more clusters are referenced than the file occupies. */
  #judge(size: number, allocatedSize: number): boolean {
    const { clusterSize } = this.#header.geometry;
    const realClusters = Math.floor(allocatedSize / clusterSize);
    const threshold = Math.max(Math.floor((realClusters * 10) / 9), realClusters + 2);
    const clusters = divideUp(size, clusterSize);
    return threshold <= clusters && this.#hasReferenced(threshold, clusters);
  }

  /** Whether so many of the first clusters of the file have a reference. */
  #hasReferenced(wanted: number, clusters: number): boolean {
    const { geometry, header } = this.#header;
    const { clusterSize, refcountsPerBlock } = geometry;
    const blocks = divideUp(clusters, refcountsPerBlock);
    const tableLength = Math.min(header.refcountTableClusters * clusterSize, blocks * tableEntrySize);
    const table = viewOf(readInside(this.#file, header.refcountTableOffset, tableLength));
    const block = new Uint8Array(clusterSize);
    let count = 0;
    let counted = 0;
    for (let at = 0; at < table.byteLength && count < wanted; at += tableEntrySize) {
      const offset = refcountBlockOffset(table.getUint32(at), table.getUint32(at + 4));
      if (offset === 0 || offset >= this.#file.size) continue;
      counted += clusterSize;
      if (counted > countedLengthMax) return false;
      this.#file.readAt(hostOffset(offset), block);
      const inFile = clusters - (at / tableEntrySize) * refcountsPerBlock;
      count += countUsed(viewOf(block), header.refcountOrder, Math.min(refcountsPerBlock, inFile));
    }
    return count >= wanted;
  }
}

/** How many of the first `entries` refcounts of a block are not 0. */
function countUsed(block: DataView, order: number, entries: number): number {
  let used = 0;
  for (let index = 0; index < entries; index += 1) if (readRefcount(block, order, index) !== 0) used += 1;
  return used;
}
