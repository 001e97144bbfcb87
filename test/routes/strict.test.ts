// What no route takes: options in the wrong place, bodies where none belongs, packed bytes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { exchange } from '../support/raw-http.ts';
import { codeOf, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: 1_048_576 });
});
after(async () => service[Symbol.asyncDispose]());

describe('an option in the wrong place', () => {
  test('is refused in the query of a route that takes none', async () => {
    for (const answer of [
      await service.post('/v1/images/vm/check?repair=all', undefined),
      await service.get('/v1?repair=all'),
      await service.get('/v1/images/vm?repair=all'),
      await service.get('/v1/images/vm/info?repair=all'),
      await service.delete('/v1/images/vm?repair=all'),
    ]) {
      assert.deepEqual([answer.status, pointersOf(answer)], [400, ['/repair']]);
    }
    await service.get('/v1/images/vm').expect(200);
  });

  test('is refused in the body of a route that takes none', async () => {
    await service.post('/v1/images/vm/snapshots', { name: 's1' }).expect(201);
    const answer = await service.post('/v1/images/vm/snapshots/s1/revert', { force: true });
    assert.deepEqual([answer.status, pointersOf(answer)], [400, ['/force']]);
    await service.post('/v1/images/vm/snapshots/s1/revert', {}).expect(200);
  });

  test('is let pass where somebody else may have put it', async () => {
    await service.get('/healthz?from=balancer').expect(200);
  });
});

describe('a path without a name where a name belongs', () => {
  test('is no path', async () => {
    for (const path of ['/v1/images/', '/v1/images//data', '/v1/images//snapshots/', '/v1/jobs/']) {
      const answer = await service.get(path);
      assert.deepEqual([answer.status, codeOf(answer)], [404, 'route-not-found'], path);
    }
  });
});

describe('a cursor', () => {
  before(async () => {
    await service.create({ name: 'second', virtualSize: 1_048_576 });
    for (const name of ['a', 'b']) await service.post('/v1/images/vm/snapshots', { name }).expect(201);
  });

  test('of nothing, of another list or of other filters is refused', async () => {
    const cursorOf = async (path: string): Promise<string> => {
      const { nextCursor } = (await service.get(path).expect(200)).body as { readonly nextCursor: string };
      assert.equal(typeof nextCursor, 'string', path);
      return nextCursor;
    };
    const images = await cursorOf('/v1/images?limit=1');
    const snapshots = await cursorOf('/v1/images/vm/snapshots?limit=1');
    await service.get(`/v1/images?limit=7&cursor=${images}`).expect(200);
    for (const path of [
      '/v1/images?cursor=zzz',
      `/v1/images?cursor=${images.slice(0, -1)}`,
      `/v1/images?cursor=${snapshots}`,
      `/v1/images?state=ready&cursor=${images}`,
      '/v1/jobs?cursor=zzz',
      `/v1/jobs?cursor=${images}`,
      `/v1/images/vm/snapshots?cursor=${images}`,
      `/v1/images/second/snapshots?cursor=${snapshots}`,
      `/v1/images/vm/extents?cursor=${images}`,
      `/v1/images/vm/leases?cursor=${images}`,
    ]) {
      const answer = await service.get(path);
      assert.equal(answer.status, 400, `${path}: ${answer.text}`);
      assert.deepEqual(pointersOf(answer), ['/cursor'], path);
    }
  });
});

test('an empty form, as curl sends it for no data, is no body; one with something in it is refused', async () => {
  const flush = (form: string) =>
    service.post('/v1/images/vm/flush').set('Content-Type', 'application/x-www-form-urlencoded').send(form);
  assert.equal((await flush('')).status, 204);
  const answer = await flush('writeEpoch=x');
  assert.deepEqual([answer.status, codeOf(answer)], [415, 'unsupported-media-type']);
});

test('packed bytes are refused, and nothing is written', async () => {
  const answer = await service
    .put('/v1/images/vm/data')
    .set('Content-Range', 'bytes 0-3/*')
    .set('Content-Encoding', 'gzip')
    .send(Buffer.from('abcd'));
  assert.deepEqual([answer.status, codeOf(answer)], [415, 'unsupported-media-type']);
  const stored = await service.bytes('/v1/images/vm/data').set('Range', 'bytes=0-3');
  assert.deepEqual(stored.body, Buffer.alloc(4));
});

test('bytes under a transfer coding that nobody undoes are refused, and nothing is written', async () => {
  const head = [
    'PUT /v1/images/vm/data HTTP/1.1',
    'Host: localhost',
    'Connection: close',
    'Content-Range: bytes 0-3/*',
  ];
  for (const [coding, status] of [
    ['gzip, chunked', 400],
    ['Chunked', 204],
  ] as const) {
    const text = [...head, `Transfer-Encoding: ${coding}`, '', '4', 'abcd', '0', '', ''].join('\r\n');
    const answer = await exchange(service.application.server.server, text, { waitMs: 10_000 });
    assert.equal(answer.status, status, coding);
    const stored = await service.bytes('/v1/images/vm/data').set('Range', 'bytes=0-3');
    assert.deepEqual(stored.body, status === 204 ? Buffer.from('abcd') : Buffer.alloc(4), coding);
    if (status !== 204) assert.match(answer.body, /"pointer":"\/transfer-encoding"/);
  }
});

test('problems name what they are about', async () => {
  const whole = await service.post('/v1/images', undefined);
  assert.match((whole.body as { detail: string }).detail, /^The body is missing\./);
  const size = await service.post('/v1/images', { name: 'big', virtualSize: 9_007_199_254_740_480 });
  assert.match((size.body as { detail: string }).detail, /^virtualSize must be at most /);
  const resized = await service.post('/v1/images/vm/resize', { virtualSize: 9_007_199_254_740_480 });
  assert.match((resized.body as { detail: string }).detail, /^virtualSize 9007199254740480 is more than /);
  const ranges = Array.from({ length: 17 }, (_, index) => `${index * 2}-${index * 2}`).join(',');
  const many = await service.get('/v1/images/vm/data').set('Range', `bytes=${ranges}`);
  assert.match((many.body as { detail: string }).detail, /^The request asks for 17 separate ranges, .* at most 16\./);
});

test('a member that is missing is said to be', async () => {
  const answer = await service.post('/v1/images/vm/zero', { offset: 0 });
  assert.match((answer.body as { detail: string }).detail, /^\/length: is missing\./);
  const short = await service.put('/v1/images/vm/data').send(Buffer.from('x'));
  assert.match((short.body as { detail: string }).detail, /^The image holds 1048576 bytes\. /);
});

test('a value that breaks several rules is named once, with the narrowest of them', async () => {
  const answer = await service.post('/v1/images/vm/zero', { offset: -(2 ** 60), length: 2 ** 60 });
  assert.deepEqual([answer.status, pointersOf(answer)], [400, ['/offset', '/length']]);
  assert.match((answer.body as { detail: string }).detail, /^\/offset: must be at least 0\./);
});
