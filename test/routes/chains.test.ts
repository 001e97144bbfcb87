import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

/** All guest bytes. */
async function disk(image: string): Promise<Buffer> {
  const answer = await service.get(`/v1/images/${image}/data`).expect(200);
  return answer.body as Buffer;
}

async function show(image: string): Promise<ImageBody> {
  return (await service.get(`/v1/images/${image}`).expect(200)).body as ImageBody;
}

describe('emptying', () => {
  test('lets the image below show through, and gives the space back', async () => {
    await service.create({ name: 'below', virtualSize: 4 * MiB });
    await service.write('below', 0, pattern(300_000, 1));
    const { id } = await service.create({ name: 'layer', backing: { image: 'below' } });
    const base = await disk('below');
    await service.write('layer', 0, pattern(2 * MiB, 2));
    const full = await show('layer');
    const answer = await service.post('/v1/images/layer/empty').expect(200);
    const image = answer.body as ImageBody;
    assert.equal(image.id, id);
    assert.ok(image.generation > full.generation);
    assert.ok(Number(image['allocatedSize']) < Number(full['allocatedSize']));
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    assert.ok(base.equals(await disk('layer')));
    await service.write('layer', 100, pattern(100_000, 3));
    const expected = Buffer.from(base);
    pattern(100_000, 3).copy(expected, 100);
    assert.ok(expected.equals(await disk('layer')));
  });

  test('keeps snapshots', async () => {
    await service.create({ name: 'kept', virtualSize: MiB });
    await service.write('kept', 0, pattern(200_000, 4));
    const content = await disk('kept');
    await service.post('/v1/images/kept/snapshots', { name: 's' }).expect(201);
    await service.post('/v1/images/kept/empty').expect(200);
    assert.ok((await disk('kept')).every((byte) => byte === 0));
    const snapshot = await service.get('/v1/images/kept/snapshots/s/data').expect(200);
    assert.ok(content.equals(snapshot.body as Buffer));
  });

  test('is refused for an image that others stand on, and for a protected one', async () => {
    const refused = await service.post('/v1/images/below/empty');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-has-dependents']);
    await service.create({ name: 'guarded', virtualSize: MiB });
    await service.patch('/v1/images/guarded', { protected: true }).expect(200);
    const guarded = await service.post('/v1/images/guarded/empty');
    assert.deepEqual([guarded.status, codeOf(guarded)], [409, 'image-protected']);
    assert.equal((await service.post('/v1/images/nobody/empty')).status, 404);
  });
});
