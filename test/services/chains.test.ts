import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { runToEnd } from '../../src/engine/operations/steps.ts';
import { houseEngine } from '../support/service-engine.ts';
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
