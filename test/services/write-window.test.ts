import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WriteWindow } from '../../src/services/write-window.ts';

test('no more writes are under way than the window is wide', async () => {
  const window = new WriteWindow({ widthMax: 3 });
  let underWay = 0;
  let most = 0;
  for (let index = 0; index < 20; index += 1) {
    await window.add(10, async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay -= 1;
    });
  }
  await window.finish();
  assert.equal(most, 3);
  assert.equal(window.written, 200);
});

test('after a failure only what has arrived without a gap counts, and nothing new begins', async () => {
  const window = new WriteWindow({ widthMax: 2 });
  const reason = new Error('no');
  const begun: number[] = [];
  const add = (index: number): Promise<void> =>
    window.add(1, async () => {
      begun.push(index);
      await new Promise((resolve) => setImmediate(resolve));
      if (index === 2) throw reason;
    });
  const all = async (): Promise<void> => {
    for (let index = 0; index < 10; index += 1) await add(index);
  };
  await assert.rejects(all(), reason);
  await window.end();
  assert.deepEqual(begun, [0, 1, 2, 3]);
  assert.equal(window.written, 2);
  await assert.rejects(window.finish(), reason);
});
