import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { IdSource } from '../../src/base/id-source.ts';

const uuidV7 = /^img_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('ids are UUIDv7 behind their prefix and begin with the time', () => {
  const ids = new IdSource({ clock: () => 0x0199_1234_5678, entropy: randomBytes });
  const id = ids.next('img');
  assert.match(id, uuidV7);
  assert.ok(id.startsWith('img_01991234-5678-'));
});

test('ids sort by creation within a millisecond and when the clock steps back', () => {
  const times = [5000, 4000, 5000, 7000, 100];
  let turn = 0;
  const ids = new IdSource({ clock: () => times[turn++ % times.length] ?? 0, entropy: randomBytes });
  const made = Array.from({ length: 20_000 }, () => ids.next('img'));
  assert.deepEqual(made, made.toSorted());
  assert.equal(new Set(made).size, made.length);
});
