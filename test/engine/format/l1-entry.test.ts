import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { entryHigh, entryLow, entryOffset, isOwned, l1ReservedBitsClear } from '../../../src/engine/format/l1-entry.ts';
import { refcountBlockOffset, refcountReservedBitsClear } from '../../../src/engine/format/refcount-table-entry.ts';

test('takes bits 9 to 55 as the offset and bit 63 as owned, each bit alone (MAP-01)', () => {
  for (let bit = 0; bit < 64; bit += 1) {
    const entry = 1n << BigInt(bit);
    const high = Number(entry >> 32n);
    const low = Number(entry & 0xffff_ffffn);
    assert.equal(entryOffset(high, low), bit >= 9 && bit <= 55 ? 2 ** bit : 0, `bit ${String(bit)}`);
    assert.equal(isOwned(high), bit === 63);
    assert.equal(l1ReservedBitsClear(high, low), (bit >= 9 && bit <= 55) || bit === 63);
  }
});

test('is exact for the largest offset, 2^56 - 512 (T22)', () => {
  assert.equal(entryOffset(0xffff_ffff, 0xffff_ffff), 2 ** 56 - 512);
});

test('encodes an entry that decodes to the same place and owner', () => {
  for (const offset of [0, 512, 0x40000, 2 ** 32 - 512, 2 ** 32, 2 ** 44 + 0x200, 2 ** 53 - 512]) {
    for (const owned of [false, true]) {
      const high = entryHigh(offset, owned);
      const low = entryLow(offset);
      assert.equal(entryOffset(high, low), offset);
      assert.equal(isOwned(high), owned);
      assert.equal(l1ReservedBitsClear(high, low), true);
    }
  }
  assert.equal(entryHigh(0x40000, true), 0x8000_0000);
});

test('refuses to encode a place between sectors', () => {
  assert.throws(() => entryHigh(0x40001, true), BrokenAssertion);
});

test('takes bits 9 to 63 of a refcount table entry as the block, each bit alone (REF-01)', () => {
  for (let bit = 0; bit < 64; bit += 1) {
    const entry = 1n << BigInt(bit);
    const high = Number(entry >> 32n);
    const low = Number(entry & 0xffff_ffffn);
    assert.equal(refcountBlockOffset(high, low), bit >= 9 ? 2 ** bit : 0, `bit ${String(bit)}`);
    assert.equal(refcountReservedBitsClear(low), bit >= 9);
  }
});
