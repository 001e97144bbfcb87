// One entry of the refcount table: where a refcount block lies (REF-01).

/**
 * Bits 9–63; the low nine bits are reserved. Up to 2^64 and rounded above 2^62 in a broken image: the caller bounds it.
 * 0 is none.
 */
export function refcountBlockOffset(high: number, low: number): number {
  return high * 0x1_0000_0000 + ((low & 0xffff_fe00) >>> 0);
}

export function refcountReservedBitsClear(low: number): boolean {
  return (low & 0x1ff) === 0;
}
