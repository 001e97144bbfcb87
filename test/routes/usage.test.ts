import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { printMetrics } from '../../src/http/prometheus.ts';
import { portOf } from '../support/raw-http.ts';
import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const MiB = 1024 * 1024;
let service: TestService;

before(async () => {
  service = await startTestService({
    QCOWD_QUOTA_BYTES: String(4 * MiB),
    QCOWD_L2_CACHE_BYTES: '262144',
    QCOWD_L2_CACHE_ENTRY_BYTES: '8192',
    QCOWD_REFCOUNT_CACHE_BYTES: '65536',
  });
});
after(async () => service[Symbol.asyncDispose]());

describe('caches', () => {
  test('are as the settings say, unless somebody asks for others (OPT-01, OPT-02, OPT-03)', async () => {
    const sizesOf = async (image: string): Promise<readonly unknown[]> => {
      const { caches } = (await service.get(`/v1/images/${image}/info`).expect(200)).body as Caches;
      return [caches.l2.bytesMax, caches.l2.entryBytes, caches.refcounts?.bytesMax];
    };
    for (const [name, clusterSize, entryBytes] of [
      ['usual', 65_536, 8192],
      ['small', 512, 512],
    ] as const) {
      await service.create({ name, virtualSize: 4096 * MiB, clusterSize });
      await service.write(name, 0, pattern(512, 1));
      assert.deepEqual(await sizesOf(name), [262_144, entryBytes, 65_536], name);
    }
    await service.patch('/v1/images/usual/runtime', { l2CacheBytes: 131_072 }).expect(200);
    assert.deepEqual(await sizesOf('usual'), [131_072, 8192, 65_536]);
    await service.patch('/v1/images/usual/runtime', { l2CacheBytes: 8192 * 15 }).expect(422);
    for (const name of ['usual', 'small']) await service.delete(`/v1/images/${name}`).expect(204);
  });
});

interface Caches {
  readonly caches: {
    readonly l2: { readonly bytesMax: number; readonly entryBytes: number };
    readonly refcounts?: { readonly bytesMax: number };
  };
}

describe('usage', () => {
  test('counts images, what they may hold and what they occupy', async () => {
    await service.create({ name: 'a', virtualSize: 64 * MiB });
    await service.create({ name: 'b', virtualSize: 8 * MiB });
    await service.write('a', 0, pattern(MiB, 1));
    const answer = await service.get('/v1/usage').expect(200);
    const usage = answer.body as Readonly<Record<string, number>>;
    assert.deepEqual([usage['images'], usage['virtualBytes'], usage['reservedBytes']], [2, 72 * MiB, 0]);
    assert.ok((usage['allocatedBytes'] ?? 0) >= MiB);
    assert.ok((usage['freeBytes'] ?? 0) > 0);
    assert.equal(usage['quotaBytes'], 4 * MiB);
  });

  test('keeps what needs space out when the quota is used up, and lets deletes through', async () => {
    const large = await service.put('/v1/imports/large?format=raw').send(pattern(5 * MiB, 2));
    assert.deepEqual([large.status, codeOf(large)], [413, 'quota-exceeded']);
    await untilRefused('a');
    const write = await service.put('/v1/images/a/data').set('Content-Range', 'bytes 0-511/*').send(pattern(512, 4));
    assert.deepEqual([write.status, codeOf(write)], [413, 'quota-exceeded']);
    const { quotaBytes } = write.body as { readonly quotaBytes: number };
    assert.equal(quotaBytes, 4 * MiB);
    assert.equal(codeOf(await service.post('/v1/images', { name: 'c', virtualSize: MiB })), 'quota-exceeded');
    await service.get('/v1/images/a/data').expect(200);
    await service.delete('/v1/images/a').expect(204);
    await untilMeasured();
    await service.write('b', 0, pattern(512, 5));
  });
});

describe('a long body', () => {
  test('is refused soon after it has used up the quota, and the answer says what was written', async () => {
    await service.create({ name: 'long', virtualSize: 16 * MiB });
    const answer = await sendSlowly('/v1/images/long/data', { length: 16 * MiB, piece: 6 * MiB });
    const problem = JSON.parse(answer.text) as { readonly code: string; readonly written: number };
    assert.deepEqual([answer.status, problem.code], [413, 'quota-exceeded']);
    assert.ok(problem.written > 0 && problem.written <= 6 * MiB, String(problem.written));
    await service.delete('/v1/images/long').expect(204);
    await untilMeasured();
  });
});

describe('the metrics', () => {
  test('count requests by operation and status, and the bytes that cross', async () => {
    const figuresBefore = figuresOf((await service.get('/metrics').expect(200)).text);
    await service.get('/v1/images/nobody').expect(404);
    await service.bytes('/v1/images/b/data').expect(200);
    const answer = await service.get('/metrics').expect(200);
    assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/);
    const figures = figuresOf(answer.text);
    const grown = (name: string): number => (figures.get(name) ?? 0) - (figuresBefore.get(name) ?? 0);
    assert.equal(grown('qcowd_http_requests_total{operation="getImage",status="404"}'), 1);
    assert.equal(grown('qcowd_http_requests_total{operation="readImageData",status="200"}'), 1);
    assert.equal(grown('qcowd_http_request_duration_seconds_count{operation="readImageData"}'), 1);
    assert.ok(grown('qcowd_http_sent_bytes_total') > 8 * MiB);
    assert.equal(figures.get('qcowd_images'), 1);
    assert.equal(figures.get('qcowd_engine_open_images'), 1);
    assert.ok((figures.get('process_resident_memory_bytes') ?? 0) > MiB);
  });

  test('tell how the caches of all images do, some time later', async () => {
    const cached = async (): Promise<readonly number[]> => {
      const figures = figuresOf((await service.get('/metrics').expect(200)).text);
      return ['bytes', 'hits_total', 'misses_total'].map((name) => figures.get(`qcowd_cache_${name}`) ?? -1);
    };
    await service.write('b', 0, Buffer.alloc(MiB, 1));
    while (!(await cached()).every((figure) => figure > 0)) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(((await cached())[0] ?? 0) < MiB);
  });

  test('are printed so that no label breaks a line', () => {
    const samples = [{ suffix: '_total', labels: { a: 'x"y\\z\n' }, value: 3 }];
    const text = printMetrics([{ name: 'some', help: 'Some.', type: 'counter', samples }]);
    assert.equal(text, '# HELP some Some.\n# TYPE some counter\nsome_total{a="x\\"y\\\\z\\n"} 3\n');
  });
});

function figuresOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

/** What is occupied is measured once a second. */
/** Fills an image until what is occupied was measured again. */
async function untilRefused(image: string): Promise<void> {
  for (let at = 0; ; at += MiB) {
    const write = service.put(`/v1/images/${image}/data`).set('Content-Range', `bytes ${at}-${at + MiB - 1}/*`);
    if ((await write.send(pattern(MiB, 3))).status === 413) return;
    assert.ok(at < 60 * MiB, 'the quota ends this');
    if (at >= 4 * MiB) await untilMeasured();
  }
}

/** A piece of the body, a pause in which what is occupied can be measured again, and then the rest. */
async function sendSlowly(
  path: string,
  { length, piece }: { readonly length: number; readonly piece: number },
): Promise<{ readonly status: number | undefined; readonly text: string }> {
  const port = portOf(service.application.server.server);
  const headers = { 'content-length': length, 'content-range': `bytes 0-${length - 1}/*` };
  const sending = request({ port, path, method: 'PUT', headers });
  sending.on('error', () => undefined);
  const answered = once(sending, 'response') as Promise<[IncomingMessage]>;
  sending.write(pattern(piece, 6));
  await untilMeasured();
  sending.write(pattern(piece, 7));
  const [response] = await answered;
  const text = (await response.toArray()).join('');
  sending.destroy();
  return { status: response.statusCode, text };
}

async function untilMeasured(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1_100));
}
