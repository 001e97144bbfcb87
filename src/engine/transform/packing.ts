// Packs clusters: costly on purpose, so the engine asks for it and whoever runs the engine decides where it is done.

import { constants, deflateRawSync, zstdCompressSync } from 'node:zlib';

import { assert } from '../../base/assert.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import type { CodecResult, PackTask } from './codec-task.ts';

/** The packed bytes take the place of the others: none becomes longer. */
export function packClusters({ type, clusterSize, bytes, dropsZeroes }: PackTask): CodecResult {
  assert(bytes.length > 0 && bytes.length % clusterSize === 0, 'whole clusters are packed');
  const lengths: number[] = [];
  let end = 0;
  for (let at = 0; at < bytes.length; at += clusterSize) {
    const cluster = bytes.subarray(at, at + clusterSize);
    if (dropsZeroes && isZeroes(cluster)) {
      lengths.push(0);
      continue;
    }
    const blob = type === 0 ? deflated(cluster) : zstdCompressSync(cluster, zstdOptions);
    if (blob.length < clusterSize) {
      bytes.set(blob, end);
      lengths.push(blob.length);
      end += blob.length;
    } else {
      bytes.copyWithin(end, at, at + clusterSize);
      lengths.push(clusterSize);
      end += clusterSize;
    }
  }
  return { bytes: bytes.subarray(0, end), lengths };
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
