import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

describe('creating an image', () => {
  test('answers with the image, where it is, and its tag', async () => {
    const answer = await service.post('/v1/images', {
      name: 'made',
      virtualSize: 1000,
      description: 'd',
      labels: { team: 'web' },
    });
    assert.equal(answer.status, 201);
    const image = answer.body as ImageBody;
    assert.match(image.id, /^img_[0-9a-f-]{36}$/);
    assert.equal(answer.headers['location'], `/v1/images/${image.id}`);
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    assert.equal(image.virtualSize, 1024);
    assert.deepEqual(
      [
        image['state'],
        image['format'],
        image['clusterSize'],
        image['compat'],
        image['refcountBits'],
        image['labels'],
        image['backing'],
        image['lease'],
      ],
      ['ready', 'qcow2', 65_536, '1.1', 16, { team: 'web' }, null, null],
    );
    assert.match(String(image['createdAt']), /^\d{4}-\d\d-\d\dT.*Z$/);
  });

  test('takes every option and every size from 0 on', async () => {
    const image = await service.create({
      name: 'options',
      virtualSize: 0,
      clusterSize: 32_768,
      refcountBits: 8,
      lazyRefcounts: true,
      extendedL2: true,
      compressionType: 'zstd',
      preallocation: 'metadata',
    });
    assert.deepEqual(
      [
        image.virtualSize,
        image['clusterSize'],
        image['refcountBits'],
        image['lazyRefcounts'],
        image['extendedL2'],
        image['compressionType'],
      ],
      [0, 32_768, 8, true, true, 'zstd'],
    );
  });

  test('names every member that is wrong', async () => {
    const answer = await service.post('/v1/images', {
      name: '-x',
      virtualSize: 1.5,
      bogus: 1,
      backing: { image: 'a', more: 1 },
    });
    assert.equal(answer.status, 400);
    assert.deepEqual([...pointersOf(answer)].toSorted(), ['/backing/more', '/bogus', '/name', '/virtualSize']);
    for (const name of ['', 'img_x', 'a/b', 'x'.repeat(129), 'ü']) {
      assert.deepEqual(pointersOf(await service.post('/v1/images', { name, virtualSize: 1 })), ['/name'], name);
    }
    assert.deepEqual(pointersOf(await service.post('/v1/images', { name: 'nosize' })), ['/virtualSize']);
    assert.equal((await service.post('/v1/images')).status, 400);
  });

  test('refuses what cannot be made, and leaves nothing', async () => {
    const geometry = await service.post('/v1/images', { name: 'odd', virtualSize: MiB, clusterSize: 1000 });
    assert.deepEqual([geometry.status, codeOf(geometry)], [422, 'invalid-geometry']);
    await service.create({ name: 'below', virtualSize: MiB });
    for (const [options, detail] of [
      [{ compat: '0.10', refcountBits: 8 }, /^refcountBits needs compat 1\.1 unless it is 16\./],
      [
        { backing: { image: 'below' }, preallocation: 'full' },
        /^preallocation needs extendedL2 where there is a backing/,
      ],
    ] as const) {
      const answer = await service.post('/v1/images', { name: 'odd', virtualSize: MiB, ...options });
      assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsupported-option']);
      assert.match((answer.body as { detail: string }).detail, detail);
    }
    assert.equal((await service.get('/v1/images/odd')).status, 404);
  });

  test('refuses a name that is taken', async () => {
    await service.create({ name: 'twice', virtualSize: MiB });
    const answer = await service.post('/v1/images', { name: 'twice', virtualSize: MiB });
    assert.deepEqual([answer.status, codeOf(answer)], [409, 'name-conflict']);
  });
});

describe('an overlay', () => {
  test('is as large as its base, keeps it unchanged, and stands in its chain (CRE-04)', async () => {
    const base = await service.create({ name: 'base', virtualSize: 3 * MiB });
    const overlay = await service.create({ name: 'overlay', backing: { image: 'base' } });
    assert.equal(overlay.virtualSize, 3 * MiB);
    assert.deepEqual(overlay['backing'], { id: base.id, name: 'base' });

    const refused = await service
      .put(`/v1/images/base/data`)
      .set('Content-Range', 'bytes 0-0/*')
      .send(Buffer.from('x'));
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-has-dependents']);
    assert.deepEqual((refused.body as { dependents: unknown }).dependents, [{ id: overlay.id, name: 'overlay' }]);
    assert.equal(codeOf(await service.delete('/v1/images/base')), 'image-has-dependents');

    const chain = await service.get('/v1/images/overlay/chain').expect(200);
    const { layers } = chain.body as { layers: { name: string; virtualSize: number }[] };
    assert.deepEqual(
      layers.map(({ name }) => name),
      ['overlay', 'base'],
    );

    await service.delete('/v1/images/overlay').expect(204);
    await service.delete('/v1/images/base').expect(204);
  });

  test('needs a base that exists', async () => {
    const answer = await service.post('/v1/images', { name: 'alone', backing: { image: 'nobody' } });
    assert.deepEqual([answer.status, codeOf(answer)], [404, 'image-not-found']);
  });
});

describe('showing an image', () => {
  test('takes the id and the name, and knows its tag', async () => {
    const made = await service.create({ name: 'shown', virtualSize: MiB });
    for (const key of ['shown', made.id]) {
      const answer = await service.get(`/v1/images/${key}`).expect(200);
      assert.equal((answer.body as ImageBody).id, made.id);
      const again = await service.get(`/v1/images/${key}`).set('If-None-Match', String(answer.headers['etag']));
      assert.deepEqual([again.status, again.text], [304, '']);
      const head = await service.head(`/v1/images/${key}`).expect(200);
      assert.equal(head.headers['etag'], answer.headers['etag']);
    }
  });

  test('of nobody is 404, and of something that is no name 400', async () => {
    assert.equal(codeOf(await service.get('/v1/images/nobody')), 'image-not-found');
    assert.equal(codeOf(await service.get('/v1/images/img_00000000-0000-7000-8000-000000000000')), 'image-not-found');
    assert.equal((await service.get('/v1/images/a%2Fb')).status, 400);
  });
});

describe('listing images', () => {
  test('goes page by page through all that match', async () => {
    for (const name of ['l1', 'l2', 'l3'])
      await service.create({ name, virtualSize: MiB, labels: { list: 'yes', of: name } });
    const first = await service.get('/v1/images?label=list:yes&limit=2').expect(200);
    const { items, nextCursor } = first.body as { items: ImageBody[]; nextCursor: string };
    assert.deepEqual(
      items.map(({ name }) => name),
      ['l1', 'l2'],
    );
    const rest = await service.get(`/v1/images?label=list:yes&limit=2&cursor=${nextCursor}`).expect(200);
    assert.deepEqual(
      (rest.body as { items: ImageBody[] }).items.map(({ name }) => name),
      ['l3'],
    );
    assert.equal((rest.body as { nextCursor: null }).nextCursor, null);
    const both = await service.get('/v1/images?label=list:yes&label=of:l2').expect(200);
    assert.deepEqual(
      (both.body as { items: ImageBody[] }).items.map(({ name }) => name),
      ['l2'],
    );
    const named = await service.get('/v1/images?name=l3&state=ready').expect(200);
    assert.equal((named.body as { items: ImageBody[] }).items.length, 1);
    assert.deepEqual((await service.get('/v1/images?state=detached')).body, { items: [], nextCursor: null });
  });

  test('refuses what it does not know', async () => {
    for (const [query, pointer] of [
      ['limit=0', '/limit'],
      ['limit=1001', '/limit'],
      ['limit=', '/limit'],
      ['bogus=1', '/bogus'],
      ['state=odd', '/state'],
      ['label=x', '/label/0'],
    ] as const) {
      assert.deepEqual(pointersOf(await service.get(`/v1/images?${query}`)), [pointer], query);
    }
  });
});

describe('deleting an image', () => {
  test('takes it away for good', async () => {
    await service.create({ name: 'gone', virtualSize: MiB });
    const answer = await service.delete('/v1/images/gone');
    assert.deepEqual([answer.status, answer.text], [204, '']);
    assert.equal((await service.get('/v1/images/gone')).status, 404);
    assert.equal((await service.delete('/v1/images/gone')).status, 404);
    await service.create({ name: 'gone', virtualSize: MiB });
  });
});
