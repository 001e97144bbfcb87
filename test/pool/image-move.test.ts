// Open images go from one engine thread to another: under load, and with what belongs to them.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { NodeFile } from '../../src/engine/file/node-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { Engine } from '../../src/pool/engine.ts';
import type { EngineHandle } from '../../src/pool/engine-pool.ts';
import type { InlinePool } from '../../src/pool/inline-pool.ts';
import type { LanePool } from '../../src/pool/lane-pool.ts';
import { ThreadPool, workerEntry } from '../../src/pool/thread-pool.ts';
import { faultCodeOf } from '../support/faults.ts';
import { makeLuksImage } from '../support/luks-image.ts';
import { specOf } from '../support/memory-image-spec.ts';
import { byteAt, cell, inlineWith, moving, qcow2 } from '../support/moving-bench.ts';
import { bench, bytesOf, noRun, none, snapshotArgs, write } from '../support/pool-bench.ts';
import type { Bench, PoolSettings } from '../support/pool-bench.ts';
import { tempFolder } from '../support/temp-folder.ts';

const startInline = inlineWith(qcow2);
const startThreads = (settings: PoolSettings): Promise<ThreadPool> =>
  ThreadPool.start({
    ...settings,
    threads: 2,
    entry: workerEntry,
    locks: 'qemu',
    hostCopies: false,
    cacheBytes: 64 * MiB,
    codecThreads: 1,
  });

/** Readers, writers, flushes and snapshots, until everybody has done their part. */
class Crowd {
  readonly #handle: EngineHandle;
  readonly #written = new Map<number, number>();
  readonly #generations = new Set<number>();
  #latest = 0;

  constructor(handle: EngineHandle) {
    this.#handle = handle;
  }

  async work(rounds: number): Promise<void> {
    const writers = [0, 1, 2, 3].map((writer) => this.#write(writer, rounds));
    await Promise.all([...writers, this.#snapshot(Math.ceil(rounds / 8)), this.#flush(rounds)]);
  }

  /** What the image must hold. */
  judge(byteOf: (offset: number) => number): void {
    for (const [offset, value] of this.#written) assert.equal(byteOf(offset), value, `at ${offset}`);
  }

  async #write(writer: number, rounds: number): Promise<void> {
    for (let round = 1; round <= rounds; round += 1) {
      const offset = (writer * 64 + ((round * 7) % 64)) * cell;
      const before = this.#latest;
      const value = (round % 250) + 1;
      const { generation } = await this.#handle.call('write', write(offset, bytesOf(cell, value)), none);
      assert.ok(generation > before, 'a write raises the generation above all that was told before');
      assert.ok(!this.#generations.has(generation), 'no two writes have one generation');
      this.#generations.add(generation);
      this.#latest = Math.max(this.#latest, generation);
      this.#written.set(offset, value);
      const read = await this.#handle.call('read', { offset, length: cell }, none);
      assert.ok(
        read.bytes.every((byte) => byte === value),
        'a read finds what was written',
      );
      assert.ok(read.generation >= generation);
    }
  }

  async #snapshot(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      const { id } = await this.#handle.run('createSnapshot', snapshotArgs(`s${round}`), noRun);
      if (round % 2 === 1) await this.#handle.run('deleteSnapshot', { snapshot: id }, noRun);
    }
  }

  async #flush(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) await this.#handle.call('flush', {}, none);
  }
}

for (const [name, start, rounds] of [
  ['inline', startInline, 60],
  ['threads', startThreads, 60],
] as const) {
  describe(`${name}: an image that is moved again and again`, { timeout: 120_000 }, () => {
    it('loses no request and doubles none, and its generation only grows', async () => {
      await using at = await moving<LanePool>(start);
      await at.make('one', 2 * MiB);
      const handle = await at.open('one', { writable: true });
      const crowd = new Crowd(handle);
      let isOver = false;
      const goesOn = (): boolean => !isOver;
      const work = crowd.work(rounds).finally(() => {
        isOver = true;
      });
      let moves = 0;
      for (let index = 1; goesOn(); index = 1 - index) {
        while (goesOn() && !(await at.pool.relocate('one', index))) await new Promise(setImmediate);
        if (goesOn()) moves += 1;
      }
      await work;
      assert.ok(moves > 2, `it was moved under load, ${moves} times`);
      assert.ok(at.pool.figures().imagesMoved >= moves);
      assert.deepEqual([handle.lossCount, at.pool.figures().openImages, at.failures], [0, 1, []]);
      handle.release();
      await at.pool.evict('one');
      const image = Image.open({ path: at.pathOf('one'), writable: true, backing: [], locks: 'qemu' });
      const byte = new Uint8Array(1);
      crowd.judge((offset) => {
        image.read(guestOffset(offset), byte);
        return byte[0] ?? -1;
      });
      const { corruptions, leaks } = runToEnd(image.check());
      assert.deepEqual([corruptions, leaks], [0, 0]);
      image.close();
    });
  });
}

describe('what belongs to an image', { timeout: 60_000 }, () => {
  it('goes with it: the epoch, what it is run with, and what was not flushed', async () => {
    await using at = await moving(startInline);
    await at.make('one', 2 * MiB);
    const handle = await at.open('one', { writable: true });
    await handle.fence(3);
    await handle.call('setRuntime', { refcountCacheBytes: 128 * KiB, lazyRefcounts: true }, none);
    await handle.call('write', write(0, bytesOf(cell, 5)), none);
    const { generation } = handle;
    assert.equal(await at.pool.relocate('one', 1), true);
    assert.equal(handle.generation, generation, 'no byte has changed');
    const stale = handle.call('write', write(0, bytesOf(1, 6)), { ...none, epoch: 2 });
    await assert.rejects(stale, { code: 'fencing-token-stale' });
    assert.equal(await byteAt(handle, 0), 5);
    const { caches } = await handle.call('inspect', {}, none);
    assert.equal(caches.refcounts?.lengthMax, 128 * KiB);
    const after = await handle.call('write', write(1 * MiB, bytesOf(1, 7)), { ...none, epoch: 3 });
    assert.ok(after.generation > generation);
    assert.equal((await handle.call('describe', {}, none)).dirty, true, 'refcounts lag behind as they did');
    assert.equal(await at.pool.relocate('one', 1), false, 'it is there already');
  });

  it('goes with it: the keys that it is unlocked with, and that it is locked', async () => {
    await using at = await moving(startInline);
    const path = at.pathOf('secret');
    const key = makeLuksImage(path, {});
    const handle = await at.open('secret', { writable: true });
    await handle.useKeys(new Map([[path, Uint8Array.from(key)]]));
    await handle.call('write', write(0, bytesOf(cell, 5)), none);
    assert.equal(await at.pool.relocate('secret', 1), true);
    assert.equal(await byteAt(handle, 0), 5);
    await handle.useKeys(new Map());
    assert.equal(await at.pool.relocate('secret', 0), true);
    await assert.rejects(byteAt(handle, 0), { code: 'passphrase-required' });
    const { bytes } = await handle.call('read', { offset: 0, length: 1 }, { ...none, keys: new Map([[path, key]]) });
    assert.deepEqual([...bytes], [5]);
  });

  it('goes with it: which VM states were read', async () => {
    await using at = await moving(startInline);
    await at.make('one', 2 * MiB);
    const handle = await at.open('one', { writable: true });
    const { id } = await handle.run('createSnapshot', snapshotArgs('s'), noRun);
    const before = await handle.call('vmState', { snapshot: id }, none);
    await handle.call('write', write(0, bytesOf(1, 1)), none);
    assert.equal(await at.pool.relocate('one', 1), true);
    assert.deepEqual(await handle.call('vmState', { snapshot: id }, none), before);
  });

  it('is not moved while something of it cannot go along', async () => {
    await using at = await moving(startInline);
    await at.make('one', 2 * MiB);
    assert.equal(await at.pool.relocate('one', 1), false, 'it is not open');
    const handle = await at.open('one', { writable: true });
    const run = handle.run('check', {}, noRun);
    assert.equal(await at.pool.relocate('one', 1), false, 'a run is under way');
    await run;
    const plan = handle.call('planExport', { format: 'raw', layer: 'all' }, none);
    assert.equal(await at.pool.relocate('one', 1), false, 'an export is being planned');
    const { id } = await plan;
    assert.equal(await at.pool.relocate('one', 1), false, 'an export is planned');
    assert.equal((await handle.call('readExport', { id, offset: 0, length: 1 }, none)).bytes.length, 1);
    await handle.call('closeExport', { id }, none);
    const refused = handle.call('planExport', { format: 'raw', layer: 'all', snapshot: 'none' }, none);
    await assert.rejects(refused, { code: 'snapshot-not-found' });
    await handle.run('rebase', { chain: [], mode: 'unsafe', keys: new Map() }, noRun);
    assert.equal(await at.pool.relocate('one', 1), false, 'it may stand on other files');
    handle.release();
    await at.pool.evict('one');
    await at.open('one', { writable: false });
    assert.equal(await at.pool.relocate('one', 1), true);
  });

  it('keeps other programs out in every moment of a move', async () => {
    let probes = 0;
    let opened = 0;
    const engine: Engine = {
      ...qcow2,
      open: (options) => {
        if (options.shares === true) {
          for (const writable of [true, false]) {
            const foreign = (): void =>
              Image.open({ path: options.path, writable, backing: [], locks: 'qemu' }).close();
            assert.equal(faultCodeOf(foreign), 'image-in-use');
            probes += 1;
          }
        }
        opened += 1;
        return qcow2.open(options);
      },
    };
    await using at = await moving(inlineWith(engine));
    await at.make('one', 1 * MiB);
    const handle = await at.open('one', { writable: true });
    const before = opened;
    assert.equal(await at.pool.relocate('one', 1), true);
    assert.deepEqual([opened - before, probes], [1, 2], 'the old file was closed, the new one not open');
    handle.release();
    await at.pool.evict('one');
    Image.open({ path: at.pathOf('one'), writable: true, backing: [], locks: 'qemu' }).close();
  });

  it('lets whoever waits leave, be evicted for, and open it for writing meanwhile', async () => {
    await using at = await moving(startInline);
    await at.make('one', 1 * MiB);
    const reader = await at.open('one', { writable: false });
    const leaving = new AbortController();
    const moved = at.pool.relocate('one', 1);
    await new Promise(setImmediate);
    const read = reader.call('read', { offset: 0, length: 1 }, { signal: leaving.signal });
    const other = reader.call('read', { offset: 0, length: 1 }, none);
    const writer = at.open('one', { writable: true });
    leaving.abort(new Error('gone'));
    await assert.rejects(read, /gone/);
    assert.deepEqual((await other).bytes, bytesOf(1, 0));
    assert.equal(await moved, true);
    const handle = await writer;
    await handle.call('write', write(0, bytesOf(1, 1)), none);
    const again = at.pool.relocate('one', 0);
    const eviction = at.pool.evict('one');
    handle.release();
    reader.release();
    await eviction;
    assert.equal(await again, true);
    assert.equal(at.pool.figures().openImages, 0);
  });

  it('closes for being idle after a move, as before', async () => {
    await using at = (await bench(startInline, { imageIdleMs: 20 })) as Bench & { readonly pool: InlinePool };
    await at.make('one', 64 * KiB);
    const handle = await at.open('one', { writable: true });
    const moved = at.pool.relocate('one', 1);
    handle.release();
    assert.equal(await moved, true);
    while (at.pool.figures().openImages > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(at.failures, []);
  });
});

describe('a data file of an image that is moved', { timeout: 60_000 }, () => {
  it('is guarded too, and so is the chain', async () => {
    using folder = tempFolder();
    const [base, top, data] = ['base.qcow2', 'top.qcow2', 'top.data'].map((name) => join(folder.path, name));
    assert.ok(base !== undefined && top !== undefined && data !== undefined);
    const spec = specOf(1 * MiB);
    const dataFile = { fileName: 'top.data', path: data };
    const backing = [{ fileName: 'base.qcow2', path: base, format: 'qcow2' }] as const;
    runToEnd(Image.create(base, spec));
    runToEnd(
      Image.create(top, {
        ...spec,
        backing: { fileName: 'base.qcow2', format: 'qcow2' },
        dataFile: { ...dataFile, raw: false },
      }),
    );
    const files = [
      [base, 'qemu'],
      [top, 'qemu'],
      [data, 'qemu-data'],
    ] as const;
    let probes = 0;
    const engine: Engine = {
      ...qcow2,
      open: (options) => {
        if (options.shares === true) {
          for (const [path, locks] of files) {
            const foreign = (): void => NodeFile.open(path, { writable: true, locks }).close();
            assert.equal(faultCodeOf(foreign), 'image-in-use', path);
            probes += 1;
          }
        }
        return qcow2.open(options);
      },
    };
    await using at = await moving(inlineWith(engine));
    const request = { imageId: 'top', path: top, writable: true, backing, dataFile, generation: 1 };
    const handle = await at.pool.open(request, none);
    await handle.call('write', write(0, bytesOf(cell, 1)), none);
    assert.equal(await at.pool.relocate('top', 1), true);
    assert.equal(await byteAt(handle, 0), 1);
    assert.equal(probes, files.length);
  });
});
