import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, test } from 'node:test';

import { KiB } from '../../src/base/units.ts';
import { answerBytes, rangeOf } from '../../src/http/byte-answer.ts';
import { conditionsOf } from '../../src/http/conditional.ts';
import type { App } from '../../src/http/schema.ts';
import { createServer } from '../../src/http/server.ts';
import type { TlsFiles } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';
import { exchange, portOf } from '../support/raw-http.ts';
import { pattern } from '../support/test-service.ts';

const content = pattern(256 * KiB, 5);
const today = Date.UTC(2026, 10, 30, 12, 0, 0);
const state = { nowMs: today, headers: {} as Readonly<Record<string, string>> };
let app: App;

async function serveBytes(tls: TlsFiles | undefined): Promise<App> {
  const made = await createServer({ ...bareServer(), wallClock: () => state.nowMs, tls });
  made.get('/bytes', async (asked, reply) => {
    void reply.header('content-type', 'application/octet-stream').headers(state.headers);
    return await answerBytes(asked, reply, {
      source: {
        size: content.length,
        generation: 3,
        etagOf: (generation) => `"thing-${generation}"`,
        read: async ({ offset, length }) => ({ bytes: content.subarray(offset, offset + length), generation: 3 }),
        chunks: () => assert.fail('short answers leave as one'),
        recycle: () => undefined,
      },
      conditions: conditionsOf(asked.headers, { generation: undefined }),
      range: rangeOf(asked),
    });
  });
  await made.listen({ host: '127.0.0.1', port: 0 });
  return made;
}

before(async () => {
  app = await serveBytes(undefined);
});
after(async () => app.close());

function get(first: number, last: number, more = ''): string {
  return `GET /bytes HTTP/1.1\r\nHost: localhost\r\nRange: bytes=${first}-${last}\r\n${more}\r\n`;
}

/** Answers to many requests on one connection, taken apart by the length that each tells. */
async function answersOn(socket: Socket, count: number): Promise<readonly { head: string; body: Buffer }[]> {
  let rest = Buffer.alloc(0);
  const answers: { head: string; body: Buffer }[] = [];
  while (answers.length < count) {
    const end = rest.indexOf('\r\n\r\n');
    const head = end < 0 ? '' : rest.toString('latin1', 0, end);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
    if (end < 0 || rest.length < end + 4 + length) {
      const [piece] = (await once(socket, 'data')) as [Buffer];
      rest = Buffer.concat([rest, piece]);
      continue;
    }
    answers.push({ head, body: rest.subarray(end + 4, end + 4 + length) });
    rest = rest.subarray(end + 4 + length);
  }
  assert.equal(rest.length, 0, 'nothing comes behind the last answer');
  return answers;
}

describe('a short answer', () => {
  test('is one piece of the connection, with the head that Node would have made', async () => {
    const socket = connect(portOf(app.server), '127.0.0.1');
    // Longer bytes go Node's way.
    const long = { first: 1, last: 64 * KiB };
    socket.write(get(1, 4) + get(long.first, long.last));
    const [whole, nodes] = await answersOn(socket, 2);
    socket.destroy();
    assert.deepEqual(whole?.head.split('\r\n'), [
      'HTTP/1.1 206 Partial Content',
      'request-id: made',
      'content-type: application/octet-stream',
      'accept-ranges: bytes',
      'etag: "thing-3"',
      'image-generation: 3',
      `content-range: bytes 1-4/${content.length}`,
      'content-length: 4',
      'Date: Mon, 30 Nov 2026 12:00:00 GMT',
      'Connection: keep-alive',
      'Keep-Alive: timeout=72',
    ]);
    assert.ok(whole.body.equals(content.subarray(1, 5)));
    const plain = (head = ''): readonly string[] =>
      head.split('\r\n').filter((line) => !/^(?:content-range|content-length|date)/i.test(line));
    assert.deepEqual(plain(whole.head), plain(nodes?.head));
    assert.ok(nodes?.body.equals(content.subarray(long.first, long.last + 1)));
  });

  test('is dated anew, also by a clock that is set back', async () => {
    for (const [nowMs, date] of [
      [today + 61_000, 'Mon, 30 Nov 2026 12:01:01 GMT'],
      [today + 61_999, 'Mon, 30 Nov 2026 12:01:01 GMT'],
      [today + 62_000, 'Mon, 30 Nov 2026 12:01:02 GMT'],
      [today - 3_600_000, 'Mon, 30 Nov 2026 11:00:00 GMT'],
      [today, 'Mon, 30 Nov 2026 12:00:00 GMT'],
    ] as const) {
      state.nowMs = nowMs;
      const { headers } = await exchange(app.server, get(0, 0), { waitMs: 200 });
      assert.equal(headers.get('date'), date);
    }
  });

  test('keeps its place and its bytes behind others that the client has not taken', async () => {
    const socket = connect(portOf(app.server), '127.0.0.1');
    socket.pause();
    // More than the system takes for a client that reads nothing.
    const spans = Array.from({ length: 600 }, (_, index) => [index * 7, index * 7 + 31 * KiB] as const);
    for (const [first, last] of spans) {
      socket.write(get(first, last));
      // One after the other is answered: of those that come together only the first leaves whole.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    // Others are answered meanwhile, from the same place.
    const other = connect(portOf(app.server), '127.0.0.1');
    for (let round = 0; round < 4; round += 1) {
      other.write(get(200 * KiB, 231 * KiB));
      const [answer] = await answersOn(other, 1);
      assert.ok(answer?.body.equals(content.subarray(200 * KiB, 231 * KiB + 1)));
    }
    other.destroy();
    socket.resume();
    const answers = await answersOn(socket, spans.length);
    socket.destroy();
    for (const [index, [first, last]] of spans.entries()) {
      assert.ok(answers[index]?.body.equals(content.subarray(first, last + 1)), `answer ${index} has its own bytes`);
    }
  });

  test('ends the connection of a client that wants that, or cannot keep it', async () => {
    for (const request of [
      get(1, 4, 'Connection: close\r\n'),
      'GET /bytes HTTP/1.0\r\nHost: localhost\r\nRange: bytes=1-4\r\n\r\n',
    ]) {
      const startedAt = performance.now();
      const { status, headers, body } = await exchange(app.server, request, { waitMs: 10_000 });
      assert.ok(performance.now() - startedAt < 9_000, 'the server has closed the connection');
      assert.deepEqual([status, headers.get('connection'), body.length], [206, 'close', 4]);
    }
  });

  test('ends the connection where the service says so', async () => {
    state.headers = { connection: 'close' };
    const { status, text, body } = await exchange(app.server, get(1, 4), { waitMs: 10_000 });
    state.headers = {};
    assert.deepEqual([status, body.length], [206, 4]);
    assert.deepEqual(text.match(/^connection: .*$/gim), ['connection: close']);
  });

  test('says once what was said of other bytes before', async () => {
    state.headers = { 'etag': '"older"', 'content-length': '9' };
    const { status, text, body } = await exchange(app.server, get(1, 4), { waitMs: 300 });
    state.headers = {};
    assert.deepEqual([status, body.length], [206, 4]);
    assert.deepEqual(text.match(/^(?:etag|content-length): .*$/gim), ['etag: "thing-3"', 'content-length: 4']);
  });

  test('has no headers that its values would add', async () => {
    state.headers = { 'content-disposition': 'x\r\nset-cookie: y' };
    const { status, text } = await exchange(app.server, get(1, 4), { waitMs: 1_000 });
    state.headers = {};
    assert.equal(status, 500);
    assert.doesNotMatch(text, /set-cookie/);
  });

  test('has its own bytes over TLS, many connections side by side', async () => {
    const pem = (name: string): Buffer => readFileSync(new URL(`../support/localhost-${name}.pem`, import.meta.url));
    const secret = await serveBytes({ cert: pem('cert'), key: pem('key') });
    const drive = async (seed: number): Promise<void> => {
      const socket = connectTls({ port: portOf(secret.server), host: '127.0.0.1', rejectUnauthorized: false });
      for (let round = 0; round < 30; round += 1) {
        const first = (seed * 7919 + round * 104_729) % (content.length - 31 * KiB);
        socket.write(get(first, first + 31 * KiB - 1));
        const [answer] = await answersOn(socket, 1);
        assert.match(answer?.head ?? '', /^HTTP\/1\.1 206 /);
        assert.ok(answer?.body.equals(content.subarray(first, first + 31 * KiB)));
      }
      socket.destroy();
    };
    await Promise.all(Array.from({ length: 8 }, (_, seed) => drive(seed)));
    await secret.close();
  });
});
