// Packs clusters: costly on purpose, so the engine asks for it and whoever runs the engine decides where it is done.

import { constants, deflateRawSync, zstdCompressSync } from 'node:zlib';

import { assert } from '../../base/assert.ts';
import type { CompressionType } from './compression.ts';

/** "Pack these clusters for me": whole clusters, one behind the other, in a buffer that is the packer's from then on. */
export interface PackTask {
  readonly type: CompressionType;
  readonly clusterSize: number;
  readonly clusters: Uint8Array<ArrayBuffer>;
}

/** Clusters as they are to be stored, one behind the other. */
export interface PackedClusters {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of each, in bytes; one that does not shrink is as it was, and as long as a cluster (CMP-03, T40). */
  readonly lengths: readonly number[];
}

/** Does it on the spot. The packed bytes take the place of the others: none becomes longer. */
export function packClusters({ type, clusterSize, clusters }: PackTask): PackedClusters {
  assert(clusters.length > 0 && clusters.length % clusterSize === 0, 'whole clusters are packed');
  const lengths: number[] = [];
  let end = 0;
  for (let at = 0; at < clusters.length; at += clusterSize) {
    const cluster = clusters.subarray(at, at + clusterSize);
    const blob = type === 0 ? deflated(cluster) : zstdCompressSync(cluster, zstdOptions);
    if (blob.length < clusterSize) {
      clusters.set(blob, end);
      lengths.push(blob.length);
      end += blob.length;
    } else {
      clusters.copyWithin(end, at, at + clusterSize);
      lengths.push(clusterSize);
      end += clusterSize;
    }
  }
  return { bytes: clusters.subarray(0, end), lengths };
}

/** As QEMU writes it: a window of 12 bits, which is what its reader is told to expect (CMP-03, CMP-04, T37). */
function deflated(cluster: Uint8Array): Uint8Array {
  const chunkSize = Math.max(cluster.length, chunkSizeMin);
  return deflateRawSync(cluster, { windowBits: 12, memLevel: 9, level: constants.Z_DEFAULT_COMPRESSION, chunkSize });
}

/** Node takes no smaller pieces of output. */
const chunkSizeMin = 64;

/** One frame that ends with the cluster, of the default level (CMP-05). */
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: constants.ZSTD_CLEVEL_DEFAULT } };
