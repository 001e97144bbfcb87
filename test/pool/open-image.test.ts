import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { MiB } from '../../src/base/units.ts';
import { journalOf, markDirty, recoverySteps, traps } from '../support/memory-image.ts';
import {
  bench,
  bytesOf,
  forEver,
  noRun,
  none,
  openOne,
  snapshotArgs,
  startEndless,
  startInline,
  startInlineWith,
  write,
} from '../support/pool-bench.ts';

describe('an image that breaks', { timeout: 60_000 }, () => {
  it('fails with all that waits for it, and leaves the others alone', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    await at.make('other', 1 * MiB);
    const other = await at.open('other', { writable: true });
    await handle.call('write', write(0, bytesOf(1, 1)), none);
    const failed = [
      handle.run('createSnapshot', snapshotArgs(traps.bug), noRun),
      handle.call('write', write(0, bytesOf(1, 2)), none),
      handle.call('flush', {}, none),
    ];
    for (const call of failed) await assert.rejects(call, { code: 'image-failed' });
    assert.deepEqual([handle.lossCount, other.lossCount], [1, 0]);
    assert.equal(journalOf(at.pathOf('one')).at(-1), 'abandon');
    await assert.rejects(handle.call('read', { offset: 0, length: 1 }, none), { code: 'image-failed' });
    handle.release();
    await other.call('write', write(0, bytesOf(1, 1)), none);
    const again = await at.open('one', { writable: true });
    assert.deepEqual((await again.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 0));
    const [failure] = at.failures;
    assert.equal(failure?.imageId, 'one');
    assert.match(String(failure.error), /nobody steps into the trap[^]*memory-image/);
  });

  it('ends a run between whose steps a read breaks it', async () => {
    const read = (): never => {
      throw new TypeError('undefined is not a function');
    };
    await using at = await bench(
      startInlineWith(() => ({ read, check: forEver })),
      {},
    );
    const handle = await openOne(at);
    const run = handle.run('check', {}, noRun);
    const call = handle.call('read', { offset: 0, length: 1 }, none);
    await assert.rejects(call, { code: 'image-failed' });
    await assert.rejects(run, { code: 'image-failed' });
  });

  it('is lost when it cannot be closed, and whoever evicts it hears why', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    await handle.run('createSnapshot', snapshotArgs(traps.close), noRun);
    handle.release();
    await assert.rejects(at.pool.evict('one'), { code: 'io-error' });
    assert.equal(journalOf(at.pathOf('one')).at(-1), 'failed-close');
    assert.equal((await at.open('one', { writable: false })).lossCount, 1);
    assert.deepEqual(at.failures, []);
  });

  it('is reported when nobody waited for its closing', async () => {
    await using at = await bench(startInline, { imageIdleMs: 1 });
    const handle = await openOne(at);
    await handle.run('createSnapshot', snapshotArgs(traps.close), noRun);
    handle.release();
    while (at.failures.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(
      at.failures.map(({ doing, imageId }) => [doing, imageId]),
      [['closing an image', 'one']],
    );
  });

  it('leaves other files alone when the making of one breaks', async () => {
    await using at = await bench(startInline, {});
    await at.make('one', 1 * MiB);
    await assert.rejects(at.make('one', 1 * MiB), { code: 'image-failed' });
    await at.make('two', 1 * MiB);
  });
});

describe('a dirty image', { timeout: 60_000 }, () => {
  const recovered = ['open-writable', ...Array.from({ length: recoverySteps }, () => 'recover')];

  it('is recovered before anybody gets a handle to write with', async () => {
    await using at = await bench(startInline, {});
    await at.make('one', 1 * MiB);
    markDirty(at.pathOf('one'));
    const before = journalOf(at.pathOf('one')).length;
    const handles = await Promise.all([
      at.open('one', { writable: true }),
      at.open('one', { writable: false }),
      at.open('one', { writable: true }),
    ]);
    assert.deepEqual(journalOf(at.pathOf('one')).slice(before), recovered);
    for (const handle of handles) assert.equal((await handle.call('describe', {}, none)).dirty, false);
  });

  it('is read as it is until somebody wants to write (BIT-I0, T76)', async () => {
    await using at = await bench(startInline, {});
    await at.make('one', 1 * MiB);
    markDirty(at.pathOf('one'));
    const reader = await at.open('one', { writable: false });
    assert.equal((await reader.call('describe', {}, none)).dirty, true);
    const { generation } = reader;
    await at.open('one', { writable: true });
    assert.equal((await reader.call('describe', {}, none)).dirty, false);
    assert.ok(reader.generation > generation);
    assert.deepEqual(journalOf(at.pathOf('one')).slice(-recovered.length - 1), ['close', ...recovered]);
  });

  it('stays dirty and is let go of when it cannot be recovered, and readers keep it', async () => {
    const recover = (): never => {
      throw new Fault('image-full', {});
    };
    await using at = await bench(
      startInlineWith(() => ({ recover })),
      {},
    );
    await at.make('one', 1 * MiB);
    markDirty(at.pathOf('one'));
    await assert.rejects(at.open('one', { writable: true }), { code: 'image-full' });
    assert.equal(journalOf(at.pathOf('one')).at(-1), 'abandon');
    const reader = await at.open('one', { writable: false });
    await assert.rejects(at.open('one', { writable: true }), { code: 'image-full' });
    assert.equal((await reader.call('describe', {}, none)).dirty, true);
    assert.equal(reader.lossCount, 0);
  });

  it('lets nobody wait for its recovery for ever', async () => {
    await using at = await bench(startEndless, { limits: { gateWaitMs: 50 } });
    await at.make('one', 1 * MiB);
    markDirty(at.pathOf('one'));
    await assert.rejects(at.open('one', { writable: true }), { code: 'engine-busy' });
    await assert.rejects(at.open('one', { writable: false }), { code: 'engine-busy' });
    await at.pool.close();
    assert.equal(journalOf(at.pathOf('one')).at(-1), 'abandon');
  });
});
