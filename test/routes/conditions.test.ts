import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const size = 4 * MiB;
const content = pattern(size, 11);
const data = '/v1/images/vm/data';
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: size });
  await service.put(data).send(content).expect(204);
});
after(async () => service[Symbol.asyncDispose]());

async function tagOf(path: string): Promise<string> {
  return String((await service.head(path).expect(200)).headers['etag']);
}

function digestOf(bytes: Buffer): string {
  return `sha-256=:${hash('sha256', bytes, 'base64')}:`;
}

async function writeFirst(byte: number): Promise<void> {
  content[0] = byte;
  await service.write('vm', 0, Buffer.from([byte]));
}

describe('conditions on reading', () => {
  for (const path of [data, '/v1/images/vm/file?format=raw', '/v1/images/vm/file']) {
    test(`are kept by ${path}`, async () => {
      const old = await tagOf(path);
      await writeFirst(old.length % 251);
      const tag = await tagOf(path);
      assert.notEqual(old, tag);
      for (const [headers, status] of [
        [{ 'If-Match': tag }, 206],
        [{ 'If-Match': `${old}, ${tag}` }, 206],
        [{ 'If-Match': old }, 412],
        [{ 'If-Match': `W/${tag}` }, 412],
        [{ 'If-Match': '*' }, 206],
        [{ 'If-None-Match': tag }, 304],
        [{ 'If-None-Match': `W/${tag}` }, 304],
        [{ 'If-None-Match': '*' }, 304],
        [{ 'If-None-Match': old }, 206],
        [{ 'If-Match': old, 'If-None-Match': tag }, 412],
        [{ 'If-Range': tag }, 206],
        [{ 'If-Range': old }, 200],
        [{ 'If-Range': `W/${tag}` }, 200],
        [{ 'If-Range': 'Wed, 21 Oct 2015 07:28:00 GMT' }, 200],
        [{ 'If-Match': tag, 'If-Range': old }, 200],
      ] as const) {
        const answer = await service.bytes(path).set('Range', 'bytes=0-9').set(headers);
        assert.equal(answer.status, status, JSON.stringify(headers));
        if (status !== 412) assert.equal(answer.headers['etag'], tag);
      }
      const head = await service.head(path).set('If-None-Match', tag);
      assert.equal(head.status, 304);
      assert.equal((await service.head(path).set('If-Match', old)).status, 412);
    });
  }

  test('know a generation by its number', async () => {
    const generation = Number((await service.head(data)).headers['image-generation']);
    await service.head(`${data}?generation=${generation}`).expect(200);
    await service.head(`${data}?generation=${generation + 1}`).expect(412);
    await service.head(`/v1/images/vm/file?generation=${generation}`).expect(200);
    await service.head(`/v1/images/vm/file?generation=${generation - 1}`).expect(412);
  });

  test('outrank a Range beyond the end', async () => {
    const beyond = service.get(data).set('Range', `bytes=${size}-`);
    assert.equal((await beyond.set('If-Match', '"other"')).status, 412);
    const ignored = await service.bytes(data).set('Range', `bytes=${size}-`).set('If-Range', '"other"');
    assert.equal(ignored.status, 200);
  });
});

describe('several ranges', () => {
  const ask = (range: string) => service.bytes(data).set('Range', `bytes=${range}`);
  const apart = (count: number): string =>
    Array.from({ length: count }, (_, index) => `${index * 10}-${index * 10 + 1}`).join(',');

  test('are at most sixteen after coalescing', async () => {
    const sixteen = await ask(apart(16));
    assert.equal(sixteen.status, 206);
    assert.match(String(sixteen.headers['content-type']), /^multipart\/byteranges; boundary=/);
    assert.equal((sixteen.body as Buffer).length, Number(sixteen.headers['content-length']));
    const more = await ask(apart(17));
    assert.deepEqual([more.status, more.headers['content-range']], [416, `bytes */${size}`]);
    assert.equal((await ask(apart(1500))).status, 416);
  });

  test('that touch are answered as one', async () => {
    const touching = Array.from({ length: 40 }, (_, index) => `${index * 2}-${index * 2 + 1}`).join(',');
    for (const [range, first, last] of [
      [touching, 0, 79],
      ['5-9,0-6', 0, 9],
      [`0-0,${size}-`, 0, 0],
    ] as const) {
      const answer = await ask(range);
      assert.equal(answer.status, 206, range);
      assert.equal(answer.headers['content-range'], `bytes ${first}-${last}/${size}`);
      assert.ok(content.subarray(first, last + 1).equals(answer.body as Buffer));
    }
  });
});

describe('conditions on writing', () => {
  const write = (offset: number, bytes: Buffer) =>
    service.put(data).set('Content-Range', `bytes ${offset}-${offset + bytes.length - 1}/*`);

  test('let one of many win who saw the same content', async () => {
    const tag = await tagOf(data);
    const bodies = Array.from({ length: 8 }, (_, index) => pattern(3 * MiB, 100 + index));
    const answers = await Promise.all(bodies.map((body) => write(0, body).set('If-Match', tag).send(body)));
    const statuses = answers.map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(), [204, ...Array<number>(7).fill(412)]);
    const winner = bodies[statuses.indexOf(204)];
    winner?.copy(content);
    const read = await service.bytes(data).expect(200);
    assert.ok(content.equals(read.body as Buffer));
    for (const { body, status } of answers) {
      if (status === 412) assert.equal((body as { code: string }).code, 'precondition-failed');
    }
  });

  test('name the generation in the query too', async () => {
    const generation = Number((await service.head(data)).headers['image-generation']);
    const put = (wanted: number) =>
      service
        .put(`${data}?generation=${wanted}`)
        .set('Content-Range', 'bytes 0-0/*')
        .send(Buffer.from([1]));
    assert.equal(codeOf(await put(generation - 1)), 'precondition-failed');
    await put(generation).expect(204);
    content[0] = 1;
    const again = await put(generation);
    assert.equal(again.status, 412);
    assert.ok((again.body as { generation: number }).generation > generation);
  });

  test('refuse what If-None-Match names, and nothing else', async () => {
    const bytes = Buffer.from([2]);
    const tag = await tagOf(data);
    assert.equal((await write(0, bytes).set('If-None-Match', `W/${tag}`).send(bytes)).status, 412);
    await write(0, bytes).set('If-None-Match', '"other"').send(bytes).expect(204);
    await write(0, bytes).set('If-None-Match', tag).send(bytes).expect(204);
    await write(0, bytes).set('If-Match', '*').send(bytes).expect(204);
    content[0] = 2;
  });
});

describe('a digest that is wanted', () => {
  test('comes with short and long answers, of what is sent', async () => {
    for (const path of [data, '/v1/images/vm/file?format=raw']) {
      for (const [range, first, last] of [
        ['bytes=10-99', 10, 99],
        [`bytes=1-${3 * MiB}`, 1, 3 * MiB],
        [undefined, 0, size - 1],
      ] as const) {
        const asked = service.bytes(path).set('Want-Content-Digest', 'sha-512=3, sha-256=10');
        const answer = await (range === undefined ? asked : asked.set('Range', range));
        const expected = content.subarray(first, last + 1);
        assert.equal(answer.headers['content-digest'], digestOf(expected), `${path} ${range}`);
        assert.ok(expected.equals(answer.body as Buffer));
      }
    }
  });

  test('does not come when nobody wants it, nor with more than 64 MiB', async () => {
    const none = await service.bytes(data).set('Range', 'bytes=0-9').set('Want-Content-Digest', 'sha-256=0');
    assert.equal(none.headers['content-digest'], undefined);
    assert.equal((await service.bytes(data).set('Range', 'bytes=0-9')).headers['content-digest'], undefined);
    await service.create({ name: 'large', virtualSize: 65 * MiB });
    const large = await service
      .bytes('/v1/images/large/data')
      .set('Range', `bytes=0-${64 * MiB}`)
      .set('Want-Content-Digest', 'sha-256=1');
    assert.deepEqual([large.status, large.headers['content-digest']], [206, undefined]);
  });
});
