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
  /** What somebody else has unpacked for whoever reads it next. */
  readonly #early = new Map<number, Uint8Array>();
  /** How often a blob was given up. */
  #changes = 0;

  constructor(parts: UnpackedClustersParts) {
    this.#parts = parts;
    this.#keptMax = Math.max(1, Math.min(clustersKeptMax, Math.floor(bytesKeptMax / parts.clusterSize)));
  }

  /** The guest bytes of one cluster; not to be changed. Fault `compressed-data-invalid`. */
  get(blob: Blob): Uint8Array {
    const known = this.#kept.get(blob.host);
    if (known !== undefined) return known;
    const early = this.#early.get(blob.host);
    if (early !== undefined) {
      this.#early.delete(blob.host);
      this.#keep(blob.host, early);
      return early;
    }
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
    readonly keep: (cluster: Uint8Array) => void;
    readonly drop: () => void;
  } {
    const { compressionType, clusterSize, readAt } = this.#parts;
    const changes = this.#changes;
    return {
      compressionType,
      clusterSize,
      packedLength,
      read: (target) => readAt(host, target),
      keep: (cluster) => {
        // Other bytes may lie there by now.
        if (this.#changes === changes) this.#early.set(host, cluster);
      },
      drop: () => void this.#early.delete(host),
    };
  }

  /** Whether bytes of the file are a blob, or begin with one. */
  unpacks(packed: Uint8Array): boolean {
    const cluster = new Uint8Array(this.#parts.clusterSize);
    return tryUnpackCluster(this.#parts.compressionType, packed, cluster) !== undefined;
  }

  /** Another blob begins there from now on. */
  forget(host: HostOffset): void {
    this.#changes += 1;
    this.#kept.delete(host);
    this.#early.delete(host);
  }

  forgetAll(): void {
    this.#changes += 1;
    this.#kept.clear();
    this.#early.clear();
  }

  #keep(host: HostOffset, cluster: Uint8Array): void {
    if (this.#kept.size >= this.#keptMax) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    this.#kept.set(host, cluster);
  }
}
