// Corruption that a request meets (CHK-17): told to the client and in the log, kept in the file and in the record, and
// mended by a repair.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { mock, test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { codeOf, pattern, startTestService } from '../support/test-service.ts';

const owned = 1n << 63n;
const clusterSize = 65_536;

test('a write that would hit a table fails, is logged, marks the image, and nobody writes until it is repaired', async () => {
  await using service = await startTestService();
  const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB });
  const bytes = pattern(2 * clusterSize, 1);
  await service.write('vm', 0, bytes);
  await service.post('/v1/images/vm/detach', {}).expect(200);
  const path = join(service.folder, 'images', `${id}.qcow2`);
  const image = ImageBytes.read(path);
  const table = image.target(image.l1At(0));
  image.setU64(image.l2At(1), owned | BigInt(table));
  image.write(path);
  await service.post('/v1/images/vm/attach', {}).expect(200);

  const logged = mock.method(service.application.log, 'error');
  const put = (offset: number) =>
    service
      .put('/v1/images/vm/data')
      .set('Content-Range', `bytes ${offset}-${offset + 511}/*`)
      .send(Buffer.alloc(512, 9));
  const refused = await put(clusterSize);
  assert.deepEqual([refused.status, codeOf(refused)], [500, 'image-corrupt']);
  assert.match((refused.body as { readonly checkHint: string }).checkHint, /check/);
  assert.equal(logged.mock.callCount(), 1);
  const [line] = logged.mock.calls[0]?.arguments ?? [];
  const { facts, status } = line as { readonly facts: unknown; readonly status: number };
  assert.equal(status, 500);
  assert.match(JSON.stringify(facts), new RegExp(String(table)));

  assert.equal(ImageBytes.read(path).u64(72) & 2n, 2n, 'the file says so, durably');
  const told = (await service.get('/v1/images/vm').expect(200)).body as Record<string, unknown>;
  assert.equal(told['corrupt'], true);
  assert.equal(codeOf(await put(3 * clusterSize)), 'image-corrupt', 'nothing else is written');
  const read = await service
    .bytes('/v1/images/vm/data')
    .set('Range', `bytes=0-${clusterSize - 1}`)
    .expect(206);
  assert.ok(bytes.subarray(0, clusterSize).equals(read.body as Buffer), 'what is sound is read');

  const report = await service.post('/v1/images/vm/check', { repair: 'all' }).expect(200);
  assert.equal((report.body as { readonly clean: boolean }).clean, true);
  const mended = (await service.get('/v1/images/vm').expect(200)).body as Record<string, unknown>;
  assert.equal(mended['corrupt'], false);
  assert.equal(fs.readFileSync(path).readBigUInt64BE(72), 0n);
  assert.equal((await put(3 * clusterSize)).status, 204);
});

/** What changes more than bytes of the disk: if it is cut off, the next open mends the image. */
const structuralVerbs: Readonly<Record<string, object>> = {
  'resize': { virtualSize: 8 * MiB },
  'snapshots': { name: 's2' },
  'snapshots/s1/revert': {},
  'amend': { lazyRefcounts: true },
  'empty': {},
  'compact': {},
  'flatten': {},
};

test('whatever is asked of a corrupt image, and how often, nothing but a repair takes its mark away (BIT-I1)', async () => {
  await using service = await startTestService();
  const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB });
  await service.write('vm', 0, pattern(clusterSize, 1));
  await service.post('/v1/images/vm/snapshots', { name: 's1' }).expect(201);
  await service.post('/v1/images/vm/detach', {}).expect(200);
  const path = join(service.folder, 'images', `${id}.qcow2`);
  const image = ImageBytes.read(path);
  image.setU64(72, image.u64(72) | 2n);
  image.write(path);
  await service.post('/v1/images/vm/attach', {}).expect(200);
  for (const [verb, body] of Object.entries(structuralVerbs)) {
    for (const time of ['once', 'again']) {
      const answer = await service.post(`/v1/images/vm/${verb}`, body);
      assert.deepEqual([answer.status, codeOf(answer)], [500, 'image-corrupt'], `${verb}, ${time}`);
    }
    const told = (await service.get('/v1/images/vm').expect(200)).body as Record<string, unknown>;
    assert.equal(told['corrupt'], true, verb);
  }
  assert.ok(fs.readFileSync(path).equals(image.bytes), 'the file is as it was');
  await service.post('/v1/images/vm/check', { repair: 'all' }).expect(200);
  await service.post('/v1/images/vm/snapshots', { name: 's2' }).expect(201);
});

test('a structural verb that meets corruption leaves its repair to whoever looks at the findings', async () => {
  await using service = await startTestService();
  const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB });
  await service.write('vm', 0, pattern(2 * clusterSize, 1));
  await service.post('/v1/images/vm/detach', {}).expect(200);
  const path = join(service.folder, 'images', `${id}.qcow2`);
  const image = ImageBytes.read(path);
  // A repair would make it a zero without a place (CHK-09).
  image.setU64(image.l2At(1), (image.u64(image.l2At(1)) + 512n) | 1n);
  image.write(path);
  await service.post('/v1/images/vm/attach', {}).expect(200);
  for (const time of ['once', 'again']) {
    const answer = await service.post('/v1/images/vm/snapshots', { name: 's1' });
    assert.deepEqual([answer.status, codeOf(answer)], [500, 'image-corrupt'], time);
  }
  assert.equal(ImageBytes.read(path).u64(72) & 2n, 2n);
  const report = (await service.post('/v1/images/vm/check', {}).expect(200)).body as { readonly corruptions: number };
  assert.ok(report.corruptions > 0);
});
