import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { CommitWish } from '../../src/engine/operations/commit.ts';
import type { Engine } from '../../src/pool/engine.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { pattern } from '../support/test-service.ts';

const KiB = 1024;

describe('a rebase whose process was killed', () => {
  for (const [moment, target, state] of [
    ['before the file named the new base', 'two', 'failed'],
    ['after the file named the new base', 'two', 'succeeded'],
    ['before the file named none', undefined, 'failed'],
    ['after the file named none', undefined, 'succeeded'],
  ] as const) {
    test(`${moment}: file, catalog and job agree when the next one has started`, async () => {
      using folder = tempFolder();
      const path = folder.path;
      const ids = new Map<string, string>();
      let content: Buffer;
      const jobId = 'job_01900000-0000-7000-8000-000000000000';
      {
        await using house = await openHouse({ engine: houseEngine, path });
        const { services } = house;
        for (const [name, backing] of [
          ['one', undefined],
          ['two', undefined],
          ['top', 'one'],
        ] as const) {
          const { id } = await services.images.create(newImage({ name, virtualSize: 512 * KiB, backing }));
          ids.set(name, id);
          await writeAt(services, name, 0, pattern(100 * KiB, ids.size));
        }
        content = await readAll(services, 'top');
      }
      const idOf = (name: string): string => ids.get(name) ?? '';
      {
        // As the service does it, up to the kill.
        await using house = await openHouse({ engine: houseEngine, path });
        const { catalog, directory } = house;
        await catalog.markStructural(idOf('top'), 'rebase');
        if (target !== undefined) await catalog.reserveBacking(idOf('top'), idOf(target));
        const sourceOf = (name: string) =>
          ({
            fileName: directory.fileName(idOf(name)),
            path: directory.imagePath(idOf(name)),
            format: 'qcow2',
          }) as const;
        if (state === 'succeeded') {
          const backing = [sourceOf('one')];
          const image = houseEngine.open({ path: directory.imagePath(idOf('top')), writable: true, backing });
          runToEnd(image.rebase({ chain: target === undefined ? [] : [sourceOf(target)], mode: 'safe' }));
          image.close();
        }
        const backingId = target === undefined ? null : idOf(target);
        const work = {
          kind: 'rebase',
          imageId: idOf('top'),
          state: 'running',
          options: {},
          trace: { backingId },
        } as const;
        const times = { createdAtMs: 1, startedAtMs: 1, endedAtMs: undefined };
        const end = { done: 0, total: 0, result: undefined, fault: undefined, requestId: 'request' };
        await catalog.jobs.save({ id: jobId, ...work, ...times, ...end });
      }
      await using house = await openHouse({ engine: houseEngine, path });
      const { services, catalog, failures } = house;
      const top = await catalog.findImage('top');
      const expected = state === 'succeeded' ? target : 'one';
      assert.ok(top !== undefined);
      assert.equal(top.backing?.name, expected);
      assert.deepEqual([top.structural, top.nextBackingId], [undefined, undefined]);
      for (const name of ['one', 'two']) {
        assert.equal((await catalog.findImage(name))?.dependentCount, name === expected ? 1 : 0, name);
      }
      assert.ok(content.equals(await readAll(services, 'top')));
      const job = await services.jobs.get(jobId, { waitMs: 10_000, signal: undefined });
      assert.equal(job.state, state);
      assert.deepEqual(failures, []);
    });
  }
});

describe('a commit whose process was killed', () => {
  for (const moment of ['before its first step', 'half-way'] as const) {
    test(`${moment} begins again: the target has everything, and nothing is left to mend`, async () => {
      using folder = tempFolder();
      const path = folder.path;
      const jobId = 'job_01900000-0000-7000-8000-000000000000';
      const ids: string[] = [];
      let content: Buffer;
      {
        await using house = await openHouse({ engine: houseEngine, path });
        const { services } = house;
        const disks = [
          { name: 'base', virtualSize: 4096 * KiB, backing: undefined },
          { name: 'top', virtualSize: 5120 * KiB, backing: 'base' },
        ] as const;
        for (const disk of disks) {
          const { id } = await services.images.create(newImage(disk));
          ids.push(id);
          for (let at = 0; at < 4096 * KiB; at += 512 * KiB)
            await writeAt(services, disk.name, at + ids.length * 64 * KiB, pattern(100 * KiB, ids.length));
        }
        content = await readAll(services, 'top');
      }
      const [baseId, topId] = ids;
      assert.ok(baseId !== undefined && topId !== undefined);
      {
        await using house = await openHouse({ engine: houseEngine, path });
        const { catalog, directory } = house;
        await catalog.markStructural(topId, 'commit');
        await catalog.reserveGenerations(baseId, { jump: true });
        await catalog.markStructural(baseId, 'commit');
        if (moment === 'half-way') {
          const basePath = directory.imagePath(baseId);
          const backing = [{ fileName: directory.fileName(baseId), path: basePath, format: 'qcow2' }] as const;
          const image = houseEngine.open({ path: directory.imagePath(topId), writable: true, backing });
          // Stopped, it leaves the image as it was, and its layers open.
          const stopped = image.commit({ depth: 1, mend: false });
          for (let step = 0; step < 3; step += 1) assert.equal(stopped.next().done, false);
          stopped.return();
          const shown = new Uint8Array(image.virtualSize);
          image.read(guestOffset(0), shown);
          assert.ok(content.equals(shown));
          const steps = image.commit({ depth: 1, mend: false });
          for (let step = 0; step < 5; step += 1) assert.equal(steps.next().done, false);
          // What the file is at this moment, with nothing of what is still in memory.
          const torn = Buffer.concat([readFileSync(basePath), Buffer.alloc(128 * KiB)]);
          // And a cluster that was counted, while the entry that was to name it was not written yet.
          const block = torn.readUIntBE(torn.readUIntBE(50, 6) + 2, 6);
          torn.writeUInt16BE(1, block + 2 * (Math.floor(torn.length / (64 * KiB)) - 1));
          runToEnd(steps);
          image.close();
          writeFileSync(basePath, torn);
        }
        const work = {
          kind: 'commit',
          imageId: topId,
          state: 'running',
          options: { keepTop: false },
          trace: {},
        } as const;
        const times = { createdAtMs: 1, startedAtMs: 1, endedAtMs: undefined };
        const end = { done: 0, total: 0, result: undefined, fault: undefined, requestId: 'request' };
        await catalog.jobs.save({ id: jobId, ...work, ...times, ...end });
      }
      await using house = await openHouse({ engine: houseEngine, path });
      const { services, catalog, failures } = house;
      const job = await services.jobs.get(jobId, { waitMs: 60_000, signal: undefined });
      assert.equal(job.state, 'succeeded');
      for (const name of ['base', 'top']) {
        assert.ok(content.equals(await readAll(services, name)), name);
        assert.equal((await catalog.findImage(name))?.structural, undefined, name);
        assert.equal((await services.images.check(name, { repair: 'none' })).leaks, 0, name);
      }
      assert.deepEqual(failures, []);
    });
  }
});

describe('a commit whose disk fails', () => {
  for (const [failure, mark] of [
    // Nobody knows what the disk has kept.
    [new Fault('io-error', {}), 'commit'],
    [new Fault('insufficient-storage', { diskFailed: true }), 'commit'],
    // The target was closed in good order.
    [new Fault('insufficient-storage', {}), undefined],
  ] as const) {
    test(`marks its target as ${String(mark)} after ${failure.code} ${JSON.stringify(failure.context)}, and works when asked again`, async () => {
      const disk: { failure: Fault | undefined } = { failure };
      await using house = await openHouse({ engine: failingCommits(disk) });
      const { services, catalog } = house;
      await services.images.create(newImage({ name: 'base', virtualSize: 4096 * KiB }));
      await writeAt(services, 'base', 0, pattern(300 * KiB, 1));
      await services.images.create(newImage({ name: 'top', virtualSize: 4096 * KiB, backing: 'base' }));
      for (let at = 0; at < 4; at += 1) await writeAt(services, 'top', at * 1024 * KiB, pattern(200 * KiB, 2));
      const content = await readAll(services, 'top');
      await assert.rejects(services.chains.commit('top', { keepTop: false }), faultOf(failure.code));
      assert.equal((await catalog.findImage('base'))?.structural, mark);
      // The mark keeps nobody from either of them.
      assert.ok(content.equals(await readAll(services, 'top')));
      assert.equal((await readAll(services, 'base')).length, 4096 * KiB);
      await writeAt(services, 'top', 5000, pattern(1000, 3));
      pattern(1000, 3).copy(content, 5000);
      assert.equal((await catalog.findImage('top'))?.structural, undefined);
      disk.failure = undefined;
      await services.chains.commit('top', { keepTop: false });
      for (const name of ['base', 'top']) {
        assert.ok(content.equals(await readAll(services, name)), name);
        assert.equal((await catalog.findImage(name))?.structural, undefined, name);
        assert.equal((await services.images.check(name, { repair: 'none' })).clean, true, name);
      }
      assert.deepEqual(house.failures, []);
    });
  }

  test('leaves a mark that goes, too, when the target is opened with nothing upon it', async () => {
    await using house = await openHouse({ engine: failingCommits({ failure: new Fault('io-error', {}) }) });
    const { services, catalog } = house;
    await services.images.create(newImage({ name: 'base' }));
    await services.images.create(newImage({ name: 'top', backing: 'base' }));
    await writeAt(services, 'top', 0, pattern(100 * KiB, 2));
    await assert.rejects(services.chains.commit('top', { keepTop: false }), faultOf('io-error'));
    await services.chains.flatten('top');
    assert.equal((await catalog.findImage('base'))?.structural, 'commit');
    assert.equal((await services.images.check('base', { repair: 'none' })).clean, true);
    assert.equal((await catalog.findImage('base'))?.structural, undefined);
  });
});

/** The engine of the product on a disk that fails commits in their middle. */
function failingCommits(disk: { readonly failure: Fault | undefined }): Engine {
  return {
    ...houseEngine,
    open: (options) => {
      const image = houseEngine.open(options);
      const commit = image.commit.bind(image);
      return Object.assign(image, {
        *commit(wish: CommitWish) {
          const steps = commit(wish);
          if (disk.failure === undefined) return yield* steps;
          for (let step = 0; step < 2; step += 1) yield steps.next().value ?? { done: 0, total: 1 };
          steps.return();
          throw disk.failure;
        },
      });
    },
  };
}

test('a rebase that waits for an image which waits for it gives up, and leaves nothing', async () => {
  await using house = await openHouse({ engine: houseEngine });
  const { services, catalog } = house;
  for (const name of ['one', 'two']) await services.images.create(newImage({ name, virtualSize: 512 * KiB }));
  const onto = (backing: string) => ({ backing, mode: 'safe' }) as const;
  const ends = await Promise.allSettled([
    services.chains.rebase('one', onto('two')),
    services.chains.rebase('two', onto('one')),
  ]);
  assert.equal(ends.filter(({ status }) => status === 'fulfilled').length <= 1, true);
  const records = await Promise.all(['one', 'two'].map((name) => catalog.findImage(name)));
  const standing = records.filter((record) => record?.backing !== undefined).length;
  assert.equal(standing, ends.filter(({ status }) => status === 'fulfilled').length);
  for (const record of records) assert.deepEqual([record?.structural, record?.nextBackingId], [undefined, undefined]);
});
