import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clearBitsFrom, nextBit, setBits } from '../../../src/engine/metadata/bit-runs.ts';
import { Prng } from '../../support/prng.ts';

/** The same with an array of booleans. */
function bitsOf(bytes: Uint8Array): readonly boolean[] {
  return [...bytes].flatMap((byte) => Array.from({ length: 8 }, (_, bit) => ((byte >> bit) & 1) === 1));
}

test('runs of bits are set, cleared and found as in an array of booleans', () => {
  const chance = new Prng(4);
  for (let round = 0; round < 2000; round += 1) {
    const bytes = chance.bytes(1 + chance.below(9));
    if (chance.chance(40)) bytes.fill(chance.pick([0, 0xff]));
    const before = bitsOf(bytes);
    const from = chance.below(before.length + 1);
    const to = from + chance.below(before.length - from + 1);
    const wanted = chance.chance(50);
    const found = before.findIndex((bit, index) => index >= from && index < to && bit === wanted);
    assert.equal(nextBit(bytes, { from, to, wanted }), found === -1 ? to : found);
    const set = bytes.slice();
    setBits(set, from, to);
    assert.deepEqual(
      bitsOf(set),
      before.map((bit, index) => bit || (index >= from && index < to)),
    );
    clearBitsFrom(bytes, from);
    assert.deepEqual(
      bitsOf(bytes),
      before.map((bit, index) => bit && index < from),
    );
  }
});
