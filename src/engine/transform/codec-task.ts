// What the engine has others compute: clusters packed, blobs judged and cut to their length.

import type { CompressionType } from './compression.ts';

/** The buffer under the bytes is the performer's from then on. */
export type CodecTask = PackTask | TrimTask;

/** "Pack these": whole clusters, one behind the other. */
export interface PackTask {
  readonly kind: 'pack';
  readonly type: CompressionType;
  readonly clusterSize: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether clusters of zeroes are told instead of packed. */
  readonly dropsZeroes: boolean;
}

/** "Cut these to their length, if they can be passed on as they are": blobs, one behind the other. */
export interface TrimTask {
  readonly kind: 'trim';
  readonly type: CompressionType;
  readonly clusterSize: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of each blob: what its entry says, which may be more than it has (CMP-02). */
  readonly lengths: readonly number[];
  /** Whether clusters of zeroes are told instead. */
  readonly dropsZeroes: boolean;
}

/** What has become of each cluster or blob, one behind the other. */
export interface CodecResult {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * In bytes. Packed: of one that does not shrink, as long as a cluster, it is as it was (CMP-03, T40); 0 for zeroes that
   * were told. Trimmed: 0 for zeroes; {@link broken} for a blob that cannot be used, of which there
   * are no bytes.
   */
  readonly lengths: readonly number[];
}

/** In place of the length of a blob that does not unpack, or whose end nobody knows. */
export const broken = -1;
