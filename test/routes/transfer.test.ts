import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { exchange } from '../support/raw-http.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const size = 1_048_576;
const content = Buffer.concat([pattern(200_000, 1), Buffer.alloc(size - 200_000)]);
let service: TestService;
let file: Buffer;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'source', virtualSize: size });
  await service.write('source', 0, content.subarray(0, 200_000));
  file = (await service.bytes('/v1/images/source/file').expect(200)).body as Buffer;
});
after(async () => service[Symbol.asyncDispose]());

const staged = (): readonly string[] => readdirSync(join(service.folder, 'staging'));

describe('an exported file', () => {
  test('has its exact length, a name and a tag', async () => {
    const answer = await service.bytes('/v1/images/source/file').expect(200);
    assert.equal(answer.headers['content-length'], String(file.length));
    assert.equal(answer.headers['content-disposition'], 'attachment; filename="source.qcow2"');
    assert.equal(answer.headers['accept-ranges'], 'bytes');
    assert.equal(file.subarray(0, 4).toString('latin1'), 'QFI\xfb');
    const head = await service.head('/v1/images/source/file').expect(200);
    assert.deepEqual(
      [head.headers['content-length'], head.headers['etag']],
      [String(file.length), answer.headers['etag']],
    );
  });

  test('can be fetched in parts and gone on with while it is the same', async () => {
    const whole = await service.head('/v1/images/source/file');
    const tag = String(whole.headers['etag']);
    const rest = await service
      .bytes('/v1/images/source/file')
      .set('Range', 'bytes=70000-')
      .set('If-Range', tag)
      .expect(206);
    assert.ok(file.subarray(70_000).equals(rest.body as Buffer));
    const done = await service.get('/v1/images/source/file').set('Range', `bytes=${file.length}-`);
    assert.deepEqual([done.status, done.headers['content-range']], [416, `bytes */${file.length}`]);
    await service.write('source', 0, content.subarray(0, 1));
    const changed = await service.bytes('/v1/images/source/file').set('Range', 'bytes=70000-').set('If-Range', tag);
    assert.equal(changed.status, 200);
    assert.equal((await service.get('/v1/images/source/file').set('If-Match', tag)).status, 412);
    assert.equal((await service.get('/v1/images/source/file?generation=0')).status, 412);
  });

  test('may be raw, or of a snapshot', async () => {
    const raw = await service.bytes('/v1/images/source/file?format=raw').expect(200);
    assert.ok(content.equals(raw.body as Buffer));
    assert.equal(raw.headers['content-disposition'], 'attachment; filename="source.raw"');
    await service.post('/v1/images/source/snapshots', { name: 's' }).expect(201);
    await service.write('source', 0, Buffer.from('changed'));
    const then = await service.bytes('/v1/images/source/file?format=raw&snapshot=s').expect(200);
    assert.equal(then.headers['content-disposition'], 'attachment; filename="source-snapshot-1.raw"');
    assert.ok(content.equals(then.body as Buffer));
    await service.write('source', 0, content.subarray(0, 7));
  });

  test('may be compressed: shorter, of known length, the same each time, and nothing of it stays', async () => {
    const words = Buffer.alloc(200_000, 'words and words ');
    await service.create({ name: 'soft', virtualSize: size });
    await service.write('soft', 0, words);
    const address = '/v1/images/soft/file?compress=true';
    const answer = await service.bytes(address).expect(200);
    const packed = answer.body as Buffer;
    assert.equal(answer.headers['content-length'], String(packed.length));
    const plain = await service.head('/v1/images/soft/file').expect(200);
    assert.ok(packed.length < Number(plain.headers['content-length']));
    assert.notEqual(answer.headers['etag'], plain.headers['etag']);
    const head = await service.head(address).expect(200);
    assert.deepEqual(
      [head.headers['content-length'], head.headers['etag']],
      [String(packed.length), answer.headers['etag']],
    );
    const tag = String(answer.headers['etag']);
    const rest = await service.bytes(address).set('Range', 'bytes=5000-').set('If-Range', tag).expect(206);
    assert.ok(packed.subarray(5000).equals(rest.body as Buffer));
    assert.deepEqual(staged(), []);
    await service.put('/v1/imports/unpacked').send(packed).expect(201);
    const data = (await service.bytes('/v1/images/unpacked/data').expect(200)).body as Buffer;
    assert.ok(data.equals(Buffer.concat([words, Buffer.alloc(size - words.length)])));
    const check = await service.post('/v1/images/unpacked/check').expect(200);
    assert.equal((check.body as { compressedClusters: number }).compressedClusters, 4);
  });

  test('is refused for what is not there or cannot be done', async () => {
    assert.equal(codeOf(await service.get('/v1/images/nobody/file')), 'image-not-found');
    assert.equal(codeOf(await service.get('/v1/images/source/file?snapshot=none')), 'snapshot-not-found');
    assert.equal(codeOf(await service.get('/v1/images/source/file?format=raw&compress=true')), 'unsupported-option');
    assert.deepEqual(pointersOf(await service.get('/v1/images/source/file?format=vmdk&x=1')).toSorted(), [
      '/format',
      '/x',
    ]);
  });
});

describe('an imported file', () => {
  test('becomes an image with the same bytes', async () => {
    const answer = await service.put('/v1/imports/copy').send(file);
    assert.equal(answer.status, 201);
    const image = answer.body as ImageBody;
    assert.deepEqual([image.name, image.virtualSize, image['state']], ['copy', size, 'ready']);
    assert.equal(answer.headers['location'], `/v1/images/${image.id}`);
    const read = await service.bytes('/v1/images/copy/data').expect(200);
    assert.ok(content.equals(read.body as Buffer));
    assert.deepEqual(staged(), []);
  });

  test('may be raw, with the options of create', async () => {
    const answer = await service
      .put('/v1/imports/raw?format=raw&clusterSize=4096&description=d&label=a:b')
      .send(content);
    assert.equal(answer.status, 201);
    const image = answer.body as ImageBody;
    assert.deepEqual(
      [image['clusterSize'], image.virtualSize, image['description'], image['labels']],
      [4096, size, 'd', { a: 'b' }],
    );
    assert.ok(Number(image['allocatedSize']) < size / 2);
    const read = await service.bytes('/v1/images/raw/data').expect(200);
    assert.ok(content.equals(read.body as Buffer));
  });

  test('is judged by its digest', async () => {
    const digest = hash('sha256', file, 'hex');
    await service.put(`/v1/imports/digested?digest=sha256:${digest}`).send(file).expect(201);
    const wrong = await service.put(`/v1/imports/wrong?digest=sha256:${'0'.repeat(64)}`).send(file);
    assert.deepEqual([wrong.status, codeOf(wrong)], [400, 'digest-mismatch']);
    assert.deepEqual(pointersOf(await service.put('/v1/imports/wrong?digest=md5:00').send(file)), ['/digest']);
    assert.equal((await service.get('/v1/images/wrong')).status, 404);
    assert.deepEqual(staged(), []);
  });

  test('that is not what was declared is refused, and nothing is left of it (OPS-01)', async () => {
    const answer = await service.put('/v1/imports/odd').send(content);
    assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsafe-image']);
    assert.ok((answer.body as { violations: unknown[] }).violations.length > 0);
    assert.equal((await service.get('/v1/images/odd')).status, 404);
    assert.deepEqual(staged(), []);
  });

  test('under a taken name is refused before its body', async () => {
    const head =
      'PUT /v1/imports/source HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n';
    const answer = await exchange(service.application.server.server, head, { waitMs: 10_000 });
    assert.equal(answer.status, 409);
    assert.doesNotMatch(answer.text, /100 Continue/);
  });

  test('that is refused is no job, wanted at once or not', async () => {
    const taken = service.put('/v1/imports/source?format=raw').set('Prefer', 'respond-async').send(content);
    assert.equal(codeOf(await taken), 'name-conflict');
    const head = 'PUT /v1/imports/left?format=raw HTTP/1.1\r\nHost: localhost\r\nPrefer: respond-async\r\n';
    const body = `Content-Length: ${size}\r\n\r\n${'x'.repeat(65_536)}`;
    await exchange(service.application.server.server, head + body, { waitMs: 500 });
    while ((await service.get('/v1/images/left')).status !== 404) await new Promise(setImmediate);
    const jobs = (await service.get('/v1/jobs').expect(200)).body as { items: readonly object[] };
    assert.deepEqual(jobs.items, []);
  });

  test('that breaks off leaves nothing', async () => {
    const head = 'PUT /v1/imports/broken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n';
    await exchange(service.application.server.server, head + file.subarray(0, 1000).toString('latin1'), {
      waitMs: 300,
    });
    // The file goes first, then the row.
    for (let tries = 0; (await service.get('/v1/images/broken')).status !== 404 && tries < 100; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal((await service.get('/v1/images/broken')).status, 404);
    assert.deepEqual(staged(), []);
  });

  test('is refused with options of the other format, as a part, and as a form', async () => {
    assert.deepEqual(pointersOf(await service.put('/v1/imports/x?clusterSize=512').send(file)), ['/clusterSize']);
    assert.deepEqual(pointersOf(await service.put('/v1/imports/x?format=raw&backing=source').send(file)), ['/backing']);
    assert.deepEqual(pointersOf(await service.put('/v1/imports/img_x').send(file)), ['/name']);
    assert.deepEqual(pointersOf(await service.put('/v1/imports/x').set('Content-Range', 'bytes 0-9/*').send(file)), [
      '/content-range',
    ]);
    const form = await service.put('/v1/imports/x').set('Content-Type', 'multipart/form-data; boundary=b').send('x');
    assert.equal(form.status, 415);
  });
});
