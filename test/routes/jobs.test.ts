import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';

import type { Test } from 'supertest';

import { jobsKeptMs } from '../../src/services/jobs.ts';
import { startBrakedService } from '../support/braked-service.ts';
import type { BrakedService } from '../support/braked-service.ts';
import { portOf } from '../support/raw-http.ts';
import { codeOf, pointersOf } from '../support/test-service.ts';
import type { ImageBody } from '../support/test-service.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface JobBody {
  readonly id: string;
  readonly kind: string;
  readonly imageId: string | null;
  readonly state: string;
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string };
  readonly cancellable: boolean;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly problem?: { readonly code: string; readonly status: number; readonly detail: string };
  readonly endedAt?: string;
}

const MiB = 1_048_576;
const folder = tempFolder();
let service: BrakedService;

before(async () => {
  service = await startBrakedService(folder.path);
  await prepared('compared');
});
beforeEach(() => {
  service.brake.held = false;
});
after(async () => {
  await service[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

async function create(body: object): Promise<ImageBody> {
  return (await service.post('/v1/images', body).expect(201)).body as ImageBody;
}

/** An image with a snapshot, for every verb to have something to do. */
async function prepared(name: string): Promise<ImageBody> {
  const image = await create({ name, virtualSize: MiB });
  await service.put(`/v1/images/${name}/data`).set('Content-Range', 'bytes 0-99999/*').send(Buffer.alloc(100_000, 7));
  await service.post(`/v1/images/${name}/snapshots`, { name: 's' }).expect(201);
  return image;
}

/** Holds the runs, asks for a verb without waiting, and returns the job that was accepted. */
async function accepted(request: () => Test): Promise<JobBody> {
  service.brake.held = true;
  const answer = await request().set('Prefer', 'respond-async').expect(202);
  const job = answer.body as JobBody;
  assert.equal(answer.headers['location'], `/v1/jobs/${job.id}`);
  assert.match(answer.headers['retry-after'] ?? '', /^\d+$/);
  return job;
}

async function ended(id: string): Promise<JobBody> {
  return (await service.get(`/v1/jobs/${id}?wait=60`).expect(200)).body as JobBody;
}

const verbs = {
  'resize': (name: string) => service.post(`/v1/images/${name}/resize`, { virtualSize: 2 * MiB }),
  'digest': (name: string) => service.post(`/v1/images/${name}/digest`),
  'compare': (name: string) => service.post(`/v1/images/${name}/compare`, { with: 'compared' }),
  'check': (name: string) => service.post(`/v1/images/${name}/check`),
  'repair': (name: string) => service.post(`/v1/images/${name}/check`, { repair: 'all' }),
  'amend': (name: string) => service.post(`/v1/images/${name}/amend`, { refcountBits: 64, lazyRefcounts: true }),
  'compact': (name: string) => service.post(`/v1/images/${name}/compact`),
  'empty': (name: string) => service.post(`/v1/images/${name}/empty`),
  'rebase': (name: string) => service.post(`/v1/images/${name}/rebase`, { backing: null, mode: 'unsafe' }),
  'flatten': (name: string) => service.post(`/v1/images/${name}/flatten`),
  'zero': (name: string) => service.post(`/v1/images/${name}/zero`, { offset: 0, length: MiB }),
  'discard': (name: string) => service.post(`/v1/images/${name}/discard`, { offset: 0, length: MiB }),
  'snapshot-create': (name: string) => service.post(`/v1/images/${name}/snapshots`, { name: 'later' }),
  'snapshot-delete': (name: string) => service.delete(`/v1/images/${name}/snapshots/s`),
  'snapshot-revert': (name: string) => service.post(`/v1/images/${name}/snapshots/s/revert`),
} as const;

const results: Readonly<Record<keyof typeof verbs, string | undefined>> = {
  'resize': 'virtualSize',
  'digest': 'digest',
  'compare': 'identical',
  'check': 'clean',
  'repair': 'clean',
  'amend': 'refcountBits',
  'compact': 'reclaimedBytes',
  'empty': 'virtualSize',
  'rebase': 'virtualSize',
  'flatten': 'virtualSize',
  'zero': undefined,
  'discard': undefined,
  'snapshot-create': 'vmStateSize',
  'snapshot-delete': undefined,
  'snapshot-revert': 'virtualSize',
};

for (const kind of Object.keys(verbs) as (keyof typeof verbs)[]) {
  describe(`a long ${kind}`, () => {
    test('becomes a job that goes on, and has the body that the verb would have had', async () => {
      const { id: imageId } = await prepared(`long-${kind}`);
      const job = await accepted(() => verbs[kind](`long-${kind}`));
      assert.deepEqual([job.kind, job.imageId, job.cancellable], [kind, imageId, true]);
      assert.ok(['queued', 'running'].includes(job.state));
      service.brake.held = false;
      const end = await ended(job.id);
      assert.equal(end.state, 'succeeded');
      const member = results[kind];
      if (member === undefined) assert.equal(end.result, undefined);
      else assert.ok(end.result !== undefined && member in end.result);
      const stored = (await service.get(`/v1/jobs/${job.id}`).expect(200)).body as JobBody;
      assert.deepEqual(stored, end);
    });

    test('stops when it is cancelled, and leaves the image sound and unchanged', async () => {
      await prepared(`cancel-${kind}`);
      const job = await accepted(() => verbs[kind](`cancel-${kind}`));
      const asked = (await service.post(`/v1/jobs/${job.id}/cancel`).expect(202)).body as JobBody;
      assert.ok(['cancelling', 'cancelled'].includes(asked.state));
      const end = await ended(job.id);
      assert.deepEqual(
        [end.state, end.cancellable, end.problem, end.result],
        ['cancelled', false, undefined, undefined],
      );
      service.brake.held = false;
      const image = (await service.get(`/v1/images/cancel-${kind}`).expect(200)).body as ImageBody;
      assert.deepEqual([image.virtualSize, image['snapshotCount']], [MiB, 1]);
      const report = (await service.post(`/v1/images/cancel-${kind}/check`).expect(200)).body as Record<
        string,
        unknown
      >;
      assert.equal(report['clean'], true);
      const record = await service.house.catalog.findImage(`cancel-${kind}`);
      assert.equal(record?.structural, undefined);
      const again = await service.post(`/v1/jobs/${job.id}/cancel`);
      assert.deepEqual([again.status, codeOf(again)], [409, 'job-not-cancellable']);
    });
  });
}

describe('a long commit', () => {
  test('has the image below to itself, goes on when it may, and stops when it is cancelled', async () => {
    const { id: baseId } = await create({ name: 'ground', virtualSize: MiB });
    const { id } = await create({ name: 'tower', backing: { image: 'ground' } });
    const write = async (): Promise<unknown> =>
      service
        .put('/v1/images/tower/data')
        .set('Content-Range', 'bytes 0-99999/*')
        .send(Buffer.alloc(100_000, 7))
        .expect(204);
    await write();
    const structural = async (): Promise<readonly unknown[]> =>
      Promise.all([id, baseId].map(async (image) => (await service.house.catalog.findImage(image))?.structural));
    const commit = (): Promise<JobBody> => accepted(() => service.post('/v1/images/tower/commit'));

    const cancelled = await commit();
    for (const refused of [
      await service.get('/v1/images/ground/data').set('Range', 'bytes=0-9'),
      await service.post('/v1/images', { name: 'annex', backing: { image: 'ground' } }),
    ]) {
      assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-in-use']);
    }
    await service.get('/v1/images/tower/data').set('Range', 'bytes=0-9').expect(206);
    assert.deepEqual(await structural(), ['commit', 'commit']);
    await service.post(`/v1/jobs/${cancelled.id}/cancel`).expect(202);
    assert.equal((await ended(cancelled.id)).state, 'cancelled');
    assert.deepEqual(await structural(), [undefined, undefined]);
    service.brake.held = false;
    const untouched = (await service.get('/v1/images/ground/data').expect(200)).body as Buffer;
    assert.ok(untouched.every((byte) => byte === 0));

    const job = await commit();
    service.brake.held = false;
    const end = await ended(job.id);
    assert.deepEqual([job.kind, end.state, end.result?.['id']], ['commit', 'succeeded', id]);
    const full = (await service.get('/v1/images/ground/data').expect(200)).body as Buffer;
    assert.ok(full.subarray(0, 100_000).every((byte) => byte === 7));
    await write();
  });
});

describe('making an image', () => {
  test('becomes a job when all of its bytes are reserved', async () => {
    const body = { name: 'full', virtualSize: MiB, preallocation: 'full' };
    const job = await accepted(() => service.post('/v1/images', body));
    assert.equal(job.kind, 'create');
    assert.match(job.imageId ?? '', /^img_/);
    service.brake.held = false;
    const end = await ended(job.id);
    assert.deepEqual([end.state, end.result?.['id'], end.result?.['state']], ['succeeded', job.imageId, 'ready']);
  });

  test('leaves nothing when it is cancelled', async () => {
    const body = { name: 'never', virtualSize: MiB, preallocation: 'falloc' };
    const job = await accepted(() => service.post('/v1/images', body));
    await service.post(`/v1/jobs/${job.id}/cancel`).expect(202);
    assert.equal((await ended(job.id)).state, 'cancelled');
    await service.get('/v1/images/never').expect(404);
    assert.deepEqual(service.house.files('staging'), []);
  });

  test('refuses a taken name at once, however little the client wants to wait', async () => {
    await create({ name: 'taken', virtualSize: MiB });
    const body = { name: 'taken', virtualSize: MiB, preallocation: 'full' };
    const answer = await service.post('/v1/images', body).set('Prefer', 'respond-async');
    assert.deepEqual([answer.status, codeOf(answer)], [409, 'name-conflict']);
  });

  test('is never a job when it is short', async () => {
    const body = { name: 'short', virtualSize: MiB };
    await service.post('/v1/images', body).set('Prefer', 'respond-async').expect(201);
  });
});

describe('an import', () => {
  test('becomes a job after the last byte, and can be cancelled then', async () => {
    await prepared('source');
    const file = (await service.get('/v1/images/source/file').responseType('blob').expect(200)).body as Buffer;
    for (const [name, cancels] of [
      ['imported', false],
      ['dropped', true],
    ] as const) {
      const job = await accepted(() => service.put(`/v1/imports/${name}`).send(file));
      assert.equal(job.kind, 'import');
      if (cancels) await service.post(`/v1/jobs/${job.id}/cancel`).expect(202);
      else service.brake.held = false;
      assert.equal((await ended(job.id)).state, cancels ? 'cancelled' : 'succeeded');
      await service.get(`/v1/images/${name}`).expect(cancels ? 404 : 200);
    }
  });
});

describe('the wait', () => {
  test('ends with the usual answer when the work is over in time', async () => {
    await prepared('quick');
    await service.post('/v1/images/quick/check').set('Prefer', 'wait=60').expect(200);
    await service.post('/v1/images/quick/zero', { offset: 0, length: 10 }).expect(204);
  });

  test('is over after so many seconds', async () => {
    await prepared('slow');
    service.brake.held = true;
    const answer = await service.post('/v1/images/slow/check').set('Prefer', 'wait=1').expect(202);
    service.brake.held = false;
    assert.equal((await ended((answer.body as JobBody).id)).state, 'succeeded');
  });

  test('answers a failure as its problem', async () => {
    const gone = await service.post('/v1/images/nobody/check').set('Prefer', 'respond-async');
    assert.deepEqual([gone.status, codeOf(gone)], [404, 'image-not-found']);
    await prepared('fails');
    const late = await service.post('/v1/images/fails/resize', { virtualSize: 512 });
    assert.deepEqual([late.status, codeOf(late)], [409, 'shrink-not-allowed']);
  });

  test('of a client that leaves is over, and the work goes on as a job', async () => {
    await prepared('left');
    service.brake.held = true;
    const jobsOf = async (): Promise<readonly JobBody[]> => {
      const page = (await service.get('/v1/jobs?limit=1000').expect(200)).body as { items: JobBody[] };
      return page.items.filter(({ kind, imageId }) => kind === 'check' && imageId === id);
    };
    const { id } = (await service.get('/v1/images/left').expect(200)).body as ImageBody;
    const socket = connect(portOf(service.server), '127.0.0.1');
    socket.write('POST /v1/images/left/check HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=1\r\n\r\n');
    const { pool } = service.house;
    while (pool.figures().queuedRequests === 0) await new Promise(setImmediate);
    socket.destroy();
    let jobs = await jobsOf();
    while (jobs.length === 0) jobs = await jobsOf();
    assert.deepEqual([jobs.length, jobs[0]?.state], [1, 'running']);
    service.brake.held = false;
    assert.equal((await ended(jobs[0]?.id ?? '')).state, 'succeeded');
  });

  test('writes no row for what was over in time', async () => {
    await prepared('rowless');
    const rows = (await service.house.catalog.jobs.list({ limit: 1000, after: undefined })).length;
    await service.post('/v1/images/rowless/check').expect(200);
    assert.equal((await service.house.catalog.jobs.list({ limit: 1000, after: undefined })).length, rows);
  });
});

describe('a job', () => {
  test('that fails says why', async () => {
    await prepared('doomed');
    const job = await accepted(() => service.post('/v1/images/doomed/resize', { virtualSize: 512 }));
    service.brake.held = false;
    const end = await ended(job.id);
    assert.deepEqual([end.state, end.problem?.code, end.problem?.status], ['failed', 'shrink-not-allowed', 409]);
  });

  test('tells how far it is', async () => {
    await prepared('measured');
    const job = await accepted(() => verbs.check('measured'));
    let seen = job;
    while (seen.progress.done === 0) seen = (await service.get(`/v1/jobs/${job.id}`).expect(200)).body as JobBody;
    assert.deepEqual([seen.state, seen.progress.done, seen.progress.total], ['running', 1, 4]);
    service.brake.held = false;
    await ended(job.id);
  });

  test('keeps its image from being deleted while it runs', async () => {
    await prepared('busy');
    const job = await accepted(() => verbs.check('busy'));
    while (((await service.get(`/v1/jobs/${job.id}`)).body as JobBody).progress.done === 0);
    const refused = await service.delete('/v1/images/busy');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-in-use']);
    service.brake.held = false;
    await ended(job.id);
    await service.delete('/v1/images/busy').expect(204);
    assert.equal((await ended(job.id)).state, 'succeeded');
  });

  test('keeps the other image of a comparison as it is while it runs, and its readers in', async () => {
    await prepared('one');
    await prepared('other');
    const job = await accepted(() => service.post('/v1/images/one/compare', { with: 'other' }));
    while (((await service.get(`/v1/jobs/${job.id}`)).body as JobBody).progress.done === 0);
    const refused = await service.delete('/v1/images/other');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-in-use']);
    await service.get('/v1/images/other/data').expect(200);
    const write = service
      .put('/v1/images/other/data')
      .set('Content-Range', 'bytes 0-6/*')
      .send(Buffer.from('changed'))
      .expect(204)
      .then(() => 'written');
    const first = await Promise.race([write, service.get('/v1/images/other/data').then(() => 'read')]);
    assert.equal(first, 'read');
    service.brake.held = false;
    assert.deepEqual((await ended(job.id)).result, { identical: true });
    assert.equal(await write, 'written');
  });

  test('is not there under another id', async () => {
    for (const answer of [await service.get('/v1/jobs/job_0'), await service.post('/v1/jobs/job_0/cancel')]) {
      assert.deepEqual([answer.status, codeOf(answer)], [404, 'job-not-found']);
    }
    for (const wait of ['61', '-1', '1.5', 'soon', '']) {
      const answer = await service.get(`/v1/jobs/job_0?wait=${wait}`);
      assert.deepEqual([answer.status, pointersOf(answer)], [400, ['/wait']], wait);
    }
  });

  test('answers all who wait for its end when it ends, and a wait that is over before with what it is then', async () => {
    await prepared('awaited');
    const job = await accepted(() => verbs.check('awaited'));
    const early = (await service.get(`/v1/jobs/${job.id}?wait=1`).expect(200)).body as JobBody;
    assert.equal(early.state, 'running');
    const waiting = Promise.all(Array.from({ length: 20 }, () => ended(job.id)));
    service.brake.held = false;
    assert.deepEqual(new Set((await waiting).map(({ state }) => state)), new Set(['succeeded']));
  });
});

describe('the list', () => {
  test('goes page by page, in the order in which jobs were asked for', async () => {
    const all = (await service.get('/v1/jobs?limit=1000').expect(200)).body as { items: JobBody[]; nextCursor: null };
    assert.equal(all.nextCursor, null);
    const ids = all.items.map(({ id }) => id);
    assert.deepEqual(ids, ids.toSorted());
    const walked: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const url: string = cursor === '' ? '/v1/jobs?limit=3' : `/v1/jobs?limit=3&cursor=${cursor}`;
      const page = (await service.get(url).expect(200)).body as { items: JobBody[]; nextCursor: string | null };
      walked.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    }
    assert.deepEqual(walked, ids);
  });

  test('forgets what ended a week ago', async () => {
    await prepared('old');
    const { catalog } = service.house;
    const [first] = await catalog.jobs.list({ limit: 1, after: undefined });
    assert.ok(first !== undefined);
    const old = { ...first, id: 'job_0-old', endedAtMs: Date.now() - jobsKeptMs - 1000 };
    await catalog.jobs.save(old);
    const job = await accepted(() => verbs.check('old'));
    service.brake.held = false;
    await ended(job.id);
    while ((await catalog.jobs.find(old.id)) !== undefined) await new Promise(setImmediate);
    await service.get(`/v1/jobs/${job.id}`).expect(200);
  });
});
