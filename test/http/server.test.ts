import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

import request from 'supertest';
import { z } from 'zod';

import { Fault } from '../../src/base/fault.ts';
import { answerBytes, rangeOf } from '../../src/http/byte-answer.ts';
import { conditionsOf } from '../../src/http/conditional.ts';
import { bodyOf, bodyPatience } from '../../src/http/request-body.ts';
import type { App } from '../../src/http/schema.ts';
import { createServer } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';
import { exchange } from '../support/raw-http.ts';

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => index % 251));
const state = { draining: false, generation: 1, generationOfBytes: 1, failAt: Infinity, sentLength: 0 };
let app: App;

before(async () => {
  app = await createServer({ ...bareServer(), isDraining: () => state.draining });
  app.post(
    '/things',
    {
      schema: {
        body: z.strictObject({ size: z.int(), deep: z.strictObject({ a: z.string() }).optional() }).optional(),
        response: { 200: z.any() },
      },
    },
    async (asked) => ({ size: asked.body?.size ?? null }),
  );
  app.get(
    '/things/:thing',
    { schema: { querystring: z.strictObject({ limit: z.string().optional() }) } },
    async () => ({ ok: true }),
  );
  app.get('/bug', async () => {
    throw new Error('a secret');
  });
  app.get('/health', { config: { whileDraining: true } }, async () => ({ ok: true }));
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null, undefined));
    scope.put('/sink', { schema: { response: { 200: z.any() } } }, async (asked) => {
      let length = 0;
      for await (const piece of bodyOf(asked.raw, bodyPatience)) length += piece.length;
      return { length };
    });
    scope.put('/refused', async () => {
      throw new Fault('name-conflict', { name: 'x' });
    });
    scope.put('/refused-later', async (asked) => {
      for await (const _piece of bodyOf(asked.raw, bodyPatience))
        throw new Fault('insufficient-storage', { written: 1 });
      return {};
    });
  });
  app.route({
    method: ['GET', 'HEAD'],
    url: '/bytes',
    handler: async (asked, reply) => {
      void reply.header('content-type', 'application/octet-stream');
      return await answerBytes(asked, reply, {
        source: {
          size: content.length,
          generation: state.generation,
          etagOf: (generation) => `"thing-${generation}"`,
          read: async ({ offset, length }) => ({
            bytes: content.subarray(offset, offset + length),
            generation: state.generationOfBytes,
          }),
          async *chunks({ offset, length }) {
            for (let at = offset; at < offset + length; at += 65_536) {
              if (at >= state.failAt) throw new Fault('io-error', {});
              yield content.subarray(at, Math.min(at + 65_536, offset + length));
            }
          },
          recycle: (bytes) => {
            state.sentLength += bytes.length;
          },
        },
        conditions: conditionsOf(asked.headers, { generation: undefined }),
        range: rangeOf(asked),
      });
    },
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
});

after(async () => {
  app.server.closeAllConnections();
  await app.close();
});

const problem = 'application/problem+json';

describe('a request', () => {
  test('keeps its well-formed id, in the answer and in the problem', async () => {
    const kept = await request(app.server).get('/nowhere').set('Request-Id', 'abc.1');
    assert.equal(kept.headers['request-id'], 'abc.1');
    assert.equal((kept.body as { requestId: string }).requestId, 'abc.1');
    const made = await request(app.server).get('/things/1').set('Request-Id', 'not well-formed');
    assert.equal(made.headers['request-id'], 'made');
  });

  test('is answered with JSON that ends with a newline', async () => {
    const answer = await request(app.server).post('/things').send({ size: 1 });
    assert.equal(answer.text, '{"size":1}\n');
  });

  test('may leave out an optional JSON body, or send an empty one', async () => {
    await request(app.server).post('/things').expect(200, { size: null });
    await request(app.server)
      .post('/things')
      .set('content-type', 'application/json')
      .send('')
      .expect(200, { size: null });
  });

  test('is told what is wrong with its body and its query', async () => {
    const body = await request(app.server)
      .post('/things')
      .send({ size: 1.5, bogus: 1, deep: { 'a': 'x', 'b/c': 1 } });
    assert.equal(body.status, 400);
    assert.equal(body.headers['content-type'], problem);
    const { errors, code } = body.body as { errors: { pointer: string }[]; code: string };
    assert.equal(code, 'invalid-request');
    assert.deepEqual(errors.map(({ pointer }) => pointer).toSorted(), ['/bogus', '/deep/b~1c', '/size']);
    const query = await request(app.server).get('/things/1?bogus=1').expect(400);
    assert.deepEqual((query.body as { errors: unknown }).errors, [
      { pointer: '/bogus', in: 'query', message: 'no such query parameter' },
    ]);
  });

  test('with JSON that is none, or that reaches for a prototype, is refused', async () => {
    for (const [text, pointer] of [
      ['{', ''],
      ['{"size":1,"__proto__":{}}', '/__proto__'],
      ['{"size":1,"labels":{"a":"b","__proto__":"x"}}', '/labels/__proto__'],
      ['{"a/b":[null,{"\\u005f_proto__":1}]}', '/a~1b/1/__proto__'],
    ] as const) {
      const answer = await request(app.server).post('/things').set('content-type', 'application/json').send(text);
      assert.equal(answer.status, 400, text);
      const { errors } = answer.body as { errors: { pointer: string; in: string }[] };
      assert.deepEqual(
        errors.map((error) => [error.pointer, error.in]),
        [[pointer, 'body']],
      );
    }
  });

  test('with another media type is 415, before its content is judged', async () => {
    const answer = await request(app.server)
      .post('/things')
      .set('content-type', 'application/x-www-form-urlencoded')
      .send('a=1');
    assert.equal(answer.status, 415);
    assert.equal((answer.body as { code: string }).code, 'unsupported-media-type');
  });

  test('with too much JSON is 413, announced or not', async () => {
    const text = JSON.stringify({ size: 1, deep: { a: 'x'.repeat(2_000_000) } });
    const head = 'POST /things HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
    const announced = await exchange(app.server, `${head}Content-Length: ${text.length}\r\n\r\n`, { waitMs: 5_000 });
    assert.equal(announced.status, 413);
    const chunk = `${text.length.toString(16)}\r\n${text}\r\n`;
    const chunked = await exchange(app.server, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`, { waitMs: 5_000 });
    assert.equal(chunked.status, 413);
  });

  test('to an unknown path is 404, and with a wrong method 405 with the right ones', async () => {
    const nowhere = await request(app.server).get('/nowhere');
    assert.equal(nowhere.status, 404);
    assert.equal((nowhere.body as { code: string }).code, 'route-not-found');
    const wrong = await request(app.server).delete('/things/1');
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers['allow'], 'GET, HEAD');
    assert.equal((wrong.body as { code: string }).code, 'method-not-allowed');
    assert.equal((await request(app.server).patch('/things').send({})).headers['allow'], 'POST');
  });

  test('that meets a bug learns nothing of it', async () => {
    const answer = await request(app.server).get('/bug');
    assert.equal(answer.status, 500);
    assert.doesNotMatch(answer.text, /secret/);
  });

  test('under a foreign name is 403, but an unknown path is 404 to everybody', async () => {
    assert.equal((await request(app.server).get('/things/1').set('Host', 'evil.example')).status, 403);
    assert.equal((await request(app.server).get('/nowhere').set('Host', 'evil.example')).status, 404);
  });

  test('while the service stops is 503, except those about health', async () => {
    state.draining = true;
    const refused = await request(app.server).get('/things/1');
    const health = await request(app.server).get('/health');
    state.draining = false;
    assert.equal(refused.status, 503);
    assert.equal((refused.body as { code: string }).code, 'draining');
    assert.equal(refused.headers['retry-after'], '1');
    assert.equal(health.status, 200);
  });
});

describe('a body', () => {
  const head = (path: string): string =>
    `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n`;

  test('is asked for when the request is admitted', async () => {
    const answer = await exchange(app.server, `${head('/sink')}0123456789`, { waitMs: 300 });
    assert.match(answer.text, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200/);
    assert.equal(answer.body, '{"length":10}\n');
  });

  test('is never asked for when the request is refused', async () => {
    for (const path of ['/refused', '/nowhere']) {
      const answer = await exchange(app.server, head(path), { waitMs: 5_000 });
      assert.doesNotMatch(answer.text, /100 Continue/);
      assert.ok(answer.status >= 400);
      assert.equal(answer.headers.get('connection'), 'close');
    }
  });

  test('of gigabytes is refused before it is sent, and the answer arrives', async () => {
    const open = 'Host: localhost\r\nContent-Length: 99999999999\r\n\r\n';
    for (const [path, status] of [
      ['/refused', 409],
      ['/refused-later', 507],
    ] as const) {
      const answer = await exchange(app.server, `PUT ${path} HTTP/1.1\r\n${open}${'x'.repeat(1_000_000)}`, {
        waitMs: 8_000,
      });
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get('connection'), 'close');
      assert.ok(answer.body.endsWith('}\n'));
    }
  });

  test('that is short and refused leaves the connection open', async () => {
    const first = 'PUT /refused HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc';
    const second = 'GET /things/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const answer = await exchange(app.server, first + second, { waitMs: 5_000 });
    assert.match(answer.text, /^HTTP\/1.1 409/);
    assert.equal(answer.status, 200);
  });

  test('may be chunked', async () => {
    const text =
      'PUT /sink HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n';
    assert.equal((await exchange(app.server, text, { waitMs: 5_000 })).body, '{"length":5}\n');
  });
});

describe('bytes', () => {
  const bytes = (path: string) =>
    request(app.server)
      .get(path)
      .buffer(true)
      .parse((answer, done) => {
        const pieces: Buffer[] = [];
        answer.on('data', (piece: Buffer) => pieces.push(piece));
        answer.on('end', () => done(null, Buffer.concat(pieces)));
      });

  test('are sent whole with their length and tag', async () => {
    const answer = await bytes('/bytes').expect(200);
    assert.ok(content.equals(answer.body as Buffer));
    assert.equal(answer.headers['content-length'], '3000000');
    assert.equal(answer.headers['etag'], '"thing-1"');
    assert.equal(answer.headers['accept-ranges'], 'bytes');
  });

  test('are sent in part, short or long', async () => {
    const short = await bytes('/bytes').set('Range', 'bytes=10-19').expect(206);
    assert.ok(content.subarray(10, 20).equals(short.body as Buffer));
    assert.equal(short.headers['content-range'], 'bytes 10-19/3000000');
    const long = await bytes('/bytes').set('Range', 'bytes=1-2000000').expect(206);
    assert.ok(content.subarray(1, 2_000_001).equals(long.body as Buffer));
    assert.equal(long.headers['content-length'], '2000000');
  });

  test('are given back once they have left', { timeout: 10_000 }, async () => {
    for (const [range, length] of [
      ['bytes=10-70009', 70_000],
      ['bytes=1-2000000', 2_000_000],
    ] as const) {
      state.sentLength = 0;
      await bytes('/bytes').set('Range', range).expect(206);
      // The client may have them before the server knows.
      while (state.sentLength < length) await wait(1);
      assert.equal(state.sentLength, length);
    }
  });

  test('are sent in several parts with the exact length of all', async () => {
    const answer = await bytes('/bytes').set('Range', 'bytes=0-1,10-11,-1').expect(206);
    const type = String(answer.headers['content-type']);
    const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(type)?.[1] ?? '';
    assert.equal(answer.headers['content-range'], undefined);
    const body = answer.body as Buffer;
    assert.equal(answer.headers['content-length'], String(body.length));
    const expected = [
      [0, 1],
      [10, 11],
      [2_999_999, 2_999_999],
    ]
      .map(([first = 0, last = 0]) =>
        [
          `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ${first}-${last}/3000000\r\n\r\n`,
          content.subarray(first, last + 1).toString('latin1'),
        ].join(''),
      )
      .join('');
    assert.equal(body.toString('latin1'), `${expected}\r\n--${boundary}--\r\n`);
  });

  test('that are not there are 416 with the size', async () => {
    const answer = await request(app.server).get('/bytes').set('Range', 'bytes=3000000-').expect(416);
    assert.equal(answer.headers['content-range'], 'bytes */3000000');
    assert.equal((answer.body as { size: number }).size, 3_000_000);
  });

  test('have a HEAD that ignores Range', async () => {
    const answer = await request(app.server).head('/bytes').set('Range', 'bytes=0-1').expect(200);
    assert.equal(answer.headers['content-length'], '3000000');
    assert.equal(answer.headers['content-type'], 'application/octet-stream');
  });

  test('are not sent to whom has them, and whole when they are others than If-Range says', async () => {
    const known = await request(app.server).get('/bytes').set('If-None-Match', '"thing-1"').expect(304);
    assert.equal(known.headers['etag'], '"thing-1"');
    await request(app.server).get('/bytes').set('If-Match', '"thing-0"').expect(412);
    await bytes('/bytes').set('Range', 'bytes=0-1').set('If-Range', '"thing-1"').expect(206);
    await bytes('/bytes').set('Range', 'bytes=0-1').set('If-Range', '"thing-0"').expect(200);
  });

  test('that changed while they were read are judged again, under the tag they belong to', async () => {
    state.generationOfBytes = 2;
    const plain = await bytes('/bytes').set('Range', 'bytes=0-1');
    const matched = await request(app.server).get('/bytes').set('Range', 'bytes=0-1').set('If-Match', '"thing-1"');
    const resumed = await bytes('/bytes').set('Range', 'bytes=0-1').set('If-Range', '"thing-1"');
    state.generationOfBytes = 1;
    assert.deepEqual([plain.status, plain.headers['etag']], [206, '"thing-2"']);
    assert.equal(matched.status, 412);
    assert.equal(resumed.status, 200);
  });

  test('that fail before the first one are a problem, and after it a short answer', async () => {
    state.failAt = 0;
    const early = await request(app.server).get('/bytes');
    assert.equal(early.status, 500);
    assert.equal(early.headers['content-type'], problem);
    state.failAt = 1_000_000;
    await assert.rejects(async () => bytes('/bytes'), /aborted|socket hang up/);
    state.failAt = Infinity;
  });
});
