import assert from 'node:assert/strict';
import { test } from 'node:test';

import { releaseBytes } from '../../src/base/spent-bytes.ts';

test('bytes in a buffer of their own are gone at once', () => {
  const bytes = new Uint8Array(65_536);
  releaseBytes(bytes);
  assert.equal(bytes.length, 0);
  releaseBytes(bytes);
});

test('a buffer that holds more than these bytes stays', () => {
  const whole = new Uint8Array(65_536).fill(7);
  releaseBytes(whole.subarray(0, 65_535));
  assert.equal(whole.length, 65_536);
  assert.equal(whole[65_535], 7);
});

test('small buffers are left to the collector', () => {
  const bytes = new Uint8Array(1024);
  releaseBytes(bytes);
  assert.equal(bytes.length, 1024);
});
