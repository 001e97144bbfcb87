import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Response } from 'supertest';

import { explainProblems } from '../../src/http/problem.ts';
import { makeLuksImage } from '../support/luks-image.ts';
import { exchange } from '../support/raw-http.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { hardProvocations, metIn } from '../support/provocations.ts';
import type { Provocation } from '../support/provocations.ts';
import { codeOf, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: MiB });
  await service.create({ name: 'base', virtualSize: MiB });
  await service.create({ name: 'top', backing: { image: 'base' } });
  await service.create({ name: 'away', virtualSize: MiB });
  await service.post('/v1/images/away/detach').expect(200);
  await service.create({ name: 'safe', virtualSize: MiB });
  await service.patch('/v1/images/safe', { protected: true }).expect(200);
  await service.create({ name: 'old', virtualSize: MiB, compat: '0.10' });
  await service.post('/v1/images/old/snapshots', { name: 's1' }).expect(201);
  using folder = tempFolder();
  makeLuksImage(join(folder.path, 'secret.qcow2'), {});
  await service
    .put('/v1/imports/secret')
    .send(readFileSync(join(folder.path, 'secret.qcow2')))
    .expect(201);
  await service.post('/v1/images/top/snapshots', { name: 's1' }).expect(201);
});
after(async () => service[Symbol.asyncDispose]());

const put = (range: string, bytes: string) =>
  service.put('/v1/images/vm/data').set('Content-Range', range).send(Buffer.from(bytes));

/** How a client meets each problem. */
const provocations: Readonly<Record<string, () => PromiseLike<Response>>> = {
  'invalid-request': () => service.post('/v1/images', { name: 'x', bogus: 1 }),
  'invalid-content-range': () => put('bytes 1-0/*', 'x'),
  'content-range-mismatch': () => put('bytes 0-9/*', 'x'),
  'digest-mismatch': () =>
    put('bytes 0-0/*', 'x').set('Content-Digest', `sha-256=:${Buffer.alloc(32).toString('base64')}:`),
  'forbidden': () => service.get('/v1/images').set('Host', 'elsewhere.example'),
  'image-not-found': () => service.get('/v1/images/nobody'),
  'snapshot-not-found': () => service.get('/v1/images/vm/snapshots/none'),
  'route-not-found': () => service.get('/v1/nothing'),
  'method-not-allowed': () => service.put('/v1/images'),
  'name-conflict': () => service.post('/v1/images', { name: 'vm', virtualSize: 1 }),
  'image-detached': () => service.get('/v1/images/away/data'),
  'image-protected': () => service.delete('/v1/images/safe'),
  'image-has-dependents': () => service.delete('/v1/images/base'),
  'writes-lost': () => service.post('/v1/images/vm/flush', { writeEpoch: 'another' }),
  'shrink-not-allowed': () => service.post('/v1/images/vm/resize', { virtualSize: 512 }),
  'snapshots-prevent-resize': () => service.post('/v1/images/old/resize', { virtualSize: 2 * MiB }),
  'snapshots-need-backing': () => service.post('/v1/images/top/flatten'),
  'precondition-failed': () => service.get('/v1/images/vm/data').set('If-Match', '"x"'),
  'content-too-large': () => service.post('/v1/images', { name: 'x', description: 'x'.repeat(2 * MiB) }),
  'uri-too-long': () => service.get(`/v1/images?name=${'x'.repeat(20_000)}`),
  'headers-too-large': () => service.get('/v1/images').set('X-Long', 'x'.repeat(40_000)),
  'unsupported-media-type': () => service.post('/v1/images').set('Content-Type', 'text/plain').send('x'),
  'range-not-satisfiable': () => service.get('/v1/images/vm/data').set('Range', `bytes=${MiB}-`),
  'unsafe-image': () => service.put('/v1/imports/foreign').send(Buffer.alloc(4096, 1)),
  'invalid-geometry': () => service.post('/v1/images', { name: 'x', virtualSize: 1, clusterSize: 1000 }),
  'unsupported-option': () =>
    service.put('/v1/images/vm/data?compress=true').set('content-range', 'bytes 1-1/*').send(Buffer.from('x')),
  'size-mismatch': () => service.put('/v1/images/vm/data').send(Buffer.from('x')),
  'passphrase-required': () => service.get('/v1/images/secret/data'),
  'wrong-passphrase': () => service.post('/v1/images/secret/unlock', { passphrase: 'wrong' }),
  'insufficient-storage': () =>
    service.post('/v1/images', { name: 'x', virtualSize: 2 ** 49, preallocation: 'full', clusterSize: 2 * MiB }),
};

const all: Readonly<Record<string, Provocation>> = {
  ...Object.fromEntries(
    Object.entries(provocations).map(([code, provoke]) => [code, async () => metIn(await provoke())]),
  ),
  ...hardProvocations,
};

describe('every problem of the table (LIM-12)', () => {
  for (const [code, provoke] of Object.entries(all)) {
    test(`${code} is met by a client`, async () => {
      const { status, problem, ...met } = await provoke();
      const known = explainProblems().find((each) => each.code === code);
      assert.deepEqual([met.code, status], [code, known?.status], JSON.stringify(problem));
      const { type, instance, detail } = problem as Record<string, string>;
      assert.equal(type, `/problems/${code}`);
      assert.ok(instance?.startsWith('/'));
      assert.ok((detail ?? '').length > 20);
    });
  }

  test('is met here', () => {
    const known = explainProblems().map(({ code }) => code as string);
    assert.deepEqual(Object.keys(all).toSorted(), known.toSorted());
    assert.deepEqual(
      Object.keys(provocations).filter((code) => code in hardProvocations),
      [],
    );
  });
});

describe('what is malformed', () => {
  const wrong: readonly (readonly [string, object, string])[] = [
    ['an unknown member', { name: 'x', virtualSize: 512, bogus: 1 }, '/bogus'],
    ['text for a number', { name: 'x', virtualSize: '512' }, '/virtualSize'],
    ['a fraction', { name: 'x', virtualSize: 1.5 }, '/virtualSize'],
    ['a number below zero', { name: 'x', virtualSize: -1 }, '/virtualSize'],
    ['a number beyond 2^53', { name: 'x', virtualSize: 2 ** 53 }, '/virtualSize'],
    ['a member of another shape', { name: 'x', virtualSize: 512, backing: 'vm' }, '/backing'],
    ['an unknown member deep inside', { name: 'x', backing: { image: 'vm', bogus: 1 } }, '/backing/bogus'],
  ];
  for (const [what, body, pointer] of wrong) {
    test(`${what} is named by a pointer`, async () => {
      const answer = await service.post('/v1/images', body).expect(400);
      assert.deepEqual([codeOf(answer), pointersOf(answer)], ['invalid-request', [pointer]]);
    });
  }
});

describe('a client that leaves in the middle', () => {
  const leave = async (request: string): Promise<void> => {
    await exchange(service.application.server.server, request, { waitMs: 200 });
  };

  test('of an upload has written a prefix at most, and keeps nobody from writing', async () => {
    await service.write('vm', 0, Buffer.alloc(MiB, 1));
    const head = `PUT /v1/images/vm/data HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${MiB}\r\n\r\n`;
    await leave(`${head}${'2'.repeat(100_000)}`);
    const bytes = (await service.bytes('/v1/images/vm/data').expect(200)).body as Buffer;
    assert.ok(bytes.subarray(100_000).every((byte) => byte === 1));
    await service.write('vm', 0, Buffer.alloc(MiB, 3));
  });

  test('of an import leaves nothing, not even the name', async () => {
    const head = `PUT /v1/imports/left?format=raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${MiB}\r\n\r\n`;
    await leave(`${head}${'2'.repeat(100_000)}`);
    for (let tries = 0; tries < 300; tries += 1) {
      if ((await service.get('/v1/images/left')).status === 404) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await service.put('/v1/imports/left?format=raw').send(Buffer.alloc(512)).expect(201);
  });
});
