// Anything readable beneath an image: a link of a backing chain that does not know what the next one is.

import type { FileSpan } from '../file/file-span.ts';
import type { GuestOffset } from '../format/offsets.ts';

/** What a layer, with all layers below it, has at one offset, and how far that holds. */
export type LayerExtent =
  | {
      /** Present bytes: stored plain, compressed, or read as zeroes by their own declaration. */
      readonly kind: 'data' | 'zero';
      readonly length: number;
      /** 0 is the layer that was asked, 1 the one below it, and so on. */
      readonly depth: number;
      readonly compressed: boolean;
      /** Where the bytes lie in the layer's file; only for uncompressed bytes that have a place. */
      readonly host: number | undefined;
      /** Data that was never written: the file system has a hole there, and it reads as zeroes. */
      readonly preallocated?: true;
    }
  | {
      readonly kind: 'absent';
      readonly length: number;
      readonly depth: number;
      /** The place that the layer keeps for it, if it keeps one. */
      readonly host?: number | undefined;
    };

/** A cluster as a layer stores it: packed. */
export interface StoredCluster {
  /** 0 is raw deflate, 1 is zstd. */
  readonly compressionType: 0 | 1;
  readonly clusterSize: number;
  /** Upper bound of its length (CMP-02). */
  readonly packedLength: number;
  /** Fills `target`, as long as that bound, with the blob and what may follow it. */
  readonly read: (target: Uint8Array) => void;
}

/** A readable layer. All lengths in bytes; reads beyond `size` are the caller's bug. */
export interface Layer {
  readonly size: number;
  /** Fills `target` with the bytes from `offset`; the span lies inside `size`. */
  read(offset: GuestOffset, target: Uint8Array): void;
  /** What is at `offset`, for at most `lengthMax` bytes (inside `size`); always at least one byte. */
  extentAt(offset: GuestOffset, lengthMax: number): LayerExtent;
  /** The cluster at `offset`, if one begins there that is packed and wholly inside the layer; left out where none ever is. */
  storedAt?(offset: GuestOffset): StoredCluster | undefined;
  /**
   * The bytes at `offset`, at most `lengthMax`, if they lie in a file as the guest reads them; undefined where something has
   * to be done to them, or nothing is stored. Left out where there never are any.
   */
  spanAt?(offset: GuestOffset, lengthMax: number): FileSpan | undefined;
  close(): void;
}
