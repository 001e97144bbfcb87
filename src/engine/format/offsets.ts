// Positions: on the virtual disk (guest) and in the image file (host). Never mixed.

import { assert } from '../../base/assert.ts';
import type { Brand } from '../../base/brand.ts';
import { PiB } from '../../base/units.ts';

/** Where the last cluster of the largest disk ends: 2^53, still an exact number. */
const guestOffsetMax = 8 * PiB;

/** The largest virtual disk here: whole sectors, and a safe number, as sizes are in JSON. */
export const virtualSizeMax = guestOffsetMax - 512;

/** A byte position on the virtual disk, or where a cluster of it ends. */
export type GuestOffset = Brand<number, 'GuestOffset'>;

/** A byte position in the image file. */
export type HostOffset = Brand<number, 'HostOffset'>;

/** A cluster of the image file, by index. */
export type HostCluster = Brand<number, 'HostCluster'>;

export function guestOffset(value: number): GuestOffset {
  assert(Number.isInteger(value) && value <= guestOffsetMax, 'a guest offset is a whole number up to 8 PiB');
  assert(value >= 0, 'a guest offset is not negative');
  return value as GuestOffset;
}

export function hostOffset(value: number): HostOffset {
  assert(Number.isSafeInteger(value), 'a host offset is a safe integer');
  assert(value >= 0, 'a host offset is not negative');
  return value as HostOffset;
}

export function hostCluster(value: number): HostCluster {
  assert(Number.isSafeInteger(value), 'a host cluster index is a safe integer');
  assert(value >= 0, 'a host cluster index is not negative');
  return value as HostCluster;
}
