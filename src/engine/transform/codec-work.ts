// The work of codecs, on the spot: whoever runs the engine decides where that is.

import { assert, unreachable } from '../../base/assert.ts';
import { isZeroes } from '../../base/zero-bytes.ts';
import { broken } from './codec-task.ts';
import type { CodecResult, CodecTask, TrimTask } from './codec-task.ts';
import { tryUnpackCluster } from './compression.ts';
import { packClusters } from './packing.ts';

/** Does it on the spot. */
export function performTask(task: CodecTask): CodecResult {
  const { kind } = task;
  switch (kind) {
    case 'pack':
      return packClusters(task);
    case 'trim':
      return trimBlobs(task);
    default:
      return unreachable(kind);
  }
}

/** The blobs move together in their buffer. */
function trimBlobs({ type, clusterSize, bytes, lengths, dropsZeroes }: TrimTask): CodecResult {
  const cluster = new Uint8Array(clusterSize);
  const trimmed: number[] = [];
  let at = 0;
  let end = 0;
  for (const length of lengths) {
    const used = tryUnpackCluster(type, bytes.subarray(at, at + length), cluster);
    // A blob has fewer bytes than a cluster (CMP-03).
    if (used === undefined || used.packedLength === undefined || used.packedLength >= clusterSize) trimmed.push(broken);
    else if (dropsZeroes && isZeroes(cluster)) trimmed.push(0);
    else {
      bytes.copyWithin(end, at, at + used.packedLength);
      trimmed.push(used.packedLength);
      end += used.packedLength;
    }
    at += length;
  }
  assert(at <= bytes.length, 'the blobs lie in their buffer');
  return { bytes: bytes.subarray(0, end), lengths: trimmed };
}
