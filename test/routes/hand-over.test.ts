import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

async function stateOf(image: string): Promise<unknown> {
  return ((await service.get(`/v1/images/${image}`).expect(200)).body as ImageBody)['state'];
}

describe('a detached image', () => {
  test('can be shown, renamed and deleted, but not used', async () => {
    await service.create({ name: 'away', virtualSize: MiB });
    await service.write('away', 0, Buffer.from('before'));
    const answer = await service.post('/v1/images/away/detach').expect(200);
    assert.equal((answer.body as ImageBody)['state'], 'detached');
    const listed = await service.get('/v1/images?state=detached').expect(200);
    assert.deepEqual(
      (listed.body as { items: ImageBody[] }).items.map(({ name }) => name),
      ['away'],
    );
    const range = { 'Content-Range': 'bytes 0-0/*' };
    for (const refused of [
      service.get('/v1/images/away/data'),
      service.put('/v1/images/away/data').set(range).send(Buffer.from('x')),
      service.post('/v1/images/away/zero', { offset: 0, length: 1 }),
      service.post('/v1/images/away/flush'),
      service.get('/v1/images/away/extents'),
      service.get('/v1/images/away/file'),
      service.get('/v1/images/away/snapshots'),
      service.post('/v1/images/away/snapshots', { name: 's1' }),
      service.post('/v1/images/away/resize', { virtualSize: 2 * MiB }),
      service.post('/v1/images/away/check'),
      service.post('/v1/images', { name: 'over-away', backing: { image: 'away' } }),
    ]) {
      const refusal = await refused;
      assert.deepEqual([refusal.status, (refusal.body as { code: string }).code], [409, 'image-detached']);
    }
    await service.patch('/v1/images/away', { name: 'still-away' }).expect(200);
    await service.post('/v1/images/still-away/detach').expect(200);
    assert.equal(await stateOf('still-away'), 'detached');
    await service.delete('/v1/images/still-away').expect(204);
  });

  test('comes back with its bytes and another generation', async () => {
    await service.create({ name: 'back', virtualSize: MiB });
    const bytes = pattern(1000, 3);
    await service
      .put('/v1/images/back/data?flush=false')
      .set('Content-Range', 'bytes 7-1006/*')
      .send(bytes)
      .expect(204);
    const left = (await service.post('/v1/images/back/detach').expect(200)).body as ImageBody;
    const came = (await service.post('/v1/images/back/attach').expect(200)).body as ImageBody;
    assert.equal(came['state'], 'ready');
    assert.ok(came.generation > left.generation);
    assert.ok(came.version > left.version);
    const read = await service.bytes('/v1/images/back/data').set('Range', 'bytes=7-1006').expect(206);
    assert.ok(bytes.equals(read.body as Buffer));
    const again = (await service.post('/v1/images/back/attach').expect(200)).body as ImageBody;
    assert.equal(again.version, came.version);
    await service.write('back', 0, Buffer.from('more'));
  });

  test('is not one that others are built on, nor one of nobody', async () => {
    await service.create({ name: 'base', virtualSize: MiB });
    await service.create({ name: 'top', backing: { image: 'base' } });
    const refused = await service.post('/v1/images/base/detach');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-has-dependents']);
    assert.equal(await stateOf('base'), 'ready');
    await service.post('/v1/images/top/detach').expect(200);
    await service.post('/v1/images/top/attach').expect(200);
    await service.write('top', 0, Buffer.from('x'));
    for (const verb of ['detach', 'attach']) {
      assert.equal(codeOf(await service.post(`/v1/images/nobody/${verb}`)), 'image-not-found');
    }
  });

  test('lets many ask at a time', async () => {
    await service.create({ name: 'crowd', virtualSize: MiB });
    for (const verb of ['detach', 'attach']) {
      const answers = await Promise.all([1, 2, 3, 4].map(() => service.post(`/v1/images/crowd/${verb}`)));
      for (const { status, body } of answers) {
        const told = (body as { code?: string }).code;
        assert.ok(status === 200 || told === 'image-detached', `${verb} ${status} ${told}`);
      }
    }
    assert.equal(await stateOf('crowd'), 'ready');
  });
});
