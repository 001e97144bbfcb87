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

test('who leaves before its turn is told at once, and its work is not done', async () => {
  const turns = new Turns();
  const ahead = Promise.withResolvers<undefined>();
  const first = turns.take(() => ahead.promise);
  const client = new AbortController();
  let log = '';
  const left = (): void => void (log += 'left');
  const work = async (): Promise<void> => void (log += 'done');
  const second = turns.takeUnless({ signals: [client.signal], onLeft: left }, work);
  const late = (): Error => new Error('late');
  const third = turns.takeUnless({ within: { limitMs: 1, late }, signals: [] }, work);
  client.abort(new Error('gone'));
  await assert.rejects(second, { message: 'gone' });
  await assert.rejects(third, { message: 'late' });
  assert.equal(log, '');
  ahead.resolve(undefined);
  await first;
  await turns.take(pause);
  assert.equal(log, 'left');
});

test('who leaves in its turn is told at once, and its work goes on as far as it would have stayed', async () => {
  const turns = new Turns();
  const opened = Promise.withResolvers<undefined>();
  const client = new AbortController();
  let log = '';
  const asked = turns.takeUnless({ signals: [client.signal] }, async (stay) => {
    await opened.promise;
    log += 'opened';
    stay();
    log += 'used';
  });
  await pause();
  client.abort(new Error('gone'));
  await assert.rejects(asked, { message: 'gone' });
  opened.resolve(undefined);
  await turns.take(pause);
  assert.equal(log, 'opened');
});

test('who has stayed does not leave', async () => {
  const turns = new Turns();
  const client = new AbortController();
  const asked = turns.takeUnless({ signals: [client.signal] }, async (stay) => {
    stay();
    client.abort(new Error('gone'));
    await pause();
    return 'used';
  });
  assert.equal(await asked, 'used');
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
