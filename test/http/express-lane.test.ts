import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, Server } from 'node:http';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';
import { pino } from 'pino';

import { allRoutes } from '../../routes/index.ts';
import { demandOf } from '../../routes/operation-scopes.ts';
import { Fault } from '../../src/base/fault.ts';
import { KiB } from '../../src/base/units.ts';
import { ExpressLane } from '../../src/http/express-lane.ts';
import type { ExpressOptions } from '../../src/http/express-lane.ts';
import { RequestMetrics } from '../../src/http/request-metrics.ts';
import type { App } from '../../src/http/schema.ts';
import { createServer } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';
import { fuzzSeed } from '../support/fuzz-seed.ts';
import { exchange, portOf } from '../support/raw-http.ts';
import { houseEngine } from '../support/service-engine.ts';
import { newImage, openHouse, writeAt } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { pattern } from '../support/test-service.ts';

const size = 96 * KiB;
const content = pattern(size, 3);
/** What the two servers differ in. */
const ways = ['express', 'framework'] as const;
type Way = (typeof ways)[number];

/** One image behind two servers: requests pass one of them by, and go through the other. */
interface Twins extends AsyncDisposable {
  readonly house: ServiceHouse;
  readonly apps: Readonly<Record<Way, App>>;
  readonly metrics: Readonly<Record<Way, RequestMetrics>>;
  readonly state: { draining: boolean };
  /** How many requests the framework of the first has seen. */
  readonly seen: () => number;
}

const reader = { name: 'r', scope: 'read' } as const;

async function makeTwins(hasTokens: boolean): Promise<Twins> {
  const house = await openHouse({ engine: houseEngine });
  await house.services.images.create(newImage({ name: 'vm', virtualSize: size }));
  await writeAt(house.services, 'vm', 0, Buffer.from(content));
  const state = { draining: false };
  let seen = 0;
  const tokens = hasTokens ? { find: (token: string) => (token === 'known' ? reader : undefined) } : undefined;
  const metrics = { express: new RequestMetrics(), framework: new RequestMetrics() };
  const made = async (way: Way): Promise<App> => {
    const express = way === 'express' ? new WatchedLane(() => (seen += 1)) : new ExpressLane();
    const app = await createServer({
      ...bareServer(),
      tokens,
      demandOf,
      metrics: metrics[way],
      express: way === 'express' ? express : new ExpressLane(),
      isDraining: () => state.draining,
    });
    const parts = { services: house.services, identity: { name: 'qcowd', version: '0' }, isDraining: () => false };
    const processFigures = () => ({ residentBytes: 0, cpuSeconds: 0 });
    await app.register(allRoutes({ ...parts, express, metrics: metrics[way], processFigures }));
    return app;
  };
  const apps = { express: await made('express'), framework: await made('framework') };
  for (const way of ways) await apps[way].listen({ host: '127.0.0.1', port: 0 });
  const end = async (): Promise<void> => {
    house.services.prepareToStop();
    for (const way of ways) await apps[way].close();
    await house[Symbol.asyncDispose]();
  };
  return { house, apps, metrics, state, seen: () => seen, [Symbol.asyncDispose]: end };
}

/** Tells of each request that it leaves to the framework. */
class WatchedLane extends ExpressLane {
  readonly #onLeft: () => void;

  constructor(onLeft: () => void) {
    super();
    this.#onLeft = onLeft;
  }

  override open(server: Server, options: ExpressOptions): void {
    server.prependListener('request', this.#onLeft);
    super.open(server, options);
  }
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string;
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
after(() => agent.destroy());

/** All of an answer but its date. */
async function ask(app: App, { method, path, headers, body }: Asked) {
  // Node's client sends the body of a GET without saying so.
  const said = body === '' ? headers : { ...headers, 'content-length': body.length };
  const asked = request({ agent, port: portOf(app.server), host: '127.0.0.1', method, path, headers: said });
  asked.end(body === '' ? undefined : body);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of answer) pieces.push(piece as Buffer);
  const { date, ...others } = answer.headers;
  assert.ok(Math.abs(Date.parse(String(date)) - Date.now()) < 60_000, 'an answer has the date of today');
  return { status: answer.statusCode, headers: others, body: Buffer.concat(pieces) };
}

/** Mostly what has a short answer, and every way not to have one. */
function requests({ imageId, leaseId }: { readonly imageId: string; readonly leaseId: string }): fc.Arbitrary<Asked> {
  const lengths = fc.constantFrom(1, 2, 512, 4 * KiB, 32 * KiB - 1, 32 * KiB, 64 * KiB);
  const plain = fc
    .tuple(fc.integer({ min: 0, max: size + 10 }), lengths)
    .map(([first, length]) => `bytes=${first}-${first + length - 1}`);
  const tag = `"${imageId}-2"`;
  const said: [string, string][] = [
    ...named('request-id', 'mine', 'no id at all', 'a'.repeat(129)),
    ...named('if-match', tag, '"other"', '*', `"other", ${tag}`),
    ...named('if-none-match', tag, '"other"', '*', `W/${tag}`),
    ...named('if-range', tag, '"other"'),
    ...named('lease-id', leaseId, 'lease_unknown'),
    ...named('fencing-token', '1', '9', 'x'),
    ...named('want-content-digest', 'sha-256=1', 'sha-256=0', 'md5=1'),
    ...named('image-passphrase', ':YQ==:', 'x'),
    ...named('content-encoding', 'identity', 'gzip'),
    ...named('expect', '100-continue', 'magic'),
    ...named('connection', 'close', 'keep-alive'),
    ...named('host', 'elsewhere.example', 'localhost'),
    ...named('authorization', 'Bearer known', 'Bearer unknown', 'Basic eDp5'),
    ['origin', 'https://elsewhere.example'],
    ['sec-fetch-site', 'cross-site'],
  ];
  const some = fc.subarray(said, { maxLength: 3 });
  const range = fc.oneof({ weight: 6, arbitrary: plain }, { weight: 1, arbitrary: fc.constantFrom(...oddRanges) });
  return fc.record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'GET', 'GET', 'HEAD', 'POST'),
    path: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom('/v1/images/vm/data', `/v1/images/${imageId}/data`) },
      { weight: 1, arbitrary: fc.constantFrom(...oddPaths) },
    ),
    headers: fc.tuple(fc.option(range, { freq: 12, nil: undefined }), some).map(([wanted, others]) => ({
      ...(wanted === undefined ? {} : { range: wanted }),
      ...Object.fromEntries(others),
    })),
    body: fc.constantFrom('', '', '', '', '', '', '{}'),
  });
}

function named(name: string, ...values: readonly string[]): [string, string][] {
  return values.map((value) => [name, value]);
}

const oddRanges = [
  ...['bytes=0-0,5-6', 'bytes=5-6, 7-9', 'bytes=-7', 'bytes=9-', 'bytes=9-3', 'bytes= 1-2', 'Bytes=1-2', 'items=1-2'],
  ...['bytes=99999999999999999-', `bytes=0-${size}`, `bytes=${size}-${size}`, ''],
];

const oddPaths = [
  ...['nobody', 'v%6d', 'img_1', '.', 'vm%00', 'VM', 'vm/'].map((name) => `/v1/images/${name}/data`),
  ...['/', '?', '?generation=1', '?generation=2', '?x=1', '#a', ';a'].map((tail) => `/v1/images/vm/data${tail}`),
  ...['/v1/images//data', '/V1/images/vm/data', '/v1/images/vm/DATA', '//v1/images/vm/data'],
];

describe('a request has the same answer on the express lane and in the framework', () => {
  for (const hasTokens of [false, true]) {
    test(hasTokens ? 'where tokens are asked for' : 'where no tokens are asked for', async () => {
      await using twins = await makeTwins(hasTokens);
      const { id: imageId } = await twins.house.services.images.show('vm');
      const options = { mode: 'shared', ttlMs: 60_000, owner: undefined, key: undefined } as const;
      const { id: leaseId } = await twins.house.services.leases.acquire('vm', options);
      let count = 0;
      let plain = 0;
      const known = hasTokens ? { authorization: 'Bearer known' } : {};
      await fc.assert(
        fc.asyncProperty(requests({ imageId, leaseId }), async (wanted) => {
          const asked = { ...wanted, headers: { ...known, ...wanted.headers } };
          count += 1;
          const seenBefore = twins.seen();
          const express = await ask(twins.apps.express, asked);
          if (twins.seen() === seenBefore) plain += 1;
          assert.deepEqual(express, await ask(twins.apps.framework, asked));
        }),
        { seed: fuzzSeed(), numRuns: 600 },
      );
      assert.ok(plain > count / 10 && plain < count, `${plain} of ${count} requests passed the framework by`);
    });
  }
});

test('what fails on the express lane is told by the framework, and not done again', async () => {
  const express = new ExpressLane();
  const lines: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) });
  await using app = await createServer({ ...bareServer(), express, log });
  let done = 0;
  const errors = [new Fault('engine-busy', { waitedMs: 7 }), new Error('a bug')];
  app.get('/things/:name', async () => {
    done += 1;
    return {};
  });
  express.add({
    operation: 'none',
    path: /^\/things\/(\w+)$/,
    contentType: 'application/octet-stream',
    cacheControl: 'no-store',
    answer: async (name) => {
      const error = errors[Number(name)];
      if (error !== undefined) throw error;
      return undefined;
    },
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const get = async (name: string) => {
    const { status, body } = await ask(app, { method: 'GET', path: `/things/${name}`, headers: {}, body: '' });
    return [status, (JSON.parse(body.toString()) as { readonly code?: string }).code];
  };
  assert.deepEqual(await get('0'), [503, 'engine-busy']);
  assert.deepEqual(await get('1'), [500, 'internal']);
  assert.equal(done, 0);
  assert.match(lines.join(''), /a bug/);
  assert.deepEqual(await get('2'), [200, undefined]);
  assert.equal(done, 1);
});

describe('the express lane', () => {
  let twins: Twins;
  before(async () => {
    twins = await makeTwins(false);
  });
  after(async () => twins[Symbol.asyncDispose]());

  const short: Asked = { method: 'GET', path: '/v1/images/vm/data', headers: { range: 'bytes=7-106' }, body: '' };
  async function passesBy(asked: Asked): Promise<boolean> {
    const seenBefore = twins.seen();
    const answer = await ask(twins.apps.express, asked);
    if (answer.status === 206)
      assert.ok(answer.body.equals(content.subarray(7, 107)), 'the bytes are those of the image');
    return twins.seen() === seenBefore;
  }

  test('takes a short range, with a condition, a digest, a name of its own and a lease', async () => {
    const { id } = await twins.house.services.images.show('vm');
    const headers = [
      {},
      { 'if-match': `"${id}-2"` },
      { 'if-none-match': '"other"' },
      { 'if-range': `"${id}-2"` },
      { 'want-content-digest': 'sha-256=1' },
      { 'request-id': 'mine' },
    ];
    for (const more of headers) {
      assert.ok(await passesBy({ ...short, headers: { ...short.headers, ...more } }), JSON.stringify(more));
    }
  });

  test('leaves to the framework what it has to explain', async () => {
    for (const asked of [
      { ...short, method: 'HEAD' },
      { ...short, headers: {} },
      { ...short, path: '/v1/images/nobody/data' },
      { ...short, headers: { ...short.headers, host: 'elsewhere.example' } },
      { ...short, headers: { ...short.headers, 'if-match': '"other"' } },
      { ...short, headers: { ...short.headers, 'content-encoding': 'gzip' } },
      { ...short, body: '{}' },
      { ...short, headers: { ...short.headers, 'image-passphrase': ':YQ==:' } },
      { ...short, headers: { ...short.headers, connection: 'close' } },
    ]) {
      assert.equal(await passesBy(asked), false, JSON.stringify(asked));
    }
  });

  test('leaves a body in pieces to the framework, and how they are packed', async () => {
    const head = 'GET /v1/images/vm/data HTTP/1.1\r\nHost: localhost\r\nRange: bytes=7-106\r\n';
    for (const [coding, status] of [
      ['gzip, chunked', 400],
      ['chunked', 206],
    ] as const) {
      const seenBefore = twins.seen();
      const sent = `${head}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`;
      assert.equal((await exchange(twins.apps.express.server, sent, { waitMs: 500 })).status, status);
      assert.equal(twins.seen(), seenBefore + 1);
    }
  });

  test('is shut while the service stops', async () => {
    twins.state.draining = true;
    const answer = await ask(twins.apps.express, short);
    twins.state.draining = false;
    assert.deepEqual([answer.status, answer.headers.connection], [503, 'close']);
  });

  test('is counted as the framework counts', async () => {
    const lines = (way: Way): readonly string[] => {
      const samples = twins.metrics[way].families().flatMap((family) => {
        return family.samples.map(({ suffix, labels, value }) => ({ name: family.name + suffix, labels, value }));
      });
      const counted = samples.filter(({ name, labels }) => {
        return (
          name === 'qcowd_http_requests_total' && labels['operation'] === 'readImageData' && labels['status'] === '206'
        );
      });
      return counted.map(({ value }) => String(value));
    };
    const [old = '0'] = lines('express');
    for (let round = 0; round < 5; round += 1) assert.ok(await passesBy(short));
    assert.deepEqual(lines('express'), [String(Number(old) + 5)]);
  });
});
