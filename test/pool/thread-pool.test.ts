// The contract suite over worker threads, and what happens when one of them dies.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { ThreadPool } from '../../src/pool/thread-pool.ts';
import { enginePoolContract } from '../contracts/engine-pool.ts';
import { poolFencingContract } from '../contracts/pool-fencing.ts';
import { journalOf, traps } from '../support/memory-image.ts';
import { bench, bytesOf, noRun, none, write } from '../support/pool-bench.ts';
import type { PoolSettings } from '../support/pool-bench.ts';

const entry = new URL('../support/memory-worker.ts', import.meta.url);

function startThreads(threads: number): (settings: PoolSettings) => Promise<ThreadPool> {
  return (settings) => ThreadPool.start({ ...settings, threads, entry, locks: 'qemu' });
}

enginePoolContract('two threads', startThreads(2));
poolFencingContract('two threads', startThreads(2));

describe('a pool of threads', { timeout: 60_000 }, () => {
  for (const trap of [traps.exit, traps.throwLater]) {
    it(`fails what a dying thread has not answered, and goes on without it (${trap})`, async () => {
      await using at = await bench(startThreads(2), {});
      await at.make('doomed', 1 * MiB);
      await at.make('other', 1 * MiB);
      const doomed = await at.open('doomed', { writable: true });
      const other = await at.open('other', { writable: true });
      await doomed.call('write', write(0, bytesOf(1, 1)), none);
      await doomed.call('flush', {}, none);
      await doomed.call('write', write(0, bytesOf(1, 2)), none);
      const lost = [
        doomed.run('createSnapshot', { name: trap, seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun),
        doomed.call('flush', {}, none),
        doomed.call('write', write(0, bytesOf(1, 3)), none),
      ];
      for (const result of await Promise.allSettled(lost)) {
        assert.equal(result.status, 'rejected');
        assert.equal((result.reason as { code: string }).code, 'engine-lost');
      }
      assert.deepEqual([doomed.lossCount, other.lossCount], [1, 0]);
      await assert.rejects(doomed.call('read', { offset: 0, length: 1 }, none), { code: 'engine-lost' });
      doomed.release();
      await other.call('write', write(0, bytesOf(1, 1)), none);

      const again = await at.open('doomed', { writable: true });
      assert.deepEqual((await again.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 1));
      assert.equal(again.lossCount, 1);
      assert.deepEqual(
        at.failures.map(({ doing }) => doing),
        ['running an engine thread'],
      );
    });
  }

  it('does not count the loss of an image that could only be read', async () => {
    await using at = await bench(startThreads(1), {});
    await at.make('read', 64 * KiB);
    await at.make('doomed', 64 * KiB);
    const read = await at.open('read', { writable: false });
    const doomed = await at.open('doomed', { writable: true });
    const run = doomed.run('createSnapshot', { name: traps.exit, seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
    await assert.rejects(run, { code: 'engine-lost' });
    assert.deepEqual([read.lossCount, doomed.lossCount], [0, 1]);
    await assert.rejects(read.call('read', { offset: 0, length: 1 }, none), { code: 'engine-lost' });
  });

  it('is done with an eviction when the thread has died over it', async () => {
    await using at = await bench(startThreads(1), {});
    await at.make('one', 64 * KiB);
    const handle = await at.open('one', { writable: true });
    const eviction = at.pool.evict('one');
    const run = handle.run('createSnapshot', { name: traps.exit, seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
    await assert.rejects(run, { code: 'engine-lost' });
    await eviction;
  });

  it('spreads images over its threads', async () => {
    await using at = await bench(startThreads(2), {});
    for (const name of ['a', 'b', 'c', 'd']) await at.make(name, 64 * KiB);
    const handles = [];
    for (const name of ['a', 'b', 'c', 'd']) handles.push(await at.open(name, { writable: true }));
    const [first] = handles;
    assert.ok(first);
    const run = first.run('createSnapshot', { name: traps.exit, seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
    await assert.rejects(run, { code: 'engine-lost' });
    assert.deepEqual(
      handles.map(({ lossCount }) => lossCount),
      [1, 0, 1, 0],
    );
  });

  it('says why it cannot start', async () => {
    const absent = new URL('./no-such-worker.ts', import.meta.url);
    const started = bench(
      (settings) => ThreadPool.start({ ...settings, threads: 1, entry: absent, locks: 'qemu' }),
      {},
    );
    await assert.rejects(started, (fault: { code: string; context: { reason: string } }) => {
      assert.equal(fault.code, 'engine-lost');
      return /no-such-worker/.test(fault.context.reason);
    });
  });

  it('closes an image some time after its last release', async () => {
    await using at = await bench(startThreads(1), { imageIdleMs: 20 });
    await at.make('one', 64 * KiB);
    const handle = await at.open('one', { writable: true });
    handle.release();
    while (journalOf(at.pathOf('one')).at(-1) !== 'close') await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(at.failures, []);
  });
});
