import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const size = 262_144;
let service: TestService;
let id: string;

interface SnapshotBody {
  readonly id: string;
  readonly name: string;
  readonly [member: string]: unknown;
}

before(async () => {
  service = await startTestService();
  id = (await service.create({ name: 'vm', virtualSize: size })).id;
});
after(async () => service[Symbol.asyncDispose]());

const first = pattern(size, 1);
const second = pattern(size, 2);

describe('a snapshot', () => {
  test('keeps what the guest saw, is listed and shown', async () => {
    await service.write('vm', 0, first);
    const made = await service.post('/v1/images/vm/snapshots', { name: 's1' });
    assert.equal(made.status, 201);
    assert.equal(made.headers['location'], `/v1/images/${id}/snapshots/1`);
    const snapshot = made.body as SnapshotBody;
    assert.deepEqual(
      [snapshot.id, snapshot.name, snapshot['virtualSize'], snapshot['vmStateSize'], snapshot['vmClockNanoseconds']],
      ['1', 's1', size, 0, '0'],
    );
    assert.match(String(snapshot['createdAt']), /Z$/);
    for (const key of ['1', 's1'])
      assert.deepEqual((await service.get(`/v1/images/vm/snapshots/${key}`).expect(200)).body, snapshot);
    await service.post('/v1/images/vm/snapshots', { name: 'zweiter Stand' }).expect(201);
    const page = (await service.get('/v1/images/vm/snapshots?limit=1').expect(200)).body as {
      items: SnapshotBody[];
      nextCursor: string;
    };
    assert.deepEqual(
      page.items.map(({ name }) => name),
      ['s1'],
    );
    const rest = (await service.get(`/v1/images/vm/snapshots?cursor=${page.nextCursor}`).expect(200)).body as {
      items: SnapshotBody[];
      nextCursor: null;
    };
    assert.deepEqual([rest.items.map(({ name }) => name), rest.nextCursor], [['zweiter Stand'], null]);
    await service.get('/v1/images/vm/snapshots/zweiter%20Stand').expect(200);
    assert.equal(((await service.get('/v1/images/vm')).body as ImageBody)['snapshotCount'], 2);
  });

  test('is read as it was, under a tag that stays', async () => {
    const before_ = await service.head('/v1/images/vm/snapshots/s1/data').expect(200);
    await service.write('vm', 0, second);
    const live = await service.bytes('/v1/images/vm/data');
    assert.ok(second.equals(live.body as Buffer));
    const answer = await service.bytes('/v1/images/vm/snapshots/s1/data').expect(200);
    assert.ok(first.equals(answer.body as Buffer));
    assert.equal(answer.headers['etag'], before_.headers['etag']);
    const range = await service.bytes('/v1/images/vm/snapshots/1/data').set('Range', 'bytes=100-199').expect(206);
    assert.ok(first.subarray(100, 200).equals(range.body as Buffer));
    await service
      .get('/v1/images/vm/snapshots/s1/data')
      .set('If-None-Match', String(answer.headers['etag']))
      .expect(304);
    assert.equal((await service.get('/v1/images/vm/snapshots/s1/data').set('Range', `bytes=${size}-`)).status, 416);
  });

  test('can be gone back to', async () => {
    const answer = await service.post('/v1/images/vm/snapshots/s1/revert').expect(200);
    assert.equal((answer.body as ImageBody).id, id);
    const live = await service.bytes('/v1/images/vm/data');
    assert.ok(first.equals(live.body as Buffer));
  });

  test('can be deleted, and its id never comes back', async () => {
    await service.delete('/v1/images/vm/snapshots/2').expect(204);
    assert.equal((await service.get('/v1/images/vm/snapshots/2')).status, 404);
    const next = await service.post('/v1/images/vm/snapshots', { name: 's3' }).expect(201);
    assert.equal((next.body as SnapshotBody).id, '3');
    const report = (await service.post('/v1/images/vm/check').expect(200)).body as { clean: boolean };
    assert.equal(report.clean, true);
  });

  test('needs a name of its own that is no id', async () => {
    for (const name of ['', '123', 'x'.repeat(256), 'ü'.repeat(128), 'a\u0000b', '\ud800']) {
      assert.deepEqual(
        [...new Set(pointersOf(await service.post('/v1/images/vm/snapshots', { name })))],
        ['/name'],
        JSON.stringify(name),
      );
    }
    assert.deepEqual(pointersOf(await service.post('/v1/images/vm/snapshots', { name: 'x', y: 1 })), ['/y']);
    const taken = await service.post('/v1/images/vm/snapshots', { name: 's1' });
    assert.deepEqual([taken.status, codeOf(taken)], [409, 'name-conflict']);
  });

  test('that is not there is 404 for every verb', async () => {
    for (const answer of [
      await service.get('/v1/images/vm/snapshots/none'),
      await service.delete('/v1/images/vm/snapshots/none'),
      await service.post('/v1/images/vm/snapshots/none/revert'),
      await service.get('/v1/images/vm/snapshots/none/data'),
    ]) {
      assert.deepEqual([answer.status, codeOf(answer)], [404, 'snapshot-not-found']);
    }
    assert.equal(codeOf(await service.get('/v1/images/nobody/snapshots')), 'image-not-found');
    assert.equal(codeOf(await service.post('/v1/images/nobody/snapshots', { name: 'x' })), 'image-not-found');
    assert.deepEqual(pointersOf(await service.get('/v1/images/vm/snapshots?cursor=77')), ['/cursor']);
  });
});
