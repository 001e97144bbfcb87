import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { SyncAhead } from '../../src/store/sync-ahead.ts';

/** Syncs that end when the test says so. */
function heldSyncs(): { readonly sync: () => Promise<void>; readonly ends: (() => void)[] } {
  const ends: (() => void)[] = [];
  const sync = async (): Promise<void> => new Promise((resolve) => ends.push(resolve));
  return { sync, ends };
}

test('a sync begins with every 32 MiB and is not waited for', async () => {
  const { sync, ends } = heldSyncs();
  const ahead = new SyncAhead(sync);
  for (let written = 0; written < 31; written += 1) await ahead.wrote(MiB);
  assert.equal(ends.length, 0);
  await ahead.wrote(MiB);
  assert.equal(ends.length, 1);
  for (let written = 0; written < 31; written += 1) await ahead.wrote(MiB);
  assert.equal(ends.length, 1);
});

test('a disk that is a whole sync behind is waited for', async () => {
  const { sync, ends } = heldSyncs();
  const ahead = new SyncAhead(sync);
  await ahead.wrote(32 * MiB);
  let returned = false;
  const second = ahead.wrote(32 * MiB).then(() => {
    returned = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([returned, ends.length], [false, 1]);
  ends[0]?.();
  await second;
  assert.equal(ends.length, 2);
});

test('whoever cannot wait begins a sync when the one before has ended, and not before', async () => {
  const { sync, ends } = heldSyncs();
  const ahead = new SyncAhead(sync);
  ahead.passed(31 * MiB);
  assert.equal(ends.length, 0);
  ahead.passed(MiB);
  ahead.passed(32 * MiB);
  assert.equal(ends.length, 1);
  ends[0]?.();
  await new Promise((resolve) => setImmediate(resolve));
  ahead.passed(1);
  assert.equal(ends.length, 2);
  ends[1]?.();
  await ahead.finish();
});

test('what a sync throws is thrown by whoever writes or finishes next, once, and not when all is given up', async () => {
  const failing = new SyncAhead(() => Promise.reject(new Error('the disk is gone')));
  await failing.wrote(32 * MiB);
  await assert.rejects(failing.wrote(32 * MiB), /the disk is gone/);
  await failing.wrote(32 * MiB);
  await assert.rejects(failing.finish(), /the disk is gone/);
  await failing.finish();

  await failing.wrote(32 * MiB);
  await failing.abandon();
  await failing.finish();
});
