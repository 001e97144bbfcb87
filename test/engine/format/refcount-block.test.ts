import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import { readRefcount, writeRefcount } from '../../../src/engine/format/refcount-block.ts';

const orders = [0, 1, 2, 3, 4, 5, 6];
const blockLength = 512;

/** Refcount `index` straight from the definition (REF-02, REF-03), over one large number. */
function refcountByDefinition(block: Uint8Array, order: number, index: number): bigint {
  const bits = 2 ** order;
  if (bits < 8) {
    const byte = block[Math.floor((index * bits) / 8)] ?? 0;
    return BigInt((byte >>> ((index * bits) % 8)) & (2 ** bits - 1));
  }
  let value = 0n;
  for (let at = 0; at < bits / 8; at += 1) value = (value << 8n) | BigInt(block[index * (bits / 8) + at] ?? 0);
  return value;
}

function patternBlock(factor: number): Uint8Array {
  return Uint8Array.from({ length: blockLength }, (_, index) => (index * factor + 13) & 0xff);
}

test('reads every index of a block of every width as the definition says', () => {
  for (const order of orders) {
    const block = patternBlock(37);
    const view = viewOf(block);
    for (let index = 0; index < (blockLength * 8) / 2 ** order; index += 1) {
      const defined = refcountByDefinition(block, order, index);
      const expected = defined >= 2n ** 53n ? Number.MAX_SAFE_INTEGER : Number(defined);
      assert.equal(readRefcount(view, order, index), expected, `order ${String(order)}, index ${String(index)}`);
    }
  }
});

test('writes every index of every width and leaves all other bytes and neighbours as they were (REF-02, REF-03, T45)', () => {
  for (const order of orders) {
    const bits = 2 ** order;
    const count = (blockLength * 8) / bits;
    const max = bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
    const values = [...new Set([0, 1, max, Math.floor(max / 3)])];
    for (let index = 0; index < count; index += 1) {
      for (const value of values) {
        const block = patternBlock(91);
        const before = Uint8Array.from(block);
        writeRefcount(viewOf(block), order, index, value);
        assert.equal(refcountByDefinition(block, order, index), BigInt(value));
        for (const neighbour of [index - 1, index + 1].filter((one) => one >= 0 && one < count)) {
          assert.equal(refcountByDefinition(block, order, neighbour), refcountByDefinition(before, order, neighbour));
        }
        const firstByte = Math.floor((index * bits) / 8);
        const endByte = Math.ceil(((index + 1) * bits) / 8);
        assert.deepEqual(block.subarray(0, firstByte), before.subarray(0, firstByte));
        assert.deepEqual(block.subarray(endByte), before.subarray(endByte));
      }
    }
  }
});

test('writes every value of the widths below 16 bits', () => {
  for (const order of [0, 1, 2, 3]) {
    for (let value = 0; value < 2 ** (2 ** order); value += 1) {
      const view = viewOf(patternBlock(5));
      writeRefcount(view, order, 7, value);
      assert.equal(readRefcount(view, order, 7), value);
    }
  }
});

test('reads 64-bit counts of 2^53 or more as the largest safe number', () => {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(8, 2n ** 53n - 1n);
  assert.equal(readRefcount(view, 6, 1), 2 ** 53 - 1);
  view.setBigUint64(8, 2n ** 53n);
  assert.equal(readRefcount(view, 6, 1), Number.MAX_SAFE_INTEGER);
  view.setBigUint64(8, 2n ** 64n - 1n);
  assert.equal(readRefcount(view, 6, 1), Number.MAX_SAFE_INTEGER);
});

test('refuses a count that does not fit its width', () => {
  for (const order of [0, 1, 2, 3, 4, 5]) {
    const { refcountMax } = geometryOf({ clusterBits: 9, extendedL2: false, refcountOrder: order });
    const view = viewOf(patternBlock(3));
    writeRefcount(view, order, 0, refcountMax);
    assert.throws(() => {
      writeRefcount(view, order, 0, refcountMax + 1);
    }, BrokenAssertion);
  }
  assert.throws(() => {
    writeRefcount(viewOf(patternBlock(3)), 6, 0, 2 ** 53);
  }, BrokenAssertion);
});
