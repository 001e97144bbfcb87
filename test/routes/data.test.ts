import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { exchange } from '../support/raw-http.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const size = 3 * MiB;
/** What the image `vm` holds. */
const content = Buffer.alloc(size);
let service: TestService;
let id: string;

before(async () => {
  service = await startTestService();
  id = (await service.create({ name: 'vm', virtualSize: size })).id;
});
after(async () => service[Symbol.asyncDispose]());

async function writeBoth(offset: number, bytes: Buffer): Promise<void> {
  bytes.copy(content, offset);
  await service.write('vm', offset, bytes);
}

async function expectContent(): Promise<void> {
  const answer = await service.bytes('/v1/images/vm/data').expect(200);
  assert.ok(content.equals(answer.body as Buffer));
}

async function generationOf(image: string): Promise<number> {
  const answer = await service.head(`/v1/images/${image}/data`).expect(200);
  return Number(answer.headers['image-generation']);
}

describe('writing a range', () => {
  test('puts bytes at any offset and tells the new generation', async () => {
    const first = await service
      .put('/v1/images/vm/data')
      .set('Content-Range', `bytes 1000-1009/${size}`)
      .send(Buffer.from('0123456789'));
    content.write('0123456789', 1000);
    assert.deepEqual([first.status, first.text], [204, '']);
    const generation = Number(first.headers['image-generation']);
    assert.equal(first.headers['etag'], `"${id}-${generation}"`);
    assert.ok(String(first.headers['write-epoch']).length > 0);
    await writeBoth(MiB - 7, pattern(MiB + 100, 2));
    assert.ok((await generationOf('vm')) > generation);
    await expectContent();
  });

  test('takes chunked bodies of any media type but a form', async () => {
    const head =
      'PUT /v1/images/vm/data HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-4/*\r\nConnection: close\r\n';
    const { server } = service.application.server;
    const chunked = await exchange(
      server,
      `${head}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`,
      { waitMs: 10_000 },
    );
    assert.equal(chunked.status, 204);
    content.write('abcde', 0);
    const form = await exchange(
      server,
      `${head}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\nabcde`,
      { waitMs: 10_000 },
    );
    assert.equal(form.status, 415);
    assert.match(form.body, /curl -T/);
    await expectContent();
  });

  test('refuses a body of another length, before or after it has come', async () => {
    const sized = await service
      .put('/v1/images/vm/data')
      .set('Content-Range', 'bytes 0-9/*')
      .send(Buffer.from('short'));
    assert.deepEqual([sized.status, codeOf(sized)], [400, 'content-range-mismatch']);
    const head =
      'PUT /v1/images/vm/data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n';
    for (const range of ['0-9', '0-1']) {
      const answer = await exchange(
        service.application.server.server,
        `${head}Content-Range: bytes ${range}/*\r\n\r\n5\r\nabcde\r\n0\r\n\r\n`,
        { waitMs: 10_000 },
      );
      assert.equal(answer.status, 400, range);
      assert.equal((JSON.parse(answer.body) as { code: string }).code, 'content-range-mismatch');
    }
    await expectContent();
  });

  test('refuses ranges that are malformed, of another size, or outside', async () => {
    const ask = (range: string) => service.put('/v1/images/vm/data').set('Content-Range', range).send(Buffer.from('x'));
    for (const range of ['bytes 0/*', 'bytes 1-0/*', 'bytes 0-0/100']) {
      const answer = await ask(range);
      assert.deepEqual([answer.status, codeOf(answer)], [400, 'invalid-content-range'], range);
    }
    const outside = await ask(`bytes ${size}-${size}/*`);
    assert.deepEqual([outside.status, codeOf(outside)], [416, 'range-not-satisfiable']);
    assert.equal(outside.headers['content-range'], `bytes */${size}`);
    await expectContent();
  });

  test('keeps to If-Match and to the digest that was sent', async () => {
    const ask = (name: string, value: string) =>
      service.put('/v1/images/vm/data').set('Content-Range', 'bytes 0-2/*').set(name, value).send(Buffer.from('xyz'));
    assert.equal(codeOf(await ask('If-Match', '"other"')), 'precondition-failed');
    assert.equal(codeOf(await ask('If-None-Match', '*')), 'precondition-failed');
    const wrong = hash('sha256', 'abc', 'base64');
    const digest = await ask('Content-Digest', `sha-256=:${wrong}:`);
    assert.deepEqual([digest.status, codeOf(digest)], [400, 'digest-mismatch']);
    assert.equal((await ask('Content-Digest', 'sha-256=:odd:')).status, 400);
    await expectContent();
    const right = hash('sha256', 'xyz', 'base64');
    await ask('Content-Digest', `sha-256=:${right}:`).expect(204);
    content.write('xyz', 0);
    await ask('If-Match', `"${id}-${await generationOf('vm')}"`).expect(204);
    await expectContent();
  });

  test('refuses options that it does not know or cannot honour', async () => {
    assert.deepEqual(pointersOf(await service.put('/v1/images/vm/data?bogus=1').send('x')), ['/bogus']);
    assert.deepEqual(pointersOf(await service.put('/v1/images/vm/data?flush=maybe').send('x')), ['/flush']);
    assert.equal((await service.put('/v1/images/a%20b/data').send('x')).status, 400);
    assert.equal((await service.put('/v1/images/nobody/data').send('x')).status, 404);
  });
});

describe('writing without a range', () => {
  test('replaces everything, with exactly as many bytes', async () => {
    await service.create({ name: 'small', virtualSize: 4096 });
    const short = await service.put('/v1/images/small/data').send(Buffer.alloc(4095));
    assert.deepEqual([short.status, codeOf(short)], [422, 'size-mismatch']);
    const bytes = pattern(4096, 5);
    await service.put('/v1/images/small/data?detectZeroes=true&flush=false').send(bytes).expect(204);
    const answer = await service.bytes('/v1/images/small/data').expect(200);
    assert.ok(bytes.equals(answer.body as Buffer));
  });
});

describe('reading', () => {
  test('many at a time gives each its own bytes, also in buffers that others had before', async () => {
    await writeBoth(0, pattern(size, 77));
    const length = 65_536;
    for (let round = 0; round < 4; round += 1) {
      await Promise.all(
        Array.from({ length: 16 }, async (_, index) => {
          const start = ((index * 5 + round * 7) % 48) * length;
          const range = `bytes=${start}-${start + length - 1}`;
          const answer = await service.bytes('/v1/images/vm/data').set('Range', range).expect(206);
          assert.ok(content.subarray(start, start + length).equals(answer.body as Buffer), range);
        }),
      );
    }
  });

  test('answers ranges of every form', async () => {
    for (const [range, first, last] of [
      ['0-0', 0, 0],
      ['100-199', 100, 199],
      [`${size - 10}-`, size - 10, size - 1],
      ['-5', size - 5, size - 1],
      [`${size - 3}-${size * 2}`, size - 3, size - 1],
      ['5-2097151', 5, 2_097_151],
    ] as const) {
      const answer = await service.bytes('/v1/images/vm/data').set('Range', `bytes=${range}`).expect(206);
      assert.ok(content.subarray(first, last + 1).equals(answer.body as Buffer), range);
      assert.equal(answer.headers['content-range'], `bytes ${first}-${last}/${size}`);
      assert.equal(answer.headers['content-length'], String(last + 1 - first));
      assert.equal(answer.headers['content-type'], 'application/octet-stream');
    }
  });

  test('ignores a malformed Range, and any on HEAD', async () => {
    assert.equal((await service.bytes('/v1/images/vm/data').set('Range', 'bytes=9-1')).status, 200);
    const head = await service.head('/v1/images/vm/data').set('Range', 'bytes=0-1').expect(200);
    assert.equal(head.headers['content-length'], String(size));
    assert.equal(head.headers['accept-ranges'], 'bytes');
    assert.equal(head.headers['etag'], `"${id}-${head.headers['image-generation']}"`);
  });

  test('beyond the end is 416 (LIM-13)', async () => {
    const answer = await service.get('/v1/images/vm/data').set('Range', `bytes=${size}-`);
    assert.deepEqual([answer.status, codeOf(answer)], [416, 'range-not-satisfiable']);
    assert.equal(answer.headers['content-range'], `bytes */${size}`);
  });

  test('keeps to the generation that was asked for', async () => {
    const generation = await generationOf('vm');
    assert.equal(
      (await service.bytes(`/v1/images/vm/data?generation=${generation}`).set('Range', 'bytes=0-1')).status,
      206,
    );
    const other = await service.get(`/v1/images/vm/data?generation=${generation - 1}`);
    assert.deepEqual([other.status, codeOf(other)], [412, 'precondition-failed']);
    assert.deepEqual(pointersOf(await service.get('/v1/images/vm/data?generation=x')), ['/generation']);
    assert.deepEqual(pointersOf(await service.get('/v1/images/vm/data?bogus')), ['/bogus']);
  });

  test('of an empty image is an empty answer', async () => {
    await service.create({ name: 'empty', virtualSize: 0 });
    const answer = await service.bytes('/v1/images/empty/data').expect(200);
    assert.equal((answer.body as Buffer).length, 0);
    assert.equal((await service.get('/v1/images/empty/data').set('Range', 'bytes=0-')).status, 416);
  });

  test('of nobody is 404, also for HEAD', async () => {
    assert.equal(codeOf(await service.get('/v1/images/nobody/data')), 'image-not-found');
    const head = await service.head('/v1/images/nobody/data');
    assert.deepEqual([head.status, head.headers['content-type']], [404, 'application/problem+json']);
  });
});

describe('zeroing, discarding and flushing', () => {
  test('change what is read and tell the epoch', async () => {
    const zero = await service.post('/v1/images/vm/zero', { offset: 999, length: 100_000 }).expect(204);
    content.fill(0, 999, 100_999);
    await service.post('/v1/images/vm/zero', { offset: 200_000, length: 10, unmap: false, flush: false }).expect(204);
    content.fill(0, 200_000, 200_010);
    await service.post('/v1/images/vm/discard', { offset: MiB, length: 131_072 }).expect(204);
    content.fill(0, MiB, MiB + 131_072);
    await expectContent();
    const flushed = await service.post('/v1/images/vm/flush', { writeEpoch: zero.headers['write-epoch'] }).expect(204);
    assert.equal(flushed.headers['write-epoch'], zero.headers['write-epoch']);
    await service.post('/v1/images/vm/flush').expect(204);
  });

  test('refuse spans outside and members that they do not know', async () => {
    for (const verb of ['zero', 'discard']) {
      const outside = await service.post(`/v1/images/vm/${verb}`, { offset: size, length: 1 });
      assert.deepEqual([outside.status, (outside.body as { size: number }).size], [416, size]);
      assert.deepEqual(
        pointersOf(await service.post(`/v1/images/vm/${verb}`, { offset: -1, length: 1, x: 1 })).toSorted(),
        ['/offset', '/x'],
      );
      assert.equal((await service.post(`/v1/images/nobody/${verb}`, { offset: 0, length: 1 })).status, 404);
    }
    const lost = await service.post('/v1/images/vm/flush', { writeEpoch: 'another' });
    assert.deepEqual([lost.status, codeOf(lost)], [409, 'writes-lost']);
  });

  test('leave an image that checks clean', async () => {
    const report = (await service.post('/v1/images/vm/check').expect(200)).body as { clean: boolean };
    assert.equal(report.clean, true);
    const image = (await service.get('/v1/images/vm').expect(200)).body as ImageBody;
    assert.equal(image.virtualSize, size);
  });
});
