import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Presence } from '../../src/services/presence.ts';
import { Turns } from '../../src/services/turns.ts';

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('turns are taken one at a time, in order, whatever becomes of the one before', async () => {
  const turns = new Turns();
  const log: string[] = [];
  const work = (name: string) => async (): Promise<void> => {
    log.push(`${name} begins`);
    await pause();
    log.push(`${name} ends`);
    if (name === 'b') throw new Error('b fails');
  };
  const ended = await Promise.allSettled(['a', 'b', 'c'].map((name) => turns.take(work(name))));
  assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  assert.deepEqual(
    ended.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal(turns.idle, true);
});

test('turns are not idle while somebody waits', async () => {
  const turns = new Turns();
  const taken = turns.take(pause);
  assert.equal(turns.idle, false);
  await taken;
  assert.equal(turns.idle, true);
});

test('who waits for an empty room waits until the last one has left', async () => {
  const presence = new Presence();
  presence.come();
  presence.come();
  let empty = false;
  const waiting = presence.untilEmpty().then(() => {
    empty = true;
  });
  presence.leave();
  await pause();
  assert.equal(empty, false);
  presence.leave();
  await waiting;
  assert.equal(empty, true);
});

test('who waits only so long is told whether somebody is still there', async () => {
  const presence = new Presence();
  assert.equal(await presence.emptyWithin(0), true);
  presence.come();
  assert.equal(await presence.emptyWithin(1), false);
  presence.leave();
  assert.equal(await presence.emptyWithin(1), true);
});
