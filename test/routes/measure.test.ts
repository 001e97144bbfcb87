import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const cluster = 65_536;
const size = 16 * cluster;
/** Header, one L2 table, L1 table, refcount table and block. */
const tables = 5 * cluster;
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: size });
  await service.write('vm', 0, pattern(100_000, 1));
  await service.post('/v1/images/vm/snapshots', { name: 's' }).expect(201);
  await service.write('vm', 8 * cluster, pattern(cluster, 2));
});
after(async () => service[Symbol.asyncDispose]());

async function measure(body: object): Promise<unknown> {
  return (await service.post('/v1/measure', body).expect(200)).body;
}

describe('measuring', () => {
  test('a new disk gives what qemu-img measure gives', async () => {
    assert.deepEqual(await measure({ virtualSize: 2 ** 30 }), { required: 393_216, fullyAllocated: 1_074_135_040 });
    assert.deepEqual(await measure({ virtualSize: 2 ** 30, options: { extendedL2: true } }), {
      required: 524_288,
      fullyAllocated: 1_074_266_112,
    });
    assert.deepEqual(await measure({ virtualSize: 2 ** 30, options: { encryption: { format: 'luks' } } }), {
      required: 2_490_368,
      fullyAllocated: 1_076_232_192,
    });
    assert.deepEqual(await measure({ virtualSize: 2 ** 30, options: { encryption: { format: 'aes' } } }), {
      required: 393_216,
      fullyAllocated: 1_074_135_040,
    });
  });

  test('an image counts its data, and a snapshot its own', async () => {
    const expected = { fullyAllocated: tables + size, bitmaps: 0 };
    assert.deepEqual(await measure({ image: 'vm' }), { required: tables + 3 * cluster, ...expected });
    for (const snapshot of ['s', '1']) {
      assert.deepEqual(await measure({ image: 'vm', snapshot }), { required: tables + 2 * cluster, ...expected });
    }
  });

  test('an overlay counts what lies below, and a copy over another image all of it', async () => {
    await service.create({ name: 'above', backing: { image: 'vm' } });
    const measured = await measure({ image: 'above' });
    assert.deepEqual(measured, { required: tables + 3 * cluster, fullyAllocated: tables + size, bitmaps: 0 });
    const options = { backing: { image: 'vm' } };
    assert.deepEqual(await measure({ image: 'above', options }), {
      required: tables + size,
      fullyAllocated: tables + size,
      bitmaps: 0,
    });
  });

  test('refuses what says too little, too much or the impossible', async () => {
    assert.deepEqual(pointersOf(await service.post('/v1/measure', {})), ['/virtualSize']);
    assert.deepEqual(pointersOf(await service.post('/v1/measure', { image: 'vm', virtualSize: 1 })), ['/virtualSize']);
    assert.deepEqual(pointersOf(await service.post('/v1/measure', { virtualSize: 1, snapshot: 's' })), ['/snapshot']);
    assert.deepEqual(pointersOf(await service.post('/v1/measure', { virtualSize: 1, options: { size: 1 } })), [
      '/options/size',
    ]);
    const refused = async (body: object) => {
      const answer = await service.post('/v1/measure', body);
      return [answer.status, codeOf(answer)];
    };
    assert.deepEqual(await refused({ image: 'nobody' }), [404, 'image-not-found']);
    assert.deepEqual(await refused({ image: 'vm', options: { backing: { image: 'nobody' } } }), [
      404,
      'image-not-found',
    ]);
    assert.deepEqual(await refused({ image: 'vm', snapshot: 'no' }), [404, 'snapshot-not-found']);
    assert.deepEqual(await refused({ virtualSize: 3 * 2 ** 50 }), [422, 'invalid-geometry']);
    assert.deepEqual(await refused({ virtualSize: 1, options: { dataFile: {}, compat: '0.10' } }), [
      422,
      'unsupported-option',
    ]);
  });
});
