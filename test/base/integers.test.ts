import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alignDown, alignUp, decimalOf, divideUp, isPowerOfTwo } from '../../src/base/integers.ts';

test('aligns numbers beyond 32 bits', () => {
  assert.equal(alignDown(2 ** 52 + 513, 512), 2 ** 52 + 512);
  assert.equal(alignUp(2 ** 52 + 1, 65536), 2 ** 52 + 65536);
  assert.equal(divideUp(2 ** 52 + 1, 512), 2 ** 43 + 1);
});

test('tells powers of two', () => {
  assert.deepEqual(
    [0, 1, 3, 512, 2 ** 40, -4].map((value) => isPowerOfTwo(value)),
    [false, true, false, true, true, false],
  );
});

test('prints 64-bit values exactly', () => {
  assert.equal(decimalOf(0xffff_ffff, 0xffff_ffff), '18446744073709551615');
});
