// The contract suite over worker threads, and what happens when one of them dies.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import type { EngineHandle, EnginePool } from '../../src/pool/engine-pool.ts';
import { ThreadPool } from '../../src/pool/thread-pool.ts';
import { enginePoolContract } from '../contracts/engine-pool.ts';
import { poolFencingContract } from '../contracts/pool-fencing.ts';
import { poolMeasuringContract } from '../contracts/pool-measuring.ts';
import { goOn, journalOf, traps } from '../support/memory-image.ts';
import { bench, bytesOf, noRun, none, snapshotArgs, write } from '../support/pool-bench.ts';
import type { Bench, PoolSettings } from '../support/pool-bench.ts';
import { tempFolder } from '../support/temp-folder.ts';

const entry = new URL('../support/memory-worker.ts', import.meta.url);

function startThreads(threads: number): (settings: PoolSettings) => Promise<ThreadPool> {
  return (settings) =>
    ThreadPool.start({
      ...settings,
      threads,
      entry,
      locks: 'qemu',
      hostCopies: false,
      cacheBytes: 64 * MiB,
      codecThreads: 1,
    });
}

enginePoolContract('one thread', startThreads(1));
poolFencingContract('one thread', startThreads(1));
poolMeasuringContract('one thread', startThreads(1));

async function answers(pool: EnginePool): Promise<boolean> {
  try {
    await pool.ping();
    return true;
  } catch (error) {
    assert.equal((error as { code: string }).code, 'engine-busy');
    return false;
  }
}

/** The image that was stuck, once its thread has ended. */
async function reopened(at: Bench): Promise<EngineHandle> {
  for (;;) {
    try {
      return await at.open('stalled', { writable: true });
    } catch (error) {
      assert.equal((error as { code: string }).code, 'engine-lost');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

describe('a pool of threads', { timeout: 300_000 }, () => {
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

  it('knows a thread that stands still by its silence, and asks it once', async () => {
    await using at = await bench(startThreads(1), { limits: { pingWaitMs: 50 } });
    await at.make('stalled', 64 * KiB);
    const stalled = await at.open('stalled', { writable: true });
    const run = stalled.run('createSnapshot', snapshotArgs(traps.stall), noRun);
    while (journalOf(at.pathOf('stalled')).at(-1) !== 'stall') await new Promise(setImmediate);
    try {
      for (let time = 0; time < 3; time += 1) {
        await assert.rejects(at.pool.ping(), { code: 'engine-busy', context: { waitedMs: 50 } });
        assert.equal(at.pool.figures().queuedRequests, 2, 'the run and one ping');
      }
    } finally {
      goOn(at.pathOf('stalled'));
    }
    await run;
    while (!(await answers(at.pool)));
  });

  it('gives up a thread that stands still: its images wait until it has ended, others go on at once', async () => {
    await using at = await bench(startThreads(1), { limits: { callTimeoutMs: 1_500 } });
    for (const name of ['stalled', 'beside', 'new']) await at.make(name, 64 * KiB);
    const stalled = await at.open('stalled', { writable: true });
    const beside = await at.open('beside', { writable: true });
    await stalled.call('write', write(0, bytesOf(1, 1)), none);
    await stalled.call('flush', {}, none);
    const run = stalled.run('createSnapshot', snapshotArgs(traps.stall), noRun);
    try {
      await assert.rejects(run, { code: 'engine-lost' });
      await assert.rejects(stalled.call('read', { offset: 0, length: 1 }, none), { code: 'engine-lost' });
      await assert.rejects(beside.call('read', { offset: 0, length: 1 }, none), { code: 'engine-lost' });
      assert.deepEqual([stalled.lossCount, beside.lossCount], [1, 1]);
      stalled.release();
      for (const name of ['stalled', 'beside']) {
        await assert.rejects(at.open(name, { writable: false }), { code: 'engine-lost' });
        await assert.rejects(at.pool.evict(name), { code: 'engine-lost' });
        assert.throws(() => at.pool.requireUnstuck(name), { code: 'engine-lost' });
      }
      const other = await at.open('new', { writable: true });
      await other.call('write', write(0, bytesOf(1, 1)), none);
      await at.pool.ping();
      assert.deepEqual(
        at.failures.map(({ doing }) => doing),
        ['running an engine thread'],
      );
      assert.deepEqual([at.pool.figures().threadsLost, at.pool.figures().openImages], [1, 1]);
    } finally {
      goOn(at.pathOf('stalled'));
    }
    const again = await reopened(at);
    assert.deepEqual((await again.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 1));
  });

  it('starts another thread for a ping in the place of one that has died', async () => {
    await using at = await bench(startThreads(1), { limits: { pingWaitMs: 60_000 } });
    await at.make('doomed', 64 * KiB);
    const doomed = await at.open('doomed', { writable: true });
    await assert.rejects(doomed.run('createSnapshot', snapshotArgs(traps.exit), noRun), { code: 'engine-lost' });
    await at.pool.ping();
    assert.equal(at.pool.figures().threadsLost, 1);
  });

  it('tells of a thread that dies again and again', async () => {
    using folder = tempFolder();
    const mark = join(folder.path, 'started');
    const source = `import { existsSync, writeFileSync } from 'node:fs';
      const mark = ${JSON.stringify(mark)};
      if (existsSync(mark)) process.exit(1);
      writeFileSync(mark, '');
      await import(${JSON.stringify(entry.href)});`;
    const once = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    await using at = await bench(
      (settings) =>
        ThreadPool.start({
          ...settings,
          threads: 1,
          entry: once,
          locks: 'qemu',
          hostCopies: false,
          cacheBytes: 64 * MiB,
          codecThreads: 1,
        }),
      {},
    );
    await at.make('doomed', 64 * KiB);
    const doomed = await at.open('doomed', { writable: true });
    await assert.rejects(doomed.run('createSnapshot', snapshotArgs(traps.exit), noRun), { code: 'engine-lost' });
    for (let time = 0; time < 2; time += 1) await assert.rejects(at.pool.ping(), { code: 'engine-lost' });
  });

  it('says why it cannot start', async () => {
    const absent = new URL('./no-such-worker.ts', import.meta.url);
    const started = bench(
      (settings) =>
        ThreadPool.start({
          ...settings,
          threads: 1,
          entry: absent,
          locks: 'qemu',
          hostCopies: false,
          cacheBytes: 64 * MiB,
          codecThreads: 1,
        }),
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
