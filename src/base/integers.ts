// Whole numbers beyond 32 bits, kept as safe numbers: division and multiplication instead of shifts.

/** 2^32: what the upper half of a 64-bit value counts. */
export const twoPow32 = 0x1_0000_0000;

/** The largest safe number, 2^53 - 1; stands for every stored count that is larger. */
export const countMax = Number.MAX_SAFE_INTEGER;

/** Joins two 32-bit halves; the result is exact only below 2^53 (see {@link isSafePair}). */
export function joinHalves(high: number, low: number): number {
  return high * twoPow32 + low;
}

/** Whether a 64-bit value in two halves is below 2^53. */
export function isSafePair(high: number): boolean {
  return high < 0x20_0000;
}

/** The upper 32 bits of a safe number. */
export function highHalf(value: number): number {
  return Math.floor(value / twoPow32);
}

/** The lower 32 bits of a safe number. */
export function lowHalf(value: number): number {
  return value % twoPow32;
}

/** `ceil(value / unit)` for non-negative safe numbers. */
export function divideUp(value: number, unit: number): number {
  return Math.ceil(value / unit);
}

/** The largest multiple of `unit` that is not above `value`. */
export function alignDown(value: number, unit: number): number {
  return value - (value % unit);
}

/** The smallest multiple of `unit` that is not below `value`. */
export function alignUp(value: number, unit: number): number {
  const rest = value % unit;
  return rest === 0 ? value : value + unit - rest;
}

/** Whether a positive number is a power of two. */
export function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

/** The exact value of a 64-bit number in two halves as decimal text, for values that nobody calculates with. */
export function decimalOf(high: number, low: number): string {
  return ((BigInt(high) << 32n) | BigInt(low)).toString();
}
