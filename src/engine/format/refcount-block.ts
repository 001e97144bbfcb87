// Refcounts in a block: widths of 1 to 64 bits, packed from the least significant bits of each byte (REF-02, REF-03).

import { assert } from '../../base/assert.ts';
import { countMax, highHalf, isSafePair, joinHalves, lowHalf } from '../../base/integers.ts';

/** Reads refcount `index` of a block; counts of 2^53 or more read as 2^53 - 1. */
export function readRefcount(block: DataView, order: number, index: number): number {
  switch (order) {
    case 0:
      return (block.getUint8(index >>> 3) >>> (index & 7)) & 1;
    case 1:
      return (block.getUint8(index >>> 2) >>> ((index & 3) * 2)) & 3;
    case 2:
      return (block.getUint8(index >>> 1) >>> ((index & 1) * 4)) & 15;
    case 3:
      return block.getUint8(index);
    case 4:
      return block.getUint16(index * 2);
    case 5:
      return block.getUint32(index * 4);
    default: {
      const high = block.getUint32(index * 8);
      return isSafePair(high) ? joinHalves(high, block.getUint32(index * 8 + 4)) : countMax;
    }
  }
}

/** Writes refcount `index` of a block; the value fits the width. */
export function writeRefcount(block: DataView, order: number, index: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a refcount is a whole number');
  assert(value <= (valueMax[order] ?? -1), 'a refcount fits its width');
  switch (order) {
    case 0:
      writeBits(block, index >>> 3, { shift: index & 7, mask: 1, value });
      return;
    case 1:
      writeBits(block, index >>> 2, { shift: (index & 3) * 2, mask: 3, value });
      return;
    case 2:
      writeBits(block, index >>> 1, { shift: (index & 1) * 4, mask: 15, value });
      return;
    case 3:
      block.setUint8(index, value);
      return;
    case 4:
      block.setUint16(index * 2, value);
      return;
    case 5:
      block.setUint32(index * 4, value);
      return;
    default:
      block.setUint32(index * 8, highHalf(value));
      block.setUint32(index * 8 + 4, lowHalf(value));
  }
}

/** By order; 64 bits hold whatever is a safe number. */
const valueMax: readonly number[] = [1, 3, 15, 255, 65_535, 2 ** 32 - 1, countMax];

function writeBits(
  block: DataView,
  at: number,
  bits: { readonly shift: number; readonly mask: number; readonly value: number },
): void {
  const rest = block.getUint8(at) & ~(bits.mask << bits.shift);
  block.setUint8(at, rest | (bits.value << bits.shift));
}
