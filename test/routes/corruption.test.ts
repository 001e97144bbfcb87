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

  const logged = mock.method(service.application.server.log, 'error');
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
