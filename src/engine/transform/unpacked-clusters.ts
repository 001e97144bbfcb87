// Compressed clusters as guest bytes; the last ones are kept, so that small reads in a row unpack once.

import type { HostOffset } from '../format/offsets.ts';
import { tryUnpackCluster, unpackCluster } from './compression.ts';

export interface UnpackedClustersParts {
  /** Fills `target` from the image file; bytes beyond its end read as zeroes. */
  readonly readAt: (offset: HostOffset, target: Uint8Array) => void;
  readonly clusterSize: number;
  readonly compressionType: 0 | 1;
}

/** A blob in the file: its first byte, and the upper bound of its length (CMP-02). */
export interface Blob {
  readonly host: HostOffset;
  readonly packedLength: number;
}

const bytesKeptMax = 4 * 1024 * 1024;
const clustersKeptMax = 16;

/** Forgets everything as soon as any compressed cluster is given up: its place may hold other bytes later. */
export class UnpackedClusters {
  readonly #parts: UnpackedClustersParts;
  readonly #keptMax: number;
  /** By host offset, the latest last. */
  readonly #kept = new Map<number, Uint8Array>();

  constructor(parts: UnpackedClustersParts) {
    this.#parts = parts;
    this.#keptMax = Math.max(1, Math.min(clustersKeptMax, Math.floor(bytesKeptMax / parts.clusterSize)));
  }

  /** The guest bytes of one cluster; not to be changed. Fault `compressed-data-invalid`. */
  get(blob: Blob): Uint8Array {
    const known = this.#kept.get(blob.host);
    if (known !== undefined) return known;
    const packed = new Uint8Array(blob.packedLength);
    // The last blob may end before its last sector does: bytes beyond the end of the file read as zeroes (T33).
    this.#parts.readAt(blob.host, packed);
    const cluster = new Uint8Array(this.#parts.clusterSize);
    unpackCluster(this.#parts.compressionType, packed, cluster);
    this.#keep(blob.host, cluster);
    return cluster;
  }

  /** The blob as it lies in the file. */
  stored({ host, packedLength }: Blob): {
    readonly compressionType: 0 | 1;
    readonly clusterSize: number;
    readonly packedLength: number;
    readonly read: (target: Uint8Array) => void;
  } {
    const { compressionType, clusterSize, readAt } = this.#parts;
    return { compressionType, clusterSize, packedLength, read: (target) => readAt(host, target) };
  }

  /** Whether bytes of the file are a blob, or begin with one. */
  unpacks(packed: Uint8Array): boolean {
    const cluster = new Uint8Array(this.#parts.clusterSize);
    return tryUnpackCluster(this.#parts.compressionType, packed, cluster) !== undefined;
  }

  /** Another blob begins there from now on. */
  forget(host: HostOffset): void {
    this.#kept.delete(host);
  }

  forgetAll(): void {
    this.#kept.clear();
  }

  #keep(host: HostOffset, cluster: Uint8Array): void {
    if (this.#kept.size >= this.#keptMax) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    this.#kept.set(host, cluster);
  }
}
