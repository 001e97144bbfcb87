// What every engine pool does about requests of an older epoch: a suite as a function of how a pool is started.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { MiB } from '../../src/base/units.ts';
import type { EnginePool } from '../../src/pool/engine-pool.ts';
import { bench, bytesOf, noRun, none, openOne, snapshotArgs, write } from '../support/pool-bench.ts';
import type { PoolSettings } from '../support/pool-bench.ts';

export function poolFencingContract(name: string, start: (settings: PoolSettings) => Promise<EnginePool>): void {
  describe(`${name}: fencing`, { timeout: 60_000 }, () => {
    it('lets changes of the current and of a later epoch through, and refuses older ones', async () => {
      await using at = await bench(start, {});
      const handle = await openOne(at);
      await handle.call('write', write(0, bytesOf(1, 1)), { ...none, epoch: 0 });
      await handle.fence(3);
      await assert.rejects(handle.call('write', write(0, bytesOf(1, 2)), { ...none, epoch: 2 }), isStale);
      await assert.rejects(handle.run('discard', { offset: 0, length: 1 }, { ...noRun, epoch: 2 }), isStale);
      const { bytes } = await handle.call('read', { offset: 0, length: 1 }, none);
      assert.deepEqual([...bytes], [1]);
      await handle.call('write', write(0, bytesOf(1, 3)), { ...none, epoch: 3 });
      await handle.call('write', write(1, bytesOf(1, 4)), { ...none, epoch: 4 });
    });

    it('never goes back to an older epoch', async () => {
      await using at = await bench(start, {});
      const handle = await openOne(at);
      await handle.fence(3);
      await handle.fence(1);
      await assert.rejects(handle.call('write', write(0, bytesOf(1, 2)), { ...none, epoch: 2 }), isStale);
    });

    it('lets the service change what nobody fences off', async () => {
      await using at = await bench(start, {});
      const handle = await openOne(at);
      await handle.fence(3);
      await handle.call('write', write(0, bytesOf(1, 2)), none);
      await handle.call('flush', {}, none);
    });

    it('refuses what waits for a run, and undoes a run of an older epoch before it answers', async () => {
      await using at = await bench(start, {});
      const handle = await openOne(at);
      let settled = 0;
      const old = { ...noRun, epoch: 0 };
      const run = handle.run('createSnapshot', snapshotArgs('old'), old).finally(() => (settled += 1));
      const waiting = handle.call('write', write(0, bytesOf(1, 9)), old).finally(() => (settled += 1));
      const outcomes = Promise.allSettled([run, waiting]);
      await handle.fence(1);
      assert.equal(settled, 2);
      for (const outcome of await outcomes) {
        assert.equal(outcome.status, 'rejected');
        assert.ok(isStale(outcome.reason));
      }
      const { snapshotCount } = await handle.call('describe', {}, none);
      assert.equal(snapshotCount, 0);
      const { bytes } = await handle.call('read', { offset: 0, length: 1 }, none);
      assert.deepEqual([...bytes], [0]);
      await handle.run('createSnapshot', snapshotArgs('new'), { ...noRun, epoch: 1 });
    });

    it('begins an epoch with the first change of it, whether the fence has come or not', async () => {
      await using at = await bench(start, {});
      const handle = await openOne(at);
      const old = { ...noRun, epoch: 0 };
      const run = handle.run('createSnapshot', snapshotArgs('old'), old);
      const waiting = handle.call('write', write(0, bytesOf(1, 9)), old);
      const outcomes = Promise.allSettled([run, waiting]);
      await handle.call('write', write(0, bytesOf(1, 4)), { ...none, epoch: 1 });
      for (const outcome of await outcomes) {
        assert.equal(outcome.status, 'rejected');
        assert.ok(isStale(outcome.reason));
      }
      const { snapshotCount } = await handle.call('describe', {}, none);
      assert.equal(snapshotCount, 0);
      await assert.rejects(handle.call('write', write(0, bytesOf(1, 5)), old), isStale);
      const { bytes } = await handle.call('read', { offset: 0, length: 1 }, none);
      assert.deepEqual([...bytes], [4]);
    });

    it('leaves a check alone', async () => {
      await using at = await bench(start, {});
      await at.make('one', 4 * MiB);
      const handle = await at.open('one', { writable: true });
      const check = handle.run('check', {}, noRun);
      await handle.fence(1);
      assert.equal((await check).clean, true);
    });
  });
}

function isStale(error: unknown): boolean {
  return error instanceof Fault && error.code === 'fencing-token-stale';
}
