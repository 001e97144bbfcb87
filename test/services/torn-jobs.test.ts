import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { houseEngine } from '../support/service-engine.ts';
import { newImage, openHouse } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { makeTemplate, tear, tornKinds } from '../support/torn-jobs.ts';
import type { Template, TornKind } from '../support/torn-jobs.ts';

/** After so many steps a run is cut. A revert has some more before the old content is gone. */
const stepsOf = (kind: TornKind): readonly number[] => (kind === 'snapshot-revert' ? [0, 2, 7] : [0, 2]);

/** Which ends each kind was seen to come to. */
const ends: Readonly<Record<TornKind, readonly string[]>> = {
  'create': ['failed'],
  'import': ['failed'],
  'copy': ['failed'],
  'compact': ['succeeded'],
  'grow': ['failed'],
  'shrink': ['failed', 'succeeded'],
  'compare': ['succeeded'],
  'digest': ['succeeded'],
  'rebase': ['failed'],
  'flatten': ['succeeded'],
  'commit': ['succeeded'],
  'check': ['succeeded'],
  'repair': ['succeeded'],
  'empty': ['failed', 'succeeded'],
  'amend': ['failed'],
  'zero': ['failed'],
  'discard': ['failed'],
  'snapshot-create': ['failed'],
  'snapshot-delete': ['failed', 'succeeded'],
  'snapshot-revert': ['failed', 'succeeded'],
};

describe('a job whose process ends before it', { timeout: 300_000 }, () => {
  let template: Template;
  before(async () => {
    template = await makeTemplate();
  });
  after(() => {
    template[Symbol.dispose]();
  });

  for (const [place, kind] of tornKinds.entries()) {
    test(`${kind}: killed, the next process says how it ended, and the image is as it says`, async () => {
      const states = new Set<string>();
      for (const step of stepsOf(kind)) {
        const torn = await tear(template, { kind, step, ending: 'crash' });
        if (torn === undefined) break;
        states.add(torn.state);
      }
      assert.deepEqual([...states].toSorted(), ends[kind]);
    });

    // What stops a job in order knows no kinds: every third is enough.
    if (place % 3 !== 0) continue;
    test(`${kind}: stopped in order, the same`, async () => {
      const cut = { kind, ending: 'stop' } as const;
      const torn = (await tear(template, { ...cut, step: 1 })) ?? (await tear(template, { ...cut, step: 0 }));
      assert.ok(torn !== undefined);
    });
  }
});

describe('an amendment whose process ends before it tells how it ended', { timeout: 60_000 }, () => {
  const wishes = [{ refcountBits: 64 }, { lazyRefcounts: true }, { dataFileRaw: false }] as const;
  const same = { compat: undefined, refcountBits: undefined, lazyRefcounts: undefined, dataFileRaw: undefined };

  /** As a process leaves them that is killed, one job for each wish; returns their ids. */
  async function leaveJobs(house: ServiceHouse, imageId: string, round: number): Promise<readonly string[]> {
    const ids = wishes.map((_, index) => `job_01900000-0000-7000-8000-0000000000${String(round)}${String(index)}`);
    for (const [index, id] of ids.entries()) {
      const work = { kind: 'amend', imageId, state: 'running', options: { ...same, ...wishes[index] } } as const;
      const times = { createdAtMs: 1, startedAtMs: 1, endedAtMs: undefined };
      const end = { done: 0, total: 0, result: undefined, fault: undefined, requestId: 'request', trace: {} };
      await house.catalog.jobs.save({ id, ...work, ...times, ...end });
    }
    return ids;
  }

  async function statesOf({ services }: ServiceHouse, ids: readonly string[]): Promise<readonly string[]> {
    const jobs = ids.map((id) => services.jobs.get(id, { waitMs: 10_000, signal: undefined }));
    return (await Promise.all(jobs)).map(({ state }) => state);
  }

  test('succeeded where the image is what was asked for, and failed where it is not, whatever that was', async () => {
    using folder = tempFolder();
    const open = (): Promise<ServiceHouse> => openHouse({ engine: houseEngine, path: folder.path });
    let [id, ids]: [string, readonly string[]] = ['', []];
    {
      await using house = await open();
      ({ id } = await house.services.images.create(newImage({ name: 'vm', dataFile: { raw: true } })));
      ids = await leaveJobs(house, id, 1);
    }
    {
      await using house = await open();
      assert.deepEqual(
        await statesOf(house, ids),
        wishes.map(() => 'failed'),
      );
      await house.services.images.amend('vm', { ...same, refcountBits: 64, lazyRefcounts: true, dataFileRaw: false });
      ids = await leaveJobs(house, id, 2);
    }
    await using house = await open();
    assert.deepEqual(
      await statesOf(house, ids),
      wishes.map(() => 'succeeded'),
    );
  });
});
