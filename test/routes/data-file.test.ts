import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

function dataPath(id: string): string {
  return join(service.folder, 'images', `${id}.data`);
}

async function make(name: string, wish: object): Promise<string> {
  const { id } = await service.create({ name, virtualSize: MiB, ...wish });
  return id;
}

describe('an image with a data file', () => {
  test('keeps its bytes there, and a raw one is the disk itself', async () => {
    const id = await make('raw', { dataFile: { raw: true } });
    const bytes = pattern(5000, 1);
    await service.write('raw', 100_000, bytes);
    await service.post('/v1/images/raw/discard', { offset: 0, length: 65_536 }).expect(204);
    const read = await service.bytes('/v1/images/raw/data').expect(200);
    await service.post('/v1/images/raw/detach').expect(200);
    assert.ok(readFileSync(dataPath(id)).equals(read.body as Buffer));
    assert.ok((read.body as Buffer).subarray(100_000, 105_000).equals(bytes));
    await service.post('/v1/images/raw/attach').expect(200);
    const { formatSpecific } = (await service.get('/v1/images/raw/info').expect(200)).body as {
      formatSpecific: { data: Record<string, unknown> };
    };
    assert.deepEqual([formatSpecific.data['dataFile'], formatSpecific.data['dataFileRaw']], [`${id}.data`, true]);
    const report = (await service.post('/v1/images/raw/check').expect(200)).body as { readonly clean: boolean };
    assert.equal(report.clean, true);
    const earlier = (await service.get('/v1/images/raw')).body as ImageBody;
    const amended = await service.post('/v1/images/raw/amend', { dataFileRaw: false }).expect(200);
    assert.ok((amended.body as ImageBody).version > earlier.version);
  });

  test('counts what both files occupy', async () => {
    const id = await make('counted', { dataFile: {} });
    await service.write('counted', 0, pattern(500_000, 2));
    const shown = (await service.get('/v1/images/counted').expect(200)).body as ImageBody;
    const occupied = ['qcow2', 'data'].map(
      (suffix) => statSync(join(service.folder, 'images', `${id}.${suffix}`)).blocks * 512,
    );
    assert.ok(Number(shown['allocatedSize']) >= (occupied[1] ?? 0));
    const usage = (await service.get('/v1/usage').expect(200)).body as { allocatedBytes: number };
    assert.ok(usage.allocatedBytes >= (occupied[0] ?? 0) + (occupied[1] ?? 0));
  });

  test('grows and shrinks with it, and goes with it', async () => {
    const id = await make('sized', { dataFile: { raw: true } });
    await service.post('/v1/images/sized/resize', { virtualSize: 2 * MiB }).expect(200);
    assert.equal(statSync(dataPath(id)).size, 2 * MiB);
    await service.post('/v1/images/sized/resize', { virtualSize: MiB / 2, allowShrink: true }).expect(200);
    assert.equal(statSync(dataPath(id)).size, MiB / 2);
    await service.delete('/v1/images/sized').expect(204);
    assert.equal(existsSync(dataPath(id)), false);
    assert.deepEqual(readdirSync(join(service.folder, 'staging')), []);
  });

  test('is exported as one file, and taken in as such', async () => {
    await make('whole', { dataFile: {} });
    const bytes = pattern(70_000, 3);
    await service.write('whole', 65_536, bytes);
    const file = (await service.bytes('/v1/images/whole/file').expect(200)).body as Buffer;
    await service.put('/v1/imports/copy').send(file).expect(201);
    const read = await service.bytes('/v1/images/copy/data').expect(200);
    assert.ok((read.body as Buffer).subarray(65_536, 135_536).equals(bytes));
  });

  test('may lie above and below another image', async () => {
    await make('below', { dataFile: {} });
    await service.write('below', 0, pattern(1000, 4));
    await make('above', { dataFile: {}, backing: { image: 'below' } });
    await service.write('above', 500, pattern(10, 5));
    const read = await service.bytes('/v1/images/above/data').set('Range', 'bytes=0-999').expect(206);
    const expected = Buffer.from(pattern(1000, 4));
    pattern(10, 5).copy(expected, 500);
    assert.ok(expected.equals(read.body as Buffer));
  });

  test('is refused where QEMU refuses it, and nothing is left (CRE-10, CRE-11, DAT-01)', async () => {
    await make('base', {});
    for (const wish of [
      { dataFile: {}, compat: '0.10' },
      { dataFile: { raw: true }, backing: { image: 'base' } },
    ]) {
      const answer = await service.post('/v1/images', { name: 'odd', virtualSize: MiB, ...wish });
      assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsupported-option']);
    }
    assert.equal((await service.get('/v1/images/odd')).status, 404);
    await make('plain', { dataFile: {} });
    const snapshot = await service.post('/v1/images/plain/snapshots', { name: 's' });
    assert.deepEqual([snapshot.status, codeOf(snapshot)], [422, 'unsupported-option']);
  });

  test('is not taken in from outside', async () => {
    const id = await make('outside', { dataFile: {} });
    await service.post('/v1/images/outside/detach').expect(200);
    const file = readFileSync(join(service.folder, 'images', `${id}.qcow2`));
    const answer = await service.put('/v1/imports/stolen').send(file);
    assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsafe-image']);
    assert.equal((answer.body as { violations: { code: string }[] }).violations[0]?.code, 'data-file-refused');
  });
});

test('a data file counts for nothing when a size is measured, as with qemu-img', async () => {
  const measure = async (options: object): Promise<unknown> =>
    (await service.post('/v1/measure', { virtualSize: 1024 * MiB, options }).expect(200)).body;
  assert.deepEqual(await measure({ dataFile: { raw: true } }), await measure({}));
});
