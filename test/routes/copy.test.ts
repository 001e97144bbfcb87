import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const cluster = 65_536;
const size = 40 * cluster + 512;
let service: TestService;
let source: Buffer;
let snapshot: Buffer;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'base', virtualSize: size });
  const below = pattern(20 * cluster, 3);
  await service.write('base', 0, below);
  await service.create({ name: 'source', backing: { image: 'base' } });
  snapshot = Buffer.alloc(size);
  below.copy(snapshot);
  await service.write('source', 5 * cluster, Buffer.alloc(3 * cluster, 'above '));
  snapshot.fill('above ', 5 * cluster, 8 * cluster);
  await service.post('/v1/images/source/snapshots', { name: 's' }).expect(201);
  source = Buffer.from(snapshot);
  // Zeroes that are data, a part of the last cluster, and a cluster that cannot shrink.
  source.fill(0, cluster, 4 * cluster);
  source.fill('end', 40 * cluster);
  await service.write('source', cluster, Buffer.alloc(3 * cluster));
  await service.write('source', 40 * cluster, source.subarray(40 * cluster));
});
after(async () => service[Symbol.asyncDispose]());

const copy = (body: object) => service.post('/v1/images/source/copy', body);

async function bytesOf(image: string): Promise<Buffer> {
  return (await service.bytes(`/v1/images/${image}/data`).expect(200)).body as Buffer;
}

async function checkOf(
  image: string,
): Promise<{ clean: boolean; allocatedClusters: number; compressedClusters: number }> {
  const answer = await service.post(`/v1/images/${image}/check`).expect(200);
  return answer.body as { clean: boolean; allocatedClusters: number; compressedClusters: number };
}

describe('a full copy', () => {
  test('stands alone, with zeroes left out (OPS-07)', async () => {
    const answer = await copy({ name: 'full' }).expect(201);
    const made = answer.body as ImageBody;
    assert.equal(answer.headers['location'], `/v1/images/${made.id}`);
    assert.deepEqual([made['backing'], made['clusterSize'], made['virtualSize']], [null, cluster, size]);
    assert.ok(source.equals(await bytesOf('full')));
    const { clean, allocatedClusters, compressedClusters } = await checkOf('full');
    assert.deepEqual([clean, allocatedClusters, compressedClusters], [true, 18, 0]);
  });

  test('may be compressed, with clusters of another size and by another method', async () => {
    for (const [name, options] of [
      ['packed', {}],
      ['small', { clusterSize: 4096, compressionType: 'zstd' }],
      ['large', { clusterSize: 2_097_152 }],
    ] as const) {
      const made = (await copy({ name, compress: true, ...options }).expect(201)).body as ImageBody;
      assert.equal(made['compressionType'], name === 'small' ? 'zstd' : 'zlib');
      assert.ok(source.equals(await bytesOf(name)), name);
      const { clean, compressedClusters } = await checkOf(name);
      assert.ok(clean && compressedClusters > 0, name);
    }
    assert.ok(source.equals(await bytesOf('source')));
  });

  test('may be of a snapshot', async () => {
    await copy({ name: 'then', snapshot: 's', compress: true }).expect(201);
    assert.ok(snapshot.equals(await bytesOf('then')));
    assert.equal(codeOf(await copy({ name: 'no', snapshot: 'none' })), 'snapshot-not-found');
  });

  test('is made once for one Idempotency-Key, and not over another image', async () => {
    const once = () => copy({ name: 'once' }).set('Idempotency-Key', '"k"').expect(201);
    assert.equal(((await once()).body as ImageBody).id, ((await once()).body as ImageBody).id);
    assert.equal(codeOf(await copy({ name: 'once' })), 'name-conflict');
  });
});

describe('a linked copy', () => {
  test('is an overlay over its source', async () => {
    await service.post('/v1/images/full/copy', { name: 'linked', mode: 'linked', clusterSize: 4096 }).expect(201);
    assert.ok(source.equals(await bytesOf('linked')));
    const shown = (await service.get('/v1/images/linked').expect(200)).body as ImageBody;
    assert.deepEqual((shown['backing'] as { name: string }).name, 'full');
    const changed = await service.put('/v1/images/full/data').set('content-range', 'bytes 0-0/*').send('x');
    assert.equal(codeOf(changed), 'image-has-dependents');
  });

  test('is neither of a snapshot nor compressed', async () => {
    for (const option of [{ snapshot: 's' }, { compress: true }]) {
      assert.equal(codeOf(await copy({ name: 'x', mode: 'linked', ...option })), 'unsupported-option');
    }
    assert.deepEqual(pointersOf(await copy({ name: 'x', mode: 'other', bogus: 1 })).toSorted(), ['/bogus', '/mode']);
    assert.equal((await service.get('/v1/images/x')).status, 404);
  });
});

describe('data that the file system copies', () => {
  test('keeps its zeroes in a copy, a flattening and a commit, and bitmaps record it (OPS-25)', async () => {
    await using other = await startTestService({ QCOWD_HOST_COPY: 'always' });
    const whole = Buffer.concat([Buffer.alloc(3 * cluster), pattern(5 * cluster, 9)]);
    await other.create({ name: 'base', virtualSize: whole.length });
    await other.write('base', 0, whole);
    await other.post('/v1/images/base/copy', { name: 'copy' }).expect(201);
    for (const name of ['flat', 'top']) {
      await other.create({ name, backing: { image: name === 'flat' ? 'base' : 'copy' } });
    }
    await other.post('/v1/images/flat/bitmaps', { name: 'b', granularity: cluster }).expect(201);
    await other.post('/v1/images/flat/flatten', {}).expect(200);
    whole.fill(7, cluster, 2 * cluster);
    await other.write('top', 0, whole.subarray(0, 4 * cluster));
    const counted = async (image: string): Promise<unknown> => {
      const answer = await other.post(`/v1/images/${image}/check`).expect(200);
      const { clean, allocatedClusters } = answer.body as { clean: boolean; allocatedClusters: number };
      return { clean, allocatedClusters };
    };
    assert.deepEqual(await counted('flat'), { clean: true, allocatedClusters: 8 });
    assert.deepEqual(await counted('copy'), { clean: true, allocatedClusters: 8 });
    const bitmap = (await other.get('/v1/images/flat/bitmaps/b').expect(200)).body as { dirtyBytes: number };
    assert.equal(bitmap.dirtyBytes, whole.length);
    await other.post('/v1/images/top/commit', {}).expect(200);
    for (const image of ['copy', 'top', 'flat']) {
      const answer = await other.bytes(`/v1/images/${image}/data`).expect(200);
      if (image === 'flat') whole.fill(0, 0, 3 * cluster);
      assert.ok(whole.equals(answer.body as Buffer), image);
    }
  });
});
