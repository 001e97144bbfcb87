// What the guest finds at one offset of an image, and how far that holds.

import type { HostOffset } from '../format/offsets.ts';

/** All lengths in bytes; an extent never crosses an L2 slice. */
export type Extent =
  | {
      readonly kind: 'data';
      readonly length: number;
      readonly host: HostOffset;
      /** The host cluster is used exactly once, so it may be written in place (MAP-06). */
      readonly owned: boolean;
    }
  | {
      readonly kind: 'zero';
      readonly length: number;
      /** The place that a zero cluster keeps, if it keeps one (MAP-03, zero-alloc). */
      readonly host: HostOffset | undefined;
    }
  | {
      /** One cluster, or the part of it that was asked for. */
      readonly kind: 'compressed';
      readonly length: number;
      /** Byte offset of the blob. */
      readonly host: HostOffset;
      /** Upper bound of the blob's length (CMP-02). */
      readonly packedLength: number;
    }
  | {
      readonly kind: 'absent';
      readonly length: number;
      /** The place that is kept for it, if there is one (SUB-03, unallocated with a host offset). */
      readonly host: HostOffset | undefined;
    };
