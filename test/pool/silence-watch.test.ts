import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { SilenceWatch } from '../../src/pool/silence-watch.ts';

const limitMs = 100;

/** A watch over a thread that owes something, and what the watch did. */
function watched() {
  const thread = { owes: true, answers: true };
  const done: string[] = [];
  const watch = new SilenceWatch({
    limitMs,
    owes: () => thread.owes,
    ask: () => {
      done.push('ask');
      if (thread.answers) watch.hear();
    },
    onSilent: () => done.push('silent'),
  });
  return { watch, thread, done };
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
});
afterEach(() => {
  mock.timers.reset();
});

test('a thread that answers when it is asked may work as long as it likes', () => {
  const { watch, done } = watched();
  watch.begin();
  mock.timers.tick(limitMs * 20);
  assert.deepEqual(new Set(done), new Set(['ask']));
});

test('a thread that says nothing for the whole limit after it was asked is silent, once', () => {
  const { watch, thread, done } = watched();
  thread.answers = false;
  watch.begin();
  mock.timers.tick(limitMs);
  assert.deepEqual(done, ['ask']);
  mock.timers.tick(limitMs / 2);
  assert.deepEqual(done, ['ask', 'silent']);
  mock.timers.tick(limitMs * 20);
  assert.deepEqual(done, ['ask', 'silent']);
});

test('a word in between begins the limit again', () => {
  const { watch, thread, done } = watched();
  thread.answers = false;
  watch.begin();
  mock.timers.tick(limitMs);
  watch.hear();
  mock.timers.tick(limitMs);
  assert.deepEqual(done, ['ask', 'ask']);
});

test('a thread that owes nothing is not asked, and is watched again when it does', () => {
  const { watch, thread, done } = watched();
  thread.owes = false;
  watch.begin();
  mock.timers.tick(limitMs * 20);
  assert.deepEqual(done, []);
  thread.owes = true;
  thread.answers = false;
  watch.begin();
  mock.timers.tick(limitMs * 2);
  assert.deepEqual(done, ['ask', 'silent']);
});
