import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import type { Geometry } from '../../../src/engine/format/geometry.ts';
import { entryOffset } from '../../../src/engine/format/l1-entry.ts';
import {
  compressedOffsetMax,
  decodeCompressed,
  encodeCompressed,
  isCompressed,
  isExtendedEntryValid,
  l2ReservedBitsClear,
  standardKind,
  subclusterKind,
} from '../../../src/engine/format/l2-entry.ts';

const clusterBitsAll = [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21];

function standardGeometry(clusterBits: number): Geometry {
  return geometryOf({ clusterBits, extendedL2: false, refcountOrder: 4 });
}

/** An entry as the format describes it: one 64-bit number. */
function halvesOf(entry: bigint): { readonly high: number; readonly low: number } {
  return { high: Number(entry >> 32n), low: Number(entry & 0xffff_ffffn) };
}

const standard = { extendedL2: false, externalData: false };
const extended = { extendedL2: true, externalData: false };

/** Offsets at both ends of bits 9–55, and none. */
const offsets = [0n, 1n << 9n, 0x50000n, 1n << 31n, 1n << 32n, 1n << 52n, 1n << 55n, 0xff_ffff_ffff_fe00n];
const flagBits = [0n, 62n, 63n];

/** Every subset of the given bits. */
function subsets(bits: readonly bigint[]): readonly bigint[] {
  return bits.reduce<readonly bigint[]>((found, bit) => [...found, ...found.map((mask) => mask | (1n << bit))], [0n]);
}

test('tells the kind of every standard entry by its flags (MAP-02, MAP-03)', () => {
  for (const offset of offsets) {
    for (const flags of subsets(flagBits)) {
      const { high, low } = halvesOf(offset | flags);
      const kind = standardKind(high, low, standard);
      if ((flags & (1n << 62n)) !== 0n) assert.equal(kind, 'compressed');
      else if ((flags & 1n) !== 0n) assert.equal(kind, offset === 0n ? 'zero' : 'zero-placed');
      else assert.equal(kind, offset === 0n ? 'unallocated' : 'data');
      assert.equal(isCompressed(high), (flags & (1n << 62n)) !== 0n);
    }
  }
});

test('knows the first cluster of a data file by its owner alone (DAT-02, T20)', () => {
  const outside = { ...standard, externalData: true };
  const kindOf = (entry: bigint): string => {
    const { high, low } = halvesOf(entry);
    return standardKind(high, low, outside);
  };
  const owned = 1n << 63n;
  assert.deepEqual(
    [kindOf(owned), kindOf(0n), kindOf(owned | 1n), kindOf(1n)],
    ['data', 'unallocated', 'zero', 'zero'],
  );
  assert.equal(kindOf(0x50001n), 'zero-placed');
  const { high, low } = halvesOf(owned);
  const bits = { zeroes: 1, allocated: 2, index: 0 };
  const rule = { ...extended, externalData: true };
  const kinds = [0, 1, 2].map((index) => subclusterKind(high, low, { ...bits, index }, rule));
  assert.deepEqual(kinds, ['zero-placed', 'data', 'unallocated-placed']);
  assert.equal(subclusterKind(0, 0, bits, rule), 'invalid');
});

test('keeps every reserved bit out of the kind and the offset, and sees it (MAP-02, T23)', () => {
  const reserved = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 56n, 57n, 58n, 59n, 60n, 61n];
  for (const offset of offsets) {
    for (const flags of subsets([0n, 63n])) {
      const sound = halvesOf(offset | flags);
      assert.equal(l2ReservedBitsClear(sound.high, sound.low, true), true);
      assert.equal(l2ReservedBitsClear(sound.high, sound.low, false), (flags & 1n) === 0n);
      for (const bit of reserved) {
        const broken = halvesOf(offset | flags | (1n << bit));
        assert.equal(l2ReservedBitsClear(broken.high, broken.low, true), false, `bit ${String(bit)}`);
        assert.equal(entryOffset(broken.high, broken.low), Number(offset));
        assert.equal(standardKind(broken.high, broken.low, standard), standardKind(sound.high, sound.low, standard));
      }
    }
  }
});

test('tells the kind of each of 32 subclusters by its two bits and the place (SUB-03, SUB-04)', () => {
  for (const placed of [false, true]) {
    const { high, low } = halvesOf(placed ? 0x8000_0000_0005_0000n : 0n);
    for (let index = 0; index < 32; index += 1) {
      const bit = (1 << index) >>> 0;
      const kindOf = (zeroes: number, allocated: number): string =>
        subclusterKind(high, low, { zeroes, allocated, index }, extended);
      assert.equal(kindOf(0, 0), placed ? 'unallocated-placed' : 'unallocated');
      assert.equal(kindOf(bit, 0), placed ? 'zero-placed' : 'zero');
      assert.equal(kindOf(0, bit), placed ? 'data' : 'invalid');
      assert.equal(kindOf(bit, bit), 'invalid');
      // The neighbours' bits say nothing about this subcluster.
      const others = ~bit >>> 0;
      assert.equal(kindOf(others, 0), placed ? 'unallocated-placed' : 'unallocated');
      assert.equal(kindOf(others, bit), placed ? 'data' : 'invalid');
      assert.equal(kindOf(bit, others), placed ? 'zero-placed' : 'invalid');
    }
  }
});

test('finds an extended entry invalid when any one pair of its bits is (SUB-04)', () => {
  const placed = halvesOf(0x8000_0000_0005_0000n);
  for (let wrong = 0; wrong < 32; wrong += 1) {
    const bit = (1 << wrong) >>> 0;
    const isValid = (entry: { high: number; low: number }, zeroes: number, allocated: number): boolean =>
      isExtendedEntryValid(entry.high, entry.low, { zeroes, allocated }, extended);
    assert.equal(isValid(placed, bit, bit), false);
    assert.equal(isValid(placed, ~bit >>> 0, bit), true);
    assert.equal(isValid({ high: 0, low: 0 }, 0, bit), false);
    assert.equal(isValid({ high: 0, low: 0 }, bit, 0), true);
    const bits = { zeroes: bit, allocated: bit, index: (wrong + 1) % 32 };
    assert.equal(subclusterKind(placed.high, placed.low, bits, extended), 'invalid');
  }
});

test('takes a compressed entry as compressed whatever its bitmap says (SUB-05)', () => {
  const { high, low } = halvesOf(0x4000_0000_0005_0000n);
  assert.equal(isExtendedEntryValid(high, low, { zeroes: 0xffff_ffff, allocated: 0xffff_ffff }, extended), true);
  assert.equal(subclusterKind(high, low, { zeroes: 1, allocated: 1, index: 0 }, extended), 'compressed');
});

test('decodes compressed descriptors of every cluster size as the formula says (CMP-01, CMP-02, T36)', () => {
  for (const clusterBits of clusterBitsAll) {
    const geometry = standardGeometry(clusterBits);
    const shift = BigInt(70 - clusterBits);
    const countMax = (1n << BigInt(clusterBits - 8)) - 1n;
    for (const offset of [1n, 511n, 512n, 0x5eadan, (1n << 32n) - 1n, 1n << 32n, (1n << 48n) + 77n]) {
      for (const count of [0n, 1n, countMax]) {
        const { high, low } = halvesOf((1n << 62n) | (count << shift) | offset);
        const decoded = decodeCompressed(high, low, geometry);
        assert.equal(decoded.offset, Number(offset), `cluster bits ${String(clusterBits)}`);
        assert.equal(decoded.length, Number((count + 1n) * 512n - (offset % 512n)));
      }
    }
  }
});

test('encodes a blob so that the sectors to read cover it and no sector more (CMP-02, T31)', () => {
  for (const clusterBits of clusterBitsAll) {
    const geometry = standardGeometry(clusterBits);
    const lengths = [1, 2, 79, 511, 512, 513, 2 ** clusterBits - 1].filter((length) => length < 2 ** clusterBits);
    for (const offset of [0x50000, 0x50001, 0x5004f, 0x501ff, 2 ** 40 + 300, compressedOffsetMax(geometry) - 2 ** 22]) {
      for (const length of lengths) {
        const { high, low } = encodeCompressed({ offset, length }, geometry);
        const count = Math.floor((offset + length - 1) / 512) - Math.floor(offset / 512);
        const expected = (1n << 62n) | (BigInt(count) << BigInt(70 - clusterBits)) | BigInt(offset);
        assert.equal((BigInt(high) << 32n) | BigInt(low), expected);
        const read = decodeCompressed(high, low, geometry);
        assert.equal(read.offset, offset);
        assert.ok(read.length >= length && read.length < length + 512);
      }
    }
  }
});

test('refuses to encode what no descriptor holds (CMP-08)', () => {
  const geometry = standardGeometry(21);
  assert.equal(compressedOffsetMax(geometry), 2 ** 49);
  assert.equal(compressedOffsetMax(standardGeometry(9)), 2 ** 53);
  assert.throws(() => encodeCompressed({ offset: 2 ** 49, length: 1 }, geometry), BrokenAssertion);
  assert.throws(() => encodeCompressed({ offset: 0x50000, length: 2 ** 22 + 1 }, geometry), BrokenAssertion);
  assert.throws(() => encodeCompressed({ offset: 0x50000, length: 0 }, geometry), BrokenAssertion);
});

test('reads the largest offset a broken descriptor can hold as beyond every bound', () => {
  for (const clusterBits of clusterBitsAll) {
    const geometry = standardGeometry(clusterBits);
    const { offset } = decodeCompressed(0x7fff_ffff, 0xffff_ffff, geometry);
    assert.ok(offset >= compressedOffsetMax(geometry) - 1);
    assert.ok(Number.isFinite(offset) && offset > 0);
  }
});
