import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';

import { keysKeptMs } from '../../src/services/idempotency.ts';
import { startBrakedService } from '../support/braked-service.ts';
import type { BrakedService } from '../support/braked-service.ts';
import { codeOf, pointersOf } from '../support/test-service.ts';
import type { ImageBody } from '../support/test-service.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { copyFolder } from '../support/torn-jobs.ts';

interface LeaseBody {
  readonly id: string;
  readonly fencingToken: number;
  readonly expiresAt: string;
}

const MiB = 1_048_576;
const folder = tempFolder();
let service: BrakedService;

before(async () => {
  service = await startBrakedService(folder.path);
});
beforeEach(() => {
  service.brake.held = false;
});
after(async () => {
  await service[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

function create(key: string, body: object) {
  return service.post('/v1/images', body).set('Idempotency-Key', key);
}

describe('a repeated creation', () => {
  test('gets the first answer: status, body, Location and ETag', async () => {
    const first = await create('one', { name: 'one', virtualSize: MiB }).expect(201);
    const again = await create('one', { name: 'one', virtualSize: MiB }).expect(201);
    assert.deepEqual(again.body, first.body);
    for (const header of ['location', 'etag']) assert.equal(again.headers[header], first.headers[header]);
    await service.delete('/v1/images/one').expect(204);
    assert.deepEqual((await create('one', { name: 'one', virtualSize: MiB }).expect(201)).body, first.body);
    await service.get('/v1/images/one').expect(404);
  });

  test('takes one snapshot', async () => {
    await service.post('/v1/images', { name: 'two', virtualSize: MiB }).expect(201);
    const take = () => service.post('/v1/images/two/snapshots', { name: 's' }).set('Idempotency-Key', 'two');
    const first = await take().expect(201);
    const again = await take().expect(201);
    assert.deepEqual([again.body, again.headers['location']], [first.body, first.headers['location']]);
  });

  test('gets the job of the first when that became one', async () => {
    service.brake.held = true;
    const body = { name: 'full', virtualSize: MiB, preallocation: 'full' };
    const first = await create('job', body).set('Prefer', 'respond-async').expect(202);
    service.brake.held = false;
    const again = await create('job', body).expect(202);
    assert.deepEqual([again.body, again.headers['location']], [first.body, first.headers['location']]);
    const job = await service.get(`${again.headers['location'] ?? ''}?wait=60`).expect(200);
    assert.equal((job.body as { state: string }).state, 'succeeded');
  });

  test('is refused while the first is under way, and makes one image of many at once', async () => {
    service.brake.held = true;
    const body = { name: 'race', virtualSize: MiB };
    const answers = Promise.all(Array.from({ length: 8 }, () => create('race', body).then((answer) => answer)));
    while ((await service.house.catalog.findImage('race')) === undefined) await new Promise(setImmediate);
    const during = await create('race', body);
    assert.deepEqual([during.status, codeOf(during)], [409, 'idempotency-in-progress']);
    service.brake.held = false;
    const statuses = (await answers).map(({ status }) => status).toSorted();
    assert.equal(statuses[0], 201);
    const known = (await create('race', body).expect(201)).body as ImageBody;
    assert.equal((await service.house.catalog.findImage('race'))?.id, known.id);
  });
});

describe('a lease', () => {
  const lease = (image: string, key: string) =>
    service.post(`/v1/images/${image}/leases`, { mode: 'exclusive' }).set('Idempotency-Key', key);

  test('is granted once, and a repetition gets its secret again', async () => {
    await service.post('/v1/images', { name: 'leased', virtualSize: MiB }).expect(201);
    const first = await lease('leased', 'lease').expect(201);
    assert.deepEqual((await lease('leased', 'lease').expect(201)).body, first.body);
    const other = await lease('leased', 'another');
    assert.deepEqual([other.status, codeOf(other)], [423, 'image-locked']);
  });

  test('whose answer was lost is the one that was granted, also when it is over', async () => {
    await service.post('/v1/images', { name: 'unheard', virtualSize: MiB }).expect(201);
    const { idempotency } = service.house.catalog;
    const keep = idempotency.keep.bind(idempotency);
    idempotency.keep = async () => undefined;
    const first = (await lease('unheard', 'unheard').expect(201)).body as LeaseBody;
    idempotency.keep = keep;
    // What the dead process had under way, the next one does not know.
    const again = (await lease('unheard', 'unheard').expect(201)).body as LeaseBody;
    assert.deepEqual({ ...again, expiresAt: '' }, { ...first, expiresAt: '' });
    assert.ok(Math.abs(Date.parse(again.expiresAt) - Date.parse(first.expiresAt)) < 5000);

    idempotency.keep = async () => undefined;
    await service.delete(`/v1/images/unheard/leases/${first.id}`).expect(204);
    const second = (await lease('unheard', 'once more').expect(201)).body as LeaseBody;
    idempotency.keep = keep;
    await service.delete(`/v1/images/unheard/leases/${second.id}`).expect(204);
    const third = (await lease('unheard', 'once more').expect(201)).body as LeaseBody;
    assert.deepEqual([third.id, third.fencingToken], [second.id, 2]);
    const held = await service.get('/v1/images/unheard/leases').expect(200);
    assert.deepEqual((held.body as { items: unknown[] }).items, []);
  });
});

describe('a bitmap', () => {
  const bitmap = (key: string, name: string) =>
    service.post('/v1/images/marked/bitmaps', { name }).set('Idempotency-Key', key);

  test('is made once, also when the process died over the answer; not by a key whose bitmap is gone', async () => {
    await service.post('/v1/images', { name: 'marked', virtualSize: MiB }).expect(201);
    const first = await bitmap('b', 'b').expect(201);
    const again = await bitmap('b', 'b').expect(201);
    assert.deepEqual([again.body, again.headers['location']], [first.body, first.headers['location']]);
    const other = await bitmap('other', 'b');
    assert.deepEqual([other.status, codeOf(other)], [409, 'name-conflict']);

    const { idempotency } = service.house.catalog;
    const keep = idempotency.keep.bind(idempotency);
    idempotency.keep = async () => undefined;
    const unheard = await bitmap('c', 'c').expect(201);
    idempotency.keep = keep;
    const found = await bitmap('c', 'c').expect(201);
    assert.deepEqual([found.body, found.headers['location']], [unheard.body, unheard.headers['location']]);
    await service.delete('/v1/images/marked/bitmaps/c').expect(204);
    assert.deepEqual((await bitmap('c', 'c').expect(201)).body, unheard.body);
    await service.get('/v1/images/marked/bitmaps/c').expect(404);
  });

  test('that was made by a process that died over it is not made again, also when somebody has deleted it since', async () => {
    const { catalog } = service.house;
    const settle = catalog.idempotency.settle.bind(catalog.idempotency);
    catalog.idempotency.settle = async () => {
      throw new Error('the process has died here');
    };
    await bitmap('d', 'd').expect(500);
    catalog.idempotency.settle = settle;
    using killed = tempFolder();
    const path = join(killed.path, 'data');
    copyFolder(folder.path, path);
    await using next = await startBrakedService(path);
    await next.delete('/v1/images/marked/bitmaps/d').expect(204);
    const again = next.post('/v1/images/marked/bitmaps', { name: 'd' }).set('Idempotency-Key', 'd');
    assert.equal(((await again.expect(201)).body as { name: string }).name, 'd');
    await next.get('/v1/images/marked/bitmaps/d').expect(404);
  });
});

describe('a key', () => {
  test('stands for one request', async () => {
    await create('mine', { name: 'mine', virtualSize: MiB }).expect(201);
    const other = await create('mine', { name: 'mine', virtualSize: 2 * MiB });
    assert.deepEqual([other.status, codeOf(other)], [422, 'idempotency-key-reused']);
  });

  test('belongs to its route', async () => {
    await create('shared', { name: 'shared', virtualSize: MiB }).expect(201);
    await service.post('/v1/images/shared/snapshots', { name: 's' }).set('Idempotency-Key', 'shared').expect(201);
  });

  test('is free again after a refusal', async () => {
    await create('free', { name: 'free', virtualSize: MiB, clusterSize: 3 }).expect(422);
    await create('free', { name: 'free', virtualSize: MiB }).expect(201);
  });

  test('has 1 to 255 visible characters', async () => {
    for (const key of ['x'.repeat(256), 'é']) {
      const answer = await create(key, { name: 'invalid', virtualSize: MiB });
      assert.deepEqual([answer.status, pointersOf(answer)], [400, ['/idempotency-key']]);
    }
    const twice = await create('one', { name: 'invalid', virtualSize: MiB }).set({ 'Idempotency-Key': ['one', 'two'] });
    assert.deepEqual([twice.status, pointersOf(twice)], [400, ['/idempotency-key']]);
  });

  test('is forgotten after a day', async () => {
    const { idempotency } = service.house.catalog;
    const claim = { id: 'old', fingerprint: 'one', nowMs: 1000, forgetBeforeMs: 0 };
    assert.equal(await idempotency.claim(claim), undefined);
    assert.equal((await idempotency.claim({ ...claim, fingerprint: 'two' }))?.fingerprint, 'one');
    const later = { ...claim, fingerprint: 'two', nowMs: 1001 + keysKeptMs, forgetBeforeMs: 1001 };
    assert.equal(await idempotency.claim(later), undefined);
  });
});

describe('after a crash', () => {
  test('a request whose answer was lost gets what it made, and one that made nothing is done', async () => {
    const { catalog } = service.house;
    const lost: string[] = [];
    const keep = catalog.idempotency.keep.bind(catalog.idempotency);
    const claim = catalog.idempotency.claim.bind(catalog.idempotency);
    // The process dies between the effect and the keeping of the answer.
    catalog.idempotency.keep = async (id) => {
      lost.push(id);
    };
    const image = (await create('lost', { name: 'lost', virtualSize: MiB }).expect(201)).body as ImageBody;
    const take = () => service.post('/v1/images/lost/snapshots', { name: 's' }).set('Idempotency-Key', 'lost');
    const snapshot = await take().expect(201);
    catalog.idempotency.keep = keep;
    assert.equal(lost.length, 2);
    const again = await create('lost', { name: 'lost', virtualSize: MiB }).expect(201);
    assert.deepEqual([again.body, again.headers['location']], [image, `/v1/images/${image.id}`]);
    const taken = await take().expect(201);
    assert.deepEqual([taken.body, taken.headers['location']], [snapshot.body, snapshot.headers['location']]);

    // A request that died before its effect: its key is taken, and what it was to make is not there.
    const ids: string[] = [];
    catalog.idempotency.claim = async (asked) => {
      ids.push(asked.id);
      return claim(asked);
    };
    await create('died', { name: 'died', virtualSize: MiB }).expect(201);
    catalog.idempotency.claim = claim;
    const [id = ''] = ids;
    await service.delete('/v1/images/died').expect(204);
    const fingerprint = (await claim({ id, fingerprint: '', nowMs: 0, forgetBeforeMs: 0 }))?.fingerprint;
    await catalog.idempotency.release(id);
    await catalog.idempotency.claim({ id, fingerprint: fingerprint ?? '', nowMs: Date.now(), forgetBeforeMs: 0 });
    await catalog.idempotency.note(id, { imageId: 'img_never' });
    await create('died', { name: 'died', virtualSize: MiB }).expect(201);
  });

  test('what was made and is gone since is not made again: the answer is the first one', async () => {
    const { idempotency } = service.house.catalog;
    const keep = idempotency.keep.bind(idempotency);
    idempotency.keep = async () => undefined;
    const image = await create('gone', { name: 'gone', virtualSize: MiB, labels: { a: 'b' } }).expect(201);
    const take = () => service.post('/v1/images/gone/snapshots', { name: 's' }).set('Idempotency-Key', 'gone');
    const snapshot = await take().expect(201);
    const { id } = snapshot.body as { readonly id: string };
    await service.delete(`/v1/images/gone/snapshots/${id}`).expect(204);
    assert.deepEqual((await take().expect(201)).body, snapshot.body);
    const left = await service.get('/v1/images/gone/snapshots').expect(200);
    assert.deepEqual((left.body as { items: unknown[] }).items, []);

    await service.delete('/v1/images/gone').expect(204);
    assert.deepEqual((await take().expect(201)).body, snapshot.body);
    const again = await create('gone', { name: 'gone', virtualSize: MiB, labels: { a: 'b' } }).expect(201);
    assert.deepEqual([again.body, again.headers['etag']], [image.body, image.headers['etag']]);
    idempotency.keep = keep;
    await service.get('/v1/images/gone').expect(404);
  });

  test("a snapshot that is in the file before the catalog knows of it is its request's, also when it is deleted", async () => {
    using own = tempFolder();
    const ask = (at: BrakedService) => at.post('/v1/images/torn/snapshots', { name: 's' }).set('Idempotency-Key', 'k');
    {
      await using first = await startBrakedService(own.path);
      await first.post('/v1/images', { name: 'torn', virtualSize: MiB }).expect(201);
      first.house.catalog.clearStructural = async () => Promise.reject(new Error('the process dies here'));
      await ask(first).expect(500);
    }
    await using second = await startBrakedService(own.path);
    const listed = await second.get('/v1/images/torn/snapshots').expect(200);
    const [made] = (listed.body as { items: { readonly id: string }[] }).items;
    assert.ok(made !== undefined);
    await second.delete(`/v1/images/torn/snapshots/${made.id}`).expect(204);
    assert.deepEqual((await ask(second).expect(201)).body, made);
    const left = await second.get('/v1/images/torn/snapshots').expect(200);
    assert.deepEqual((left.body as { items: unknown[] }).items, []);
  });

  test('an id that one request did not use is not taken for its snapshot when another has got it', async () => {
    await service.post('/v1/images', { name: 'ids', virtualSize: MiB }).expect(201);
    const { idempotency } = service.house.catalog;
    const ids: string[] = [];
    const note = idempotency.note.bind(idempotency);
    // The request dies before it makes anything.
    idempotency.note = async (id, subject) => {
      ids.push(id);
      await note(id, subject);
      throw new Error('the process dies here');
    };
    const take = (name: string) =>
      service.post('/v1/images/ids/snapshots', { name }).set('Idempotency-Key', `ids-${name}`);
    await take('one').expect(500);
    idempotency.note = note;
    assert.equal(ids.length, 1);
    const other = (await take('two').expect(201)).body as { readonly id: string };
    const one = (await take('one').expect(201)).body as { readonly id: string; readonly name: string };
    assert.deepEqual([one.name, one.id === other.id], ['one', false]);
  });
});
