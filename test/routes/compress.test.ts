import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { exchange } from '../support/raw-http.ts';
import { codeOf, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const cluster = 65_536;
const size = 4 * cluster + 4096;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

/** Shrinks well. */
function text(length: number, word: string): Buffer {
  return Buffer.alloc(length, `${word} and again `);
}

/** How the image is stored, cluster by cluster: c for compressed, else the first letter of the kind. */
async function storedAs(image: string): Promise<string> {
  const answer = await service.get(`/v1/images/${image}/extents`).expect(200);
  const { items } = answer.body as { items: { kind: string; length: number; compressed: boolean }[] };
  const letters = items.map(({ kind, length, compressed }) =>
    (compressed ? 'c' : kind.charAt(0)).repeat(Math.ceil(length / cluster)),
  );
  return letters.join('');
}

describe('a compressed write', () => {
  test('stores the whole clusters of a span, or of the disk to its end', async () => {
    await service.create({ name: 'vm', virtualSize: size });
    const part = text(2 * cluster, 'part');
    const range = { 'content-range': `bytes ${String(cluster)}-${String(3 * cluster - 1)}/*` };
    const answer = await service.put('/v1/images/vm/data?compress=true').set(range).send(part).expect(204);
    assert.match(answer.headers['etag'] ?? '', /^"img_.*-\d+"$/);
    assert.equal(await storedAs('vm'), 'hcchh');
    const read = await service
      .bytes('/v1/images/vm/data')
      .set('range', `bytes=${String(cluster)}-`)
      .expect(206);
    assert.ok((read.body as Buffer).subarray(0, part.length).equals(part));

    const whole = Buffer.concat([text(3 * cluster, 'whole'), Buffer.alloc(cluster), text(4096, 'end')]);
    await service.put('/v1/images/vm/data?compress=true&detectZeroes=true').send(whole).expect(204);
    assert.equal(await storedAs('vm'), 'ccchc');
    assert.ok(whole.equals((await service.bytes('/v1/images/vm/data')).body as Buffer));
    const checked = await service.post('/v1/images/vm/check').expect(200);
    const { clean, compressedClusters } = checked.body as { clean: boolean; compressedClusters: number };
    assert.deepEqual([clean, compressedClusters], [true, 4]);
  });

  test('is refused for parts of clusters, and changes nothing then', async () => {
    await service.create({ name: 'parts', virtualSize: size });
    const etag = (await service.get('/v1/images/parts/data')).headers['etag'];
    for (const [start, length] of [
      [1, cluster],
      [0, cluster + 1],
      [4 * cluster, 4095],
    ] as const) {
      const range = { 'content-range': `bytes ${String(start)}-${String(start + length - 1)}/*` };
      const refused = await service.put('/v1/images/parts/data?compress=true').set(range).send(text(length, 'no'));
      assert.deepEqual([refused.status, codeOf(refused)], [422, 'unsupported-option']);
    }
    assert.equal((await service.get('/v1/images/parts/data')).headers['etag'], etag);
  });

  test('goes after what was read, like any other', async () => {
    await service.create({ name: 'conditional', virtualSize: cluster });
    const etag = (await service.get('/v1/images/conditional/data')).headers['etag'] ?? '';
    const put = () => service.put('/v1/images/conditional/data?compress=true').set('if-match', etag);
    await put().send(text(cluster, 'first')).expect(204);
    assert.equal(codeOf(await put().send(text(cluster, 'second'))), 'precondition-failed');
  });
});

describe('a raw import', () => {
  test('may be stored compressed, of known size or not', async () => {
    const raw = Buffer.concat([text(cluster, 'a'), Buffer.alloc(cluster), text(1000, 'b')]);
    const whole = Buffer.concat([raw, Buffer.alloc(24)]);
    await service.put('/v1/imports/sized?format=raw&compress=true&compressionType=zstd').send(raw).expect(201);
    const head =
      'PUT /v1/imports/chunked?format=raw&compress=true HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n';
    const chunk = `Transfer-Encoding: chunked\r\n\r\n${raw.length.toString(16)}\r\n${raw.toString('latin1')}\r\n0\r\n\r\n`;
    const chunked = await exchange(service.application.server.server, head + chunk, { waitMs: 10_000 });
    assert.equal(chunked.status, 201);
    for (const image of ['sized', 'chunked']) {
      assert.equal(await storedAs(image), 'chc');
      assert.ok(whole.equals((await service.bytes(`/v1/images/${image}/data`)).body as Buffer));
    }
  });

  test('is not stored compressed in places made for something else, nor is a qcow2 file', async () => {
    const both = await service.put('/v1/imports/x?format=raw&compress=true&preallocation=metadata').send(text(10, 'x'));
    assert.deepEqual([both.status, codeOf(both)], [422, 'unsupported-option']);
    assert.deepEqual(pointersOf(await service.put('/v1/imports/x?compress=true').send('x')), ['/compress']);
  });
});
