import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { JobRecord } from '../../src/catalog/catalog.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';

function someJob(id: string, endedAtMs: number | undefined): JobRecord {
  return {
    id,
    kind: 'check',
    imageId: undefined,
    state: endedAtMs === undefined ? 'running' : 'succeeded',
    options: {},
    trace: {},
    done: 0,
    total: 0,
    result: undefined,
    fault: undefined,
    requestId: 'request',
    createdAtMs: 0,
    startedAtMs: 0,
    endedAtMs,
  };
}

/** A catalog with jobs that ended in another order than that of their ids, and one that goes on. */
async function catalogWithJobs(): Promise<SqliteCatalog> {
  const catalog = SqliteCatalog.open(':memory:');
  await catalog.jobs.save(someJob('job_0', undefined));
  for (const [id, endedAtMs] of [
    ['job_1', 500],
    ['job_2', 300],
    ['job_3', 400],
    ['job_4', 400],
  ] as const) {
    await catalog.jobs.save(someJob(id, endedAtMs));
  }
  return catalog;
}

async function idsOf({ jobs }: SqliteCatalog): Promise<readonly string[]> {
  return (await jobs.list({ limit: 100, after: undefined })).map(({ id }) => id);
}

test('jobs that ended before a time go, those that have not ended stay', async () => {
  const catalog = await catalogWithJobs();
  await catalog.jobs.prune({ endedBeforeMs: 400, endedMax: 100 });
  assert.deepEqual(await idsOf(catalog), ['job_0', 'job_1', 'job_3', 'job_4']);
  await catalog.jobs.prune({ endedBeforeMs: Number.MAX_SAFE_INTEGER, endedMax: 100 });
  assert.deepEqual(await idsOf(catalog), ['job_0']);
  await catalog.close();
});

test('of too many jobs those go that ended first, whatever their ids; those that have not ended do not count', async () => {
  const catalog = await catalogWithJobs();
  await catalog.jobs.prune({ endedBeforeMs: 0, endedMax: 3 });
  assert.deepEqual(await idsOf(catalog), ['job_0', 'job_1', 'job_3', 'job_4']);
  await catalog.jobs.prune({ endedBeforeMs: 0, endedMax: 2 });
  assert.deepEqual(await idsOf(catalog), ['job_0', 'job_1', 'job_4']);
  await catalog.jobs.prune({ endedBeforeMs: 0, endedMax: 0 });
  assert.deepEqual(await idsOf(catalog), ['job_0']);
  await catalog.close();
});
