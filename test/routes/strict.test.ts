// What no route takes: options in the wrong place, bodies where none belongs, packed bytes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

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

test('problems name what they are about', async () => {
  const whole = await service.post('/v1/images', undefined);
  assert.match((whole.body as { detail: string }).detail, /^The request: /);
  const size = await service.post('/v1/images', { name: 'big', virtualSize: 9_007_199_254_740_480 });
  assert.match((size.body as { detail: string }).detail, /^virtualSize must be at most /);
  const resized = await service.post('/v1/images/vm/resize', { virtualSize: 9_007_199_254_740_480 });
  assert.match((resized.body as { detail: string }).detail, /^virtualSize 9007199254740480 is more than /);
});
