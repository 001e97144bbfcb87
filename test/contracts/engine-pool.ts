// What every engine pool does, over whichever engine: a suite as a function of how a pool is started.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import type { EngineHandle, EnginePool } from '../../src/pool/engine-pool.ts';
import { headLength, readLengthMax } from '../../src/pool/protocol.ts';
import { specOf } from '../support/memory-image-spec.ts';
import { bench, bytesOf, noRun, none, write } from '../support/pool-bench.ts';
import type { PoolSettings } from '../support/pool-bench.ts';

export function enginePoolContract(name: string, start: (settings: PoolSettings) => Promise<EnginePool>): void {
  describe(`${name}: the contract of an engine pool`, { timeout: 300_000 }, () => {
    it('describes the image that it makes', async () => {
      await using at = await bench(start, {});
      const request = { imageId: 'one', path: at.pathOf('one'), spec: specOf(3 * MiB), backing: [] };
      const description = await at.pool.create(request, noRun);
      assert.equal(description.virtualSize, 3 * MiB);
      assert.equal(description.dirty, false);
    });

    it('reads what was written, and tells size and generation without a message', async () => {
      await using at = await bench(start, {});
      await at.make('one', 3 * MiB);
      const handle = await at.open('one', { writable: true });
      assert.deepEqual([handle.virtualSize, handle.generation, handle.lossCount], [3 * MiB, 100, 0]);
      assert.deepEqual(await handle.call('write', write(5, bytesOf(10, 7)), none), { generation: 101 });
      assert.equal(handle.generation, 101);
      const { bytes, generation } = await handle.call('read', { offset: 0, length: 20 }, none);
      assert.equal(generation, 101);
      assert.deepEqual([...bytes], [...bytesOf(5, 0), ...bytesOf(10, 7), ...bytesOf(5, 0)]);
    });

    it('takes a whole buffer away and leaves a part of one alone', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      const whole = bytesOf(4096, 1);
      const part = Buffer.from('part of a pooled buffer');
      const half = bytesOf(16, 2);
      await handle.call('write', write(0, whole), none);
      await handle.call('write', write(8192, half.subarray(0, 8)), none);
      assert.deepEqual(half, bytesOf(16, 2));
      await handle.call('write', write(4096, part), none);
      assert.equal(whole.length, 0);
      assert.equal(part.toString(), 'part of a pooled buffer');
      const { bytes } = await handle.call('read', { offset: 4095, length: 5 }, none);
      assert.deepEqual(Buffer.from(bytes), Buffer.from('\u0001part'));
    });

    it('does calls of one caller in their order', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      const reads: Promise<{ bytes: Uint8Array; generation: number }>[] = [];
      for (let value = 1; value <= 100; value += 1) {
        void handle.call('write', write(value % 7, bytesOf(8, value)), none);
        reads.push(handle.call('read', { offset: value % 7, length: 8 }, none));
      }
      for (const [index, { bytes, generation }] of (await Promise.all(reads)).entries()) {
        assert.deepEqual(bytes, bytesOf(8, index + 1));
        assert.equal(generation, 101 + index);
      }
    });

    it('moves big pieces', async () => {
      await using at = await bench(start, {});
      await at.make('one', 32 * MiB);
      const handle = await at.open('one', { writable: true });
      const writes = Array.from({ length: 8 }, (_, index) =>
        handle.call('write', write(index * 4 * MiB, bytesOf(4 * MiB, index + 1)), none),
      );
      await Promise.all(writes);
      const reads = Array.from({ length: 32 }, (_, index) =>
        handle.call('read', { offset: index * MiB, length: readLengthMax }, none),
      );
      for (const [index, { bytes }] of (await Promise.all(reads)).entries()) {
        assert.equal(bytes.length, readLengthMax);
        assert.ok(bytes.every((byte) => byte === Math.floor(index / 4) + 1));
      }
    });

    it('refuses spans outside the disk with its size', async () => {
      await using at = await bench(start, {});
      await at.make('one', 64 * KiB);
      const handle = await at.open('one', { writable: true });
      const outside = { code: 'range-not-satisfiable', context: { size: 64 * KiB } };
      await assert.rejects(handle.call('read', { offset: 64 * KiB, length: 1 }, none), outside);
      await assert.rejects(handle.call('write', write(64 * KiB - 1, bytesOf(2, 1)), none), outside);
      await assert.rejects(handle.run('zero', { offset: 1, length: 64 * KiB, unmap: false }, noRun), outside);
    });

    it('raises the generation with each change and nothing else, not with one that is refused at once', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('flush', {}, none);
      await handle.call('describe', {}, none);
      await handle.run('createSnapshot', { name: 'a', seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
      await handle.run('check', {}, noRun);
      assert.equal(handle.generation, 100);
      const zeroed = await handle.run('zero', { offset: 0, length: 1 * MiB, unmap: false }, noRun);
      assert.ok(zeroed.generation > 100);
      assert.equal(handle.generation, zeroed.generation);
      const shrink = { virtualSize: 512, allowShrink: false, preallocation: 'off' } as const;
      await assert.rejects(handle.run('resize', shrink, noRun), { code: 'shrink-not-allowed' });
      assert.equal(handle.generation, zeroed.generation);
    });

    it('goes on from a later generation when an image that is still open is opened again', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const first = await at.open('one', { writable: true });
      const request = { imageId: 'one', path: at.pathOf('one'), writable: true, backing: [], generation: 5000 };
      const later = await at.pool.open(request, none);
      assert.deepEqual([later.generation, first.generation], [5000, 5000]);
    });

    it('tells the new size after a resize', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      const other = await at.open('one', { writable: false });
      await handle.run('resize', { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' }, noRun);
      assert.deepEqual([handle.virtualSize, other.virtualSize], [2 * MiB, 2 * MiB]);
    });

    it('reads snapshots, goes back to one, and forgets one', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('write', write(0, bytesOf(3, 1)), none);
      const args = { name: 'before', seconds: 1, nanoseconds: 2, idFloor: 5 };
      const snapshot = await handle.run('createSnapshot', args, noRun);
      assert.deepEqual([snapshot.id, snapshot.name], ['5', 'before']);
      await handle.call('write', write(0, bytesOf(3, 2)), none);
      const { bytes } = await handle.call('readSnapshot', { snapshot: 'before', offset: 0, length: 3 }, none);
      assert.deepEqual(bytes, bytesOf(3, 1));
      await handle.run('revertSnapshot', { snapshot: '5' }, noRun);
      assert.deepEqual((await handle.call('read', { offset: 0, length: 3 }, none)).bytes, bytesOf(3, 1));
      await handle.run('deleteSnapshot', { snapshot: 'before' }, noRun);
      const gone = handle.call('readSnapshot', { snapshot: 'before', offset: 0, length: 3 }, none);
      await assert.rejects(gone, { code: 'snapshot-not-found' });
    });

    it('lists extents of the image and of a snapshot, each with its size', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.run('createSnapshot', { name: 'small', seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
      await handle.run('resize', { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' }, noRun);
      const query = { offset: 0, length: 1 * MiB, limit: 10, layer: 'all', hostOffsets: false } as const;
      const live = await handle.call('extents', query, none);
      const small = await handle.call('extents', { ...query, snapshot: 'small' }, none);
      assert.deepEqual([live.virtualSize, small.virtualSize], [2 * MiB, 1 * MiB]);
      assert.equal(live.generation, handle.generation);
      assert.equal(
        live.items.reduce((sum, { length }) => sum + length, 0),
        1 * MiB,
      );
    });

    it('reads a planned export until the image changes', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('write', write(0, bytesOf(3, 9)), none);
      const plan = await handle.call('planExport', { format: 'raw', layer: 'all' }, none);
      assert.deepEqual([plan.length, plan.generation], [1 * MiB, 101]);
      const { bytes } = await handle.call('readExport', { id: plan.id, offset: 0, length: 3 }, none);
      assert.deepEqual(bytes, bytesOf(3, 9));
      await handle.call('write', write(0, bytesOf(1, 1)), none);
      const stale = handle.call('readExport', { id: plan.id, offset: 0, length: 3 }, none);
      await assert.rejects(stale, { code: 'export-stale' });
    });

    it('reads the planned export of a snapshot as long as there is the snapshot', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.run('createSnapshot', { name: 'kept', seconds: 0, nanoseconds: 0, idFloor: 1 }, noRun);
      const plan = await handle.call('planExport', { format: 'raw', snapshot: 'kept', layer: 'all' }, none);
      await handle.call('write', write(0, bytesOf(1, 1)), none);
      const { bytes } = await handle.call('readExport', { id: plan.id, offset: 0, length: 1 }, none);
      assert.deepEqual(bytes, bytesOf(1, 0));
      await handle.run('deleteSnapshot', { snapshot: 'kept' }, noRun);
      const stale = handle.call('readExport', { id: plan.id, offset: 0, length: 1 }, none);
      await assert.rejects(stale, { code: 'export-stale' });
    });

    it('ends the exports of a handle with it, and plans only so many at a time', async () => {
      await using at = await bench(start, { limits: { exportPlansMax: 2 } });
      await at.make('one', 1 * MiB);
      const first = await at.open('one', { writable: false });
      const second = await at.open('one', { writable: false });
      const args = { format: 'raw', layer: 'all' } as const;
      const plan = await first.call('planExport', args, none);
      await first.call('planExport', args, none);
      await assert.rejects(second.call('planExport', args, none), { code: 'engine-busy' });
      await first.call('closeExport', { id: plan.id }, none);
      await second.call('planExport', args, none);
      first.release();
      await second.call('planExport', args, none);
    });

    it('joins an open image, and opens it again for the first who writes', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const reader = await at.open('one', { writable: false });
      await assert.rejects(reader.call('write', write(0, bytesOf(1, 1)), none), { code: 'image-read-only' });
      const plan = await reader.call('planExport', { format: 'raw', layer: 'all' }, none);
      const generation = reader.generation;
      const [writer, other] = await Promise.all([
        at.open('one', { writable: true }),
        at.open('one', { writable: true }),
      ]);
      assert.equal(reader.generation, generation);
      await reader.call('readExport', { id: plan.id, offset: 0, length: 1 }, none);
      await other.call('write', write(0, bytesOf(1, 1)), none);
      for (const handle of [reader, writer, other]) {
        assert.deepEqual((await handle.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 1));
      }
    });

    it('faults an open of what is not there, and forgets it', async () => {
      await using at = await bench(start, {});
      const opens = [1, 2, 3].map(() => at.open('nothing', { writable: false }));
      for (const result of await Promise.allSettled(opens)) assert.equal(result.status, 'rejected');
      await at.pool.evict('nothing');
      await at.make('nothing', 1 * MiB);
      assert.equal((await at.open('nothing', { writable: false })).virtualSize, 1 * MiB);
    });

    it('evicts an image after its last release, with everything in its file', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('write', write(0, bytesOf(1, 3)), none);
      let evicted = false;
      const eviction = at.pool.evict('one').then(() => {
        evicted = true;
      });
      await handle.call('read', { offset: 0, length: 1 }, none);
      assert.equal(evicted, false);
      handle.release();
      handle.release();
      await eviction;
      const again = await at.open('one', { writable: false });
      assert.equal(again.generation, 100);
      assert.deepEqual((await again.call('read', { offset: 0, length: 1 }, none)).bytes, bytesOf(1, 3));
      assert.equal(again.lossCount, 0);
    });

    it('drops a call whose signal is aborted already, and leaves no listener behind', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      const signal = AbortSignal.abort(new Error('gone'));
      await assert.rejects(handle.call('read', { offset: 0, length: 1 }, { signal }), { message: 'gone' });
      const controller = new AbortController();
      const read = handle.call('read', { offset: 0, length: 1 }, { signal: controller.signal });
      assert.equal(getEventListeners(controller.signal, 'abort').length, 1);
      await read;
      await handle.run('check', {}, { signal: controller.signal, onProgress: undefined });
      await at.open('one', { writable: true });
      assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    });

    it('drops waiting calls of an aborted signal before they are sent', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      const controller = new AbortController();
      const first = handle.call('read', { offset: 0, length: 1 }, none);
      const { signal } = controller;
      const dropped = [1, 2, 3].map((value) => handle.call('write', write(0, bytesOf(1, value)), { signal }));
      controller.abort(new Error('gone'));
      for (const call of dropped) await assert.rejects(call, { message: 'gone' });
      await first;
      assert.equal((await handle.call('read', { offset: 0, length: 1 }, none)).generation, 100);
    });

    it('reads into buffers that came back', async () => {
      await using at = await bench(start, {});
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('write', write(0, bytesOf(64 * KiB, 5)), none);
      const first = await handle.call('read', { offset: 0, length: 64 * KiB }, none);
      const kept = await handle.call('read', { offset: 0, length: 64 * KiB }, none);
      at.pool.recycle(first.bytes);
      at.pool.recycle(first.bytes);
      at.pool.recycle(Buffer.from('a part of a buffer'));
      const reads = [0, 1, 2].map((index) => handle.call('read', { offset: index * 64 * KiB, length: 64 * KiB }, none));
      const [same, second, third] = (await Promise.all(reads)).map(({ bytes }) => bytes);
      assert.equal(first.bytes.length, 0);
      assert.deepEqual([same, second, third], [bytesOf(64 * KiB, 5), bytesOf(64 * KiB, 0), bytesOf(64 * KiB, 0)]);
      assert.deepEqual(kept.bytes, bytesOf(64 * KiB, 5));
    });

    it('takes only so much at a time', async () => {
      await using at = await bench(start, { limits: { queueLengthMax: 100 } });
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: false });
      const reads = Array.from({ length: 3000 }, () => handle.call('read', { offset: 0, length: 16 }, none));
      const results = await Promise.allSettled(reads);
      const busy = results.filter((result) => result.status === 'rejected');
      assert.equal(busy.length, 2900);
      assert.ok(busy.every(({ reason }) => (reason as { code: string }).code === 'engine-busy'));
      assert.equal((await handle.call('read', { offset: 0, length: 16 }, none)).bytes.length, 16);
    });

    it('takes only so many bytes at a time', async () => {
      await using at = await bench(start, { limits: { queueBytesMax: 4 * MiB } });
      await at.make('one', 8 * MiB);
      const handle = await at.open('one', { writable: true });
      const kept = bytesOf(2 * MiB, 3);
      const writes = [bytesOf(1 * MiB, 1), bytesOf(2 * MiB, 2), kept].map((bytes) =>
        handle.call('write', write(0, bytes), none),
      );
      const results = await Promise.allSettled(writes);
      assert.deepEqual(
        results.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'rejected'],
      );
      assert.equal(kept.length, 2 * MiB);
    });

    it('closes an image that nobody uses when another one needs its place', async () => {
      await using at = await bench(start, { limits: { openImagesMax: 1 } });
      const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
      for (const imageId of names) {
        await at.make(imageId, 64 * KiB);
        const handle = await at.open(imageId, { writable: true });
        await handle.call('write', write(0, bytesOf(1, 1)), none);
        handle.release();
      }
      const held: EngineHandle[] = [];
      await assert.rejects(
        async () => {
          for (const imageId of names) held.push(await at.open(imageId, { writable: false }));
        },
        { code: 'engine-busy' },
      );
      assert.ok(held.length >= 1);
    });

    it('tells the progress of a run and undoes a cancelled one', async () => {
      await using at = await bench(start, { limits: { progressIntervalMs: 0 } });
      await at.make('one', 4 * MiB);
      const handle = await at.open('one', { writable: true });
      const controller = new AbortController();
      const told: number[] = [];
      const onProgress = (done: number): void => {
        told.push(done);
        controller.abort(new Error('changed my mind'));
      };
      const options = { signal: controller.signal, onProgress };
      const request = { imageId: 'two', path: at.pathOf('two'), spec: specOf(4096 * MiB), backing: [] };
      const spec = { ...request.spec, preallocation: 'metadata' } as const;
      await assert.rejects(at.pool.create({ ...request, spec }, options), { message: 'changed my mind' });
      assert.ok(told.length > 0);
      await at.make('two', 1 * MiB);
      await handle.call('read', { offset: 0, length: 1 }, none);
    });

    it('judges the head of a file before the rest is there', async () => {
      await using at = await bench(start, {});
      await at.make('foreign', 1 * MiB);
      const head = readFileSync(at.pathOf('foreign')).subarray(0, headLength);
      await at.pool.judgeHead({ head, backing: false }, none);
      const nothing = new Uint8Array(headLength);
      await assert.rejects(at.pool.judgeHead({ head: nothing, backing: false }, none), { code: 'unsafe-image' });
    });

    it('admits a sound file and leaves it closed', async () => {
      await using at = await bench(start, {});
      await at.make('foreign', 1 * MiB);
      const request = { path: at.pathOf('foreign'), backing: undefined, below: [], repair: 'leaks' } as const;
      const { description, report } = await at.pool.admit(request, noRun);
      assert.deepEqual([description.virtualSize, report.clean], [1 * MiB, true]);
      assert.equal((await at.open('foreign', { writable: true })).virtualSize, 1 * MiB);
    });

    it('ends what is under way when it is closed, and answers nothing afterwards', async () => {
      const at = await bench(start, {});
      await at.make('one', 8 * MiB);
      const handle = await at.open('one', { writable: true });
      const run = handle.run('check', {}, noRun).catch((fault: unknown) => fault);
      await at[Symbol.asyncDispose]();
      await run;
      await assert.rejects(handle.call('read', { offset: 0, length: 1 }, none), { code: 'engine-lost' });
      await assert.rejects(at.open('one', { writable: true }), { code: 'engine-lost' });
      handle.release();
      assert.deepEqual(at.failures, []);
    });
  });
}
