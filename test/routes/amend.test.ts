import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1024 * 1024;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

async function disk(image: string): Promise<Buffer> {
  return (await service.get(`/v1/images/${image}/data`).expect(200)).body as Buffer;
}

describe('amending', () => {
  test('changes several things at once, and no byte of the disk (AMD-11, OPS-38)', async () => {
    await service.create({ name: 'vm', virtualSize: 4 * MiB });
    await service.write('vm', 0, pattern(300_000, 1));
    await service.post('/v1/images/vm/zero', { offset: 65_536, length: 65_536 }).expect(204);
    const content = await disk('vm');
    const answer = await service.post('/v1/images/vm/amend', { refcountBits: 64, lazyRefcounts: true }).expect(200);
    const image = answer.body as ImageBody;
    assert.deepEqual([image['compat'], image['refcountBits'], image['lazyRefcounts']], ['1.1', 64, true]);
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    const old = await service.post('/v1/images/vm/amend', { compat: '0.10', refcountBits: 16 }).expect(200);
    assert.deepEqual([(old.body as ImageBody)['compat'], (old.body as ImageBody)['refcountBits']], ['0.10', 16]);
    assert.ok(content.equals(await disk('vm')));
    const report = await service.post('/v1/images/vm/check').expect(200);
    assert.equal((report.body as { clean: boolean }).clean, true);
    const listed = await service.get('/v1/images?name=vm').expect(200);
    assert.equal((listed.body as { items: ImageBody[] }).items[0]?.['compat'], '0.10');
    await service.write('vm', 1000, pattern(200_000, 2));
    pattern(200_000, 2).copy(content, 1000);
    assert.ok(content.equals(await disk('vm')));
  });

  test('of nothing is an image as it was', async () => {
    await service.create({ name: 'same', virtualSize: MiB });
    const answer = await service.post('/v1/images/same/amend', {}).expect(200);
    assert.equal((answer.body as ImageBody)['compat'], '1.1');
  });

  test('is refused by the name of what cannot be, and changes nothing (AMD-10)', async () => {
    await service.create({ name: 'kept', virtualSize: MiB });
    await service.write('kept', 0, pattern(1000, 3));
    for (const name of ['a', 'b', 'c']) await service.post('/v1/images/kept/snapshots', { name }).expect(201);
    const old = (await service.get('/v1/images/kept').expect(200)).body as ImageBody;
    const refusals = [
      [{ dataFileRaw: true }, 422, 'unsupported-option', 'dataFileRaw'],
      [{ refcountBits: 5 }, 422, 'unsupported-option', 'refcountBits'],
      [{ compat: '0.10', lazyRefcounts: true }, 422, 'unsupported-option', 'lazyRefcounts'],
      [{ refcountBits: 1 }, 409, 'refcount-overflow', undefined],
      [{ compat: '1.2' }, 400, 'invalid-request', undefined],
      [{ clusterSize: 512 }, 400, 'invalid-request', undefined],
    ] as const;
    for (const [wish, status, code, option] of refusals) {
      const refused = await service.post('/v1/images/kept/amend', wish);
      assert.deepEqual([refused.status, codeOf(refused)], [status, code], JSON.stringify(wish));
      assert.equal((refused.body as { option?: string }).option, option);
    }
    const now = (await service.get('/v1/images/kept').expect(200)).body as ImageBody;
    // A download goes on, as it is of the same generation.
    const shape = ({ compat, refcountBits, lazyRefcounts, generation }: ImageBody): unknown => [
      compat,
      refcountBits,
      lazyRefcounts,
      generation,
    ];
    assert.deepEqual(shape(now), shape(old));
  });

  test('is refused for an image that others stand on', async () => {
    await service.create({ name: 'below', virtualSize: MiB });
    await service.create({ name: 'above', backing: { image: 'below' } });
    const refused = await service.post('/v1/images/below/amend', { lazyRefcounts: true });
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-has-dependents']);
    await service.post('/v1/images/above/amend', { compat: '0.10' }).expect(200);
  });
});
