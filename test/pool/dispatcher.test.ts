import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { GiB, KiB, MiB } from '../../src/base/units.ts';
import type { EngineHandle } from '../../src/pool/engine-pool.ts';
import type { EngineRuns, RunName } from '../../src/pool/protocol.ts';
import { journalOf } from '../support/memory-image.ts';
import {
  bench,
  bytesOf,
  noRun,
  none,
  openOne,
  snapshotArgs,
  startEndless,
  startInline,
  startInlineWith,
  write,
} from '../support/pool-bench.ts';

/** The order in which the named promises are settled. */
async function orderOf(promises: Readonly<Record<string, Promise<unknown>>>): Promise<string[]> {
  const order: string[] = [];
  const noted = Object.entries(promises).map(async ([name, promise]) => {
    await promise.finally(() => order.push(name));
  });
  await Promise.all(noted);
  return order;
}

function startRun<Name extends RunName>(
  handle: EngineHandle,
  name: Name,
  args: EngineRuns[Name]['args'],
): Promise<unknown> {
  return handle.run(name, args, noRun);
}

describe('the order of requests on one image', { timeout: 60_000 }, () => {
  const admittingReads: Readonly<Record<string, (handle: EngineHandle) => Promise<unknown>>> = {
    planExport: (handle) => handle.call('planExport', { format: 'qcow2', layer: 'all' }, none),
    createSnapshot: (handle) => startRun(handle, 'createSnapshot', snapshotArgs('new')),
    zero: (handle) => startRun(handle, 'zero', { offset: 0, length: 4 * MiB, unmap: false }),
    discard: (handle) => startRun(handle, 'discard', { offset: 0, length: 4 * MiB }),
    deleteSnapshot: (handle) => startRun(handle, 'deleteSnapshot', { snapshot: 'old' }),
  };
  for (const [name, begin] of Object.entries(admittingReads)) {
    it(`lets reads pass a running ${name}, and nothing else`, async () => {
      await using at = await bench(startInline, {});
      const handle = await openOne(at);
      await handle.run('createSnapshot', snapshotArgs('old'), noRun);
      const order = await orderOf({
        run: begin(handle),
        write: handle.call('write', write(0, bytesOf(1, 1)), none),
        flush: handle.call('flush', {}, none),
        read: handle.call('read', { offset: 0, length: 1 }, none),
        describe: handle.call('describe', {}, none),
      });
      assert.deepEqual(order, ['read', 'describe', 'run', 'write', 'flush']);
    });
  }

  it('lets reads and flushes pass a running check, and writes where they only overwrite', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const order = await orderOf({
      run: startRun(handle, 'check', {}),
      write: handle.call('write', write(0, bytesOf(1, 1)), none),
      flush: handle.call('flush', {}, none),
      read: handle.call('read', { offset: 0, length: 1 }, none),
    });
    assert.deepEqual(order.indexOf('write'), 3, 'the engine of this test overwrites nothing');
    assert.ok(order.indexOf('read') < order.indexOf('run') && order.indexOf('flush') < order.indexOf('run'));
  });

  const admittingNothing: Readonly<Record<string, (handle: EngineHandle) => Promise<unknown>>> = {
    repair: (handle) => startRun(handle, 'repair', { mode: 'all' }),
    revertSnapshot: (handle) => startRun(handle, 'revertSnapshot', { snapshot: 'old' }),
    resize: (handle) => startRun(handle, 'resize', { virtualSize: 8 * MiB, allowShrink: false, preallocation: 'off' }),
  };
  for (const [name, begin] of Object.entries(admittingNothing)) {
    it(`lets nothing pass a running ${name} (CHK-16, ORD-18, T62)`, async () => {
      await using at = await bench(startInline, {});
      const handle = await openOne(at);
      await handle.run('createSnapshot', snapshotArgs('old'), noRun);
      const order = await orderOf({
        run: begin(handle),
        read: handle.call('read', { offset: 0, length: 1 }, none),
        write: handle.call('write', write(0, bytesOf(1, 1)), none),
        extents: handle.call('extents', { offset: 0, length: 1, limit: 1, layer: 'all', hostOffsets: false }, none),
        check: handle.run('check', {}, noRun),
      });
      assert.deepEqual(order, ['run', 'read', 'write', 'extents', 'check']);
    });
  }

  it('keeps a write out of the snapshot that was begun before it', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const taken = handle.run('createSnapshot', snapshotArgs('before'), noRun);
    await handle.call('write', write(0, bytesOf(1, 1)), none);
    await taken;
    const { bytes } = await handle.call('readSnapshot', { snapshot: 'before', offset: 0, length: 1 }, none);
    assert.deepEqual(bytes, bytesOf(1, 0));
  });

  it('does many waiting calls in their order (ORD-20, T52)', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    void handle.run('repair', { mode: 'all' }, noRun);
    const reads: Promise<{ bytes: Uint8Array }>[] = [];
    for (let value = 1; value <= 100; value += 1) {
      void handle.call('write', write(0, bytesOf(1, value)), none);
      reads.push(handle.call('read', { offset: 0, length: 1 }, none));
    }
    const values = (await Promise.all(reads)).map(({ bytes }) => bytes[0]);
    assert.deepEqual(
      values,
      Array.from({ length: 100 }, (_, index) => index + 1),
    );
  });

  it('serves other images between the steps of a run', async () => {
    await using at = await bench(startEndless, {});
    const one = await openOne(at);
    await at.make('two', 1 * MiB);
    const controller = new AbortController();
    const run = one.run('check', {}, { signal: controller.signal, onProgress: undefined });
    const two = await at.open('two', { writable: true });
    await two.call('write', write(0, bytesOf(1, 1)), none);
    await two.run('zero', { offset: 0, length: 1 * MiB, unmap: false }, noRun);
    controller.abort(new Error('enough'));
    await assert.rejects(run, { message: 'enough' });
  });

  it('lets no call wait for a run for ever, and other runs and patient calls as long as they want', async () => {
    await using at = await bench(startEndless, { limits: { gateWaitMs: 50 } });
    const handle = await openOne(at);
    const controller = new AbortController();
    const run = handle.run('check', {}, { signal: controller.signal, onProgress: undefined });
    const busy = { code: 'engine-busy', context: { waitedMs: 50 } };
    const patient = [
      handle.run('zero', { offset: 0, length: 1, unmap: false }, noRun),
      handle.call('write', write(0, bytesOf(2, 1)), { ...none, patient: true }),
    ];
    for (let count = 0; count < 2; count += 1) {
      await assert.rejects(handle.call('write', write(0, bytesOf(1, 1)), none), busy);
    }
    assert.equal((await handle.call('read', { offset: 0, length: 1 }, none)).generation, 100);
    controller.abort();
    await assert.rejects(run);
    await Promise.all(patient);
    await handle.call('write', write(0, bytesOf(1, 1)), none);
  });

  it('drops a waiting change whose caller has gone', async () => {
    await using at = await bench(startEndless, {});
    const handle = await openOne(at);
    const running = new AbortController();
    const run = handle.run('check', {}, { signal: running.signal, onProgress: undefined });
    await handle.call('read', { offset: 0, length: 1 }, none);
    const leaving = new AbortController();
    const { signal } = leaving;
    const dropped = [
      handle.call('write', write(0, bytesOf(1, 9)), { signal }),
      handle.run('resize', { virtualSize: 1 * MiB, allowShrink: true, preallocation: 'off' }, { ...noRun, signal }),
    ];
    await handle.call('read', { offset: 0, length: 1 }, none);
    leaving.abort(new Error('gone'));
    for (const call of dropped) await assert.rejects(call, { message: 'gone' });
    running.abort();
    await assert.rejects(run);
    assert.deepEqual((await handle.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 0));
    assert.deepEqual([handle.virtualSize, handle.generation], [4 * MiB, 100]);
  });
});

describe('flushes', { timeout: 60_000 }, () => {
  it('are answered by one when they come together', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const calls: Promise<unknown>[] = [];
    for (let count = 0; count < 50; count += 1) {
      calls.push(handle.call('write', write(count, bytesOf(1, 1)), none), handle.call('flush', {}, none));
    }
    await Promise.all(calls);
    const journal = journalOf(at.pathOf('one'));
    assert.equal(journal.at(-1), 'flush');
    assert.equal(journal.filter((word) => word === 'write').length, 50);
    // The first message starts an idle thread; lists of messages are bounded.
    const flushes = journal.filter((word) => word === 'flush').length;
    assert.ok(flushes <= 5, `${flushes} flushes`);
  });

  it('are answered by one when they have waited for a run together, after the writes before them', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const calls: Promise<unknown>[] = [handle.run('repair', { mode: 'all' }, noRun)];
    for (let count = 0; count < 10; count += 1) {
      calls.push(handle.call('write', write(count, bytesOf(1, 1)), none), handle.call('flush', {}, none));
    }
    await Promise.all(calls);
    const words = journalOf(at.pathOf('one')).filter((word) => word === 'write' || word === 'flush');
    assert.deepEqual(words, [...Array.from({ length: 10 }, () => 'write'), 'flush']);
  });

  it('are done before the run that comes after them', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const order = await orderOf({
      write: handle.call('write', write(0, bytesOf(1, 1)), none),
      flush: handle.call('flush', {}, none),
      run: handle.run('resize', { virtualSize: 8 * MiB, allowShrink: false, preallocation: 'off' }, noRun),
    });
    assert.deepEqual(order, ['write', 'flush', 'run']);
  });

  it('fail together', async () => {
    const flush = (): never => {
      throw new Fault('insufficient-storage', {});
    };
    await using at = await bench(
      startInlineWith(() => ({ flush })),
      {},
    );
    const handle = await openOne(at);
    const flushes = [1, 2, 3].map(() => handle.call('flush', {}, none));
    for (const call of flushes) await assert.rejects(call, { code: 'insufficient-storage' });
  });
});

describe('a run', { timeout: 60_000 }, () => {
  it('is undone step by step when it is cancelled', async () => {
    await using at = await bench(startInline, { limits: { progressIntervalMs: 0 } });
    const handle = await openOne(at);
    const controller = new AbortController();
    const onProgress = (): void => controller.abort(new Error('no more'));
    const run = handle.run('createSnapshot', snapshotArgs('half'), { signal: controller.signal, onProgress });
    await assert.rejects(run, { message: 'no more' });
    assert.equal((await handle.call('describe', {}, none)).snapshotCount, 0);
    assert.equal(journalOf(at.pathOf('one')).at(-1), 'undone');
  });

  it('that is too far to be undone goes on to its end, cancelled or fenced off', async () => {
    let begun = 0;
    const deleteSnapshot = function* (): Generator<{ done: number; total: number; isFinal: true }, void, undefined> {
      begun += 1;
      for (let done = 0; done < 100; done += 1) yield { done, total: 100, isFinal: true };
    };
    await using at = await bench(
      startInlineWith(() => ({ deleteSnapshot })),
      { limits: { progressIntervalMs: 0 } },
    );
    const handle = await openOne(at);
    const controller = new AbortController();
    const onProgress = (): void => controller.abort(new Error('too late'));
    await handle.run('deleteSnapshot', { snapshot: 'one' }, { signal: controller.signal, onProgress });
    assert.equal(controller.signal.aborted, true);
    const order: string[] = [];
    const run = handle.run('deleteSnapshot', { snapshot: 'two' }, { ...noRun, epoch: 0 }).then(() => order.push('run'));
    while (begun < 2) await new Promise(setImmediate);
    await handle.fence(1).then(() => order.push('fence'));
    await run;
    assert.deepEqual(order.toSorted(), ['fence', 'run']);
  });

  it('is undone before the pool is closed', async () => {
    await using at = await bench(startInline, {});
    const made = at.make('large', 4 * GiB).catch((fault: unknown) => fault);
    await at.make('small', 1 * MiB);
    assert.ok(existsSync(at.pathOf('large')));
    await at.pool.close();
    assert.ok((await made) instanceof Fault);
    assert.equal(existsSync(at.pathOf('large')), false);
  });

  it('tells its progress, but not at every step', async () => {
    const told = { often: 0, seldom: 0 };
    for (const [key, progressIntervalMs] of [
      ['often', 0],
      ['seldom', 60_000],
    ] as const) {
      await using at = await bench(startInline, { limits: { progressIntervalMs } });
      const handle = await openOne(at);
      const onProgress = (done: number, total: number): void => {
        assert.ok(done <= total);
        told[key] += 1;
      };
      await handle.run('check', {}, { signal: undefined, onProgress });
    }
    assert.deepEqual(told, { often: 64, seldom: 1 });
  });

  it('raises the generation at each step of a change', async () => {
    await using at = await bench(startInline, {});
    const handle = await openOne(at);
    const { generation } = await handle.run('zero', { offset: 0, length: 256 * KiB, unmap: true }, noRun);
    assert.equal(generation, 104);
  });
});
