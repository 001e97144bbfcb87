import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { exchange } from '../support/raw-http.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const url = '/v1/images/vm/snapshots/s1/vmstate';
const first = pattern(3 * MiB + 77, 1);
const second = pattern(100_000, 2);
let service: TestService;
let id: string;

before(async () => {
  service = await startTestService();
  id = (await service.create({ name: 'vm', virtualSize: 4 * MiB })).id;
  await service.write('vm', 0, pattern(MiB, 3));
  await service.post('/v1/images/vm/snapshots', { name: 's1' }).expect(201);
});
after(async () => service[Symbol.asyncDispose]());

async function sizeOf(snapshot: string): Promise<unknown> {
  const answer = await service.get(`/v1/images/vm/snapshots/${snapshot}`).expect(200);
  return (answer.body as { readonly vmStateSize: unknown }).vmStateSize;
}

function assertNothingStaged(): void {
  assert.deepEqual(readdirSync(join(service.folder, 'staging')), []);
}

describe('a VM state', () => {
  test('is empty at first', async () => {
    const answer = await service.bytes(url).expect(200);
    assert.equal((answer.body as Buffer).length, 0);
    await service.head(url).expect(200).expect('content-length', '0');
    await service.bytes(url).set('Range', 'bytes=0-9').expect(416).expect('content-range', 'bytes */0');
  });

  test('reads back, whole and in ranges, under a tag that stays while the guest writes', async () => {
    const written = await service.put(url).send(first).expect(204);
    const tag = String(written.headers['etag']);
    assert.ok(tag.startsWith(`"${id}-s1-m`), tag);
    assert.equal(await sizeOf('s1'), first.length);
    const whole = await service.bytes(url).expect(200).expect('etag', tag);
    assert.ok(first.equals(whole.body as Buffer));
    await service.write('vm', 5, Buffer.from('hello'));
    const part = await service
      .bytes(url)
      .set('Range', `bytes=${MiB - 3}-${MiB + 2}`)
      .set('If-Range', tag)
      .expect(206);
    assert.ok(first.subarray(MiB - 3, MiB + 3).equals(part.body as Buffer));
    assert.equal(part.headers['content-range'], `bytes ${MiB - 3}-${MiB + 2}/${first.length}`);
    await service.get(url).set('If-None-Match', tag).expect(304);
    assertNothingStaged();
  });

  test('is replaced as a whole, and then has another tag', async () => {
    const before_ = await service.head(url).expect(200);
    const digest = hash('sha256', second, 'base64');
    const written = await service.put(url).set('Content-Digest', `sha-256=:${digest}:`).send(second).expect(204);
    assert.notEqual(written.headers['etag'], before_.headers['etag']);
    const read = await service.bytes(url).set('If-Match', String(written.headers['etag'])).expect(200);
    assert.ok(second.equals(read.body as Buffer));
    await service.bytes(url).set('If-Match', String(before_.headers['etag'])).expect(412);
    const report = await service.post('/v1/images/vm/check', {}).expect(200);
    assert.equal((report.body as { readonly clean: boolean }).clean, true);
  });

  test('stays when a body is cut, has another digest, is a part, or may not come in', async () => {
    const wrong = await service
      .put(url)
      .set('Content-Digest', `sha-256=:${Buffer.alloc(32).toString('base64')}:`)
      .send(first);
    assert.deepEqual([wrong.status, codeOf(wrong)], [400, 'digest-mismatch']);
    const part = await service.put(url).set('Content-Range', 'bytes 0-9/*').send(Buffer.alloc(10));
    assert.deepEqual([part.status, codeOf(part), pointersOf(part)], [400, 'invalid-request', ['/content-range']]);
    const head = `PUT ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n`;
    await exchange(service.application.server.server, `${head}short`, { waitMs: 200 });
    const unknown = await service.put('/v1/images/vm/snapshots/none/vmstate').send(first);
    assert.deepEqual([unknown.status, codeOf(unknown)], [404, 'snapshot-not-found']);
    await service.post('/v1/images/vm/leases', { mode: 'exclusive', ttlSeconds: 60 }).expect(201);
    const locked = await service.put(url).send(first);
    assert.deepEqual([locked.status, codeOf(locked)], [423, 'image-locked']);
    await service.post('/v1/images/vm/leases/break', {}).expect(202);
    const read = await service.bytes(url).expect(200);
    assert.ok(second.equals(read.body as Buffer));
    assertNothingStaged();
  });

  test('goes with its snapshot and comes back with a restart; an empty body takes it away', async () => {
    await service.post('/v1/images/vm/snapshots', { name: 's2' }).expect(201);
    const other = '/v1/images/vm/snapshots/s2/vmstate';
    await service.put(other).send(first).expect(204);
    await service.post('/v1/images/vm/detach', {}).expect(200);
    await service.post('/v1/images/vm/attach', {}).expect(200);
    assert.ok(first.equals((await service.bytes(other).expect(200)).body as Buffer));
    assert.ok(second.equals((await service.bytes(url).expect(200)).body as Buffer));
    await service.delete('/v1/images/vm/snapshots/s2').expect(204);
    await service.get(other).expect(404);
    await service.put(url).send(Buffer.alloc(0)).expect(204);
    assert.equal(await sizeOf('s1'), 0);
    const image = (await service.get('/v1/images/vm').expect(200)).body as ImageBody;
    assert.equal(image['state'], 'ready');
    const report = await service.post('/v1/images/vm/check', {}).expect(200);
    assert.equal((report.body as { readonly clean: boolean }).clean, true);
  });

  test('that does not fit behind its disk is refused', async () => {
    // No offset behind this disk can be named.
    await service.create({ name: 'long', virtualSize: 2 ** 53 - 512, clusterSize: 2 * MiB });
    await service.post('/v1/images/long/snapshots', { name: 's1' }).expect(201);
    const answer = await service.put('/v1/images/long/snapshots/s1/vmstate').send(pattern(10, 1));
    assert.deepEqual([answer.status, codeOf(answer)], [413, 'content-too-large']);
    assert.equal((answer.body as { readonly lengthMax: unknown }).lengthMax, 0);
  });
});
