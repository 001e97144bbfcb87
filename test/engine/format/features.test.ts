import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import {
  readMask64,
  readUint64,
  readVirtualSize,
  viewOf,
  writeMask64,
  writeUint64,
  writeVirtualSize,
} from '../../../src/engine/format/big-endian.ts';
import { bitsOf, emptyMask, hasBit, unknownIncompatibleBits, withBit } from '../../../src/engine/format/features.ts';
import { faultCodeOf } from '../../support/faults.ts';

test('sets, sees and clears each of 64 bits without touching another', () => {
  const full = { high: 0xffff_ffff, low: 0xffff_ffff };
  for (let bit = 0; bit < 64; bit += 1) {
    const one = withBit(emptyMask, bit, true);
    assert.deepEqual(bitsOf(one), [bit]);
    assert.equal(hasBit(one, bit), true);
    assert.deepEqual(withBit(one, bit, false), emptyMask);
    assert.deepEqual(withBit(one, bit, true), one);
    assert.equal(bitsOf(withBit(full, bit, false)).length, 63);
    assert.equal((BigInt(one.high) << 32n) | BigInt(one.low), 1n << BigInt(bit));
  }
});

test('knows incompatible bits 0 to 4 and no other (BIT-I0, BIT-I1, BIT-I2, BIT-I3, BIT-I4, BIT-I5)', () => {
  const full = { high: 0xffff_ffff, low: 0xffff_ffff };
  assert.deepEqual(
    unknownIncompatibleBits(full),
    Array.from({ length: 59 }, (_, index) => index + 5),
  );
  assert.deepEqual(unknownIncompatibleBits({ high: 0, low: 0x1f }), []);
});

test('reads numbers below 2^53 exactly and names the field of a larger one', () => {
  const view = viewOf(new Uint8Array(16));
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) {
    writeUint64(view, 8, value);
    assert.equal(view.getBigUint64(8), BigInt(value));
    assert.equal(readUint64(view, 8, 'number'), value);
  }
  for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    view.setBigUint64(8, value);
    assert.throws(() => readUint64(view, 8, 'l1_table_offset'), {
      code: 'number-too-large',
      context: { field: 'l1_table_offset' },
    });
  }
  for (const value of [-1, 0.5, 2 ** 53]) {
    assert.throws(() => {
      writeUint64(view, 8, value);
    }, BrokenAssertion);
  }
});

test('reads and writes disk sizes below 8 PiB and no others', () => {
  const view = viewOf(new Uint8Array(8));
  for (const size of [0, 512, 2 ** 53 - 512]) {
    writeVirtualSize(view, 0, size);
    assert.equal(view.getBigUint64(0), BigInt(size));
    assert.equal(readVirtualSize(view, 0), size);
  }
  for (const size of [2n ** 53n, 2n ** 53n + 1n, 2n ** 53n + 512n, 2n ** 64n - 1n]) {
    view.setBigUint64(0, size);
    assert.equal(
      faultCodeOf(() => readVirtualSize(view, 0)),
      'virtual-size-too-large',
    );
  }
  assert.throws(() => {
    writeVirtualSize(view, 0, 2 ** 53);
  }, BrokenAssertion);
});

test('keeps opaque values bit for bit', () => {
  const view = viewOf(new Uint8Array(8));
  writeMask64(view, 0, { high: 0xdead_beef, low: 0xffff_fffe });
  assert.deepEqual(readMask64(view, 0), { high: 0xdead_beef, low: 0xffff_fffe });
});
