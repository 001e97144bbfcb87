import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const cluster = 65_536;
const size = 64 * cluster;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

async function shown(image: string): Promise<ImageBody> {
  return (await service.get(`/v1/images/${image}`).expect(200)).body as ImageBody;
}

describe('compacting', () => {
  test('gives up zeroes and moves the end of the file to the front; the guest sees no change', async () => {
    await service.create({ name: 'vm', virtualSize: size });
    const content = pattern(size, 9);
    content.fill(0, 10 * cluster, 30 * cluster);
    await service.write('vm', 0, content);
    await service.post('/v1/images/vm/discard', { offset: 0, length: 8 * cluster }).expect(204);
    content.fill(0, 0, 8 * cluster);
    const earlier = await shown('vm');
    const etag = (await service.get('/v1/images/vm/data')).headers['etag'];

    const answer = await service.post('/v1/images/vm/compact').expect(200);
    const { reclaimedBytes } = answer.body as { reclaimedBytes: number };
    const now = await shown('vm');
    assert.equal(reclaimedBytes, Number(earlier['allocatedSize']) - Number(now['allocatedSize']));
    assert.ok(reclaimedBytes >= 20 * cluster);
    assert.ok(Number(now['fileSize']) <= Number(earlier['fileSize']) - 28 * cluster);
    const read = await service.bytes('/v1/images/vm/data').expect(200);
    assert.ok(content.equals(read.body as Buffer));
    assert.equal(read.headers['etag'], etag);
    const checked = await service.post('/v1/images/vm/check').expect(200);
    assert.equal((checked.body as { clean: boolean }).clean, true);
  });

  test('leaves zeroes that are not to be looked for, and images that others stand on', async () => {
    await service.create({ name: 'kept', virtualSize: size });
    await service.write('kept', 0, Buffer.alloc(4 * cluster));
    const answer = await service.post('/v1/images/kept/compact', { detectZeroes: false }).expect(200);
    assert.deepEqual(answer.body, { reclaimedBytes: 0 });
    await service.create({ name: 'above', backing: { image: 'kept' } });
    assert.equal(codeOf(await service.post('/v1/images/kept/compact')), 'image-has-dependents');
    assert.deepEqual(pointersOf(await service.post('/v1/images/above/compact', { bogus: 1 })), ['/bogus']);
  });
});
