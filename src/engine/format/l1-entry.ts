// One L1 entry: where an L2 table lies, and whether it is owned (section "Cluster mapping"; MAP-01).

import { assert } from '../../base/assert.ts';
import { highHalf, lowHalf } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';

/** Bit 63 of an L1 or L2 entry, in its upper half: the target's refcount is exactly 1 (the format's COPIED). */
export const ownedBit = 0x8000_0000;

/** Bits 32–55 and 9–31: the host offset of an entry. */
export const offsetHighMask = 0x00ff_ffff;
export const offsetLowMask = 0xffff_fe00;

/**
 * The host offset of an L1 entry or standard L2 entry; 0 is none. Exact, but up to 2^56 in a broken image: the caller
 * bounds it before it becomes a {@link HostOffset}.
 */
export function entryOffset(high: number, low: number): number {
  return (high & offsetHighMask) * 0x1_0000_0000 + ((low & offsetLowMask) >>> 0);
}

export function isOwned(high: number): boolean {
  return (high & ownedBit) !== 0;
}

/** The reserved bits 0–8 and 56–62 of an L1 entry are zero. */
export function l1ReservedBitsClear(high: number, low: number): boolean {
  return (high & 0x7f00_0000) === 0 && (low & 0x1ff) === 0;
}

/** The upper half of an entry that points to `offset`. */
export function entryHigh(offset: number, owned: boolean): number {
  assert(Number.isSafeInteger(offset) && offset % sectorSize === 0, 'an entry points to whole sectors');
  return (highHalf(offset) | (owned ? ownedBit : 0)) >>> 0;
}

/** The lower half of an entry that points to `offset`. */
export function entryLow(offset: number): number {
  return lowHalf(offset);
}
