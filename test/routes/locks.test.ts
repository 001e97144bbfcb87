// Encrypted images over HTTP: locked, unlocked for everybody or for one request, and locked again.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Test } from 'supertest';

import { makeLuksImage, passphrase, passphraseHeader } from '../support/luks-image.ts';
import { startService } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const wrongHeader = { 'Image-Passphrase': `:${Buffer.from('wrong').toString('base64')}:` };
let service: TestService;
let file: Buffer;

before(async () => {
  service = await startTestService();
  using folder = tempFolder();
  const path = join(folder.path, 'luks.qcow2');
  makeLuksImage(path, {});
  file = readFileSync(path);
});
after(async () => service[Symbol.asyncDispose]());

async function take(name: string): Promise<void> {
  const answer = await service.put(`/v1/imports/${name}`).send(file).expect(201);
  assert.equal((answer.body as ImageBody)['encrypted'], true);
}

const write = (image: string, bytes: Buffer): Test =>
  service
    .put(`/v1/images/${image}/data`)
    .set('Content-Range', `bytes 0-${bytes.length - 1}/*`)
    .send(bytes);
const read = (image: string): Test => service.bytes(`/v1/images/${image}/data`).set('Range', 'bytes=0-3');
const unlock = (image: string): Test => service.post(`/v1/images/${image}/unlock`, { passphrase });

async function refuses(
  code: string,
  requests: readonly PromiseLike<{ status: number; body: unknown }>[],
): Promise<void> {
  for (const request of requests) {
    const { status, body } = await request;
    const problem = (Buffer.isBuffer(body) ? JSON.parse(body.toString()) : body) as { readonly code: string };
    assert.deepEqual([status, problem.code], [422, code]);
  }
}

describe('an encrypted image', () => {
  test('is taken in, shown, checked and kept in snapshots without its passphrase; its data is not', async () => {
    await take('locked');
    const { formatSpecific, encrypted } = (await service.get('/v1/images/locked/info').expect(200)).body as {
      readonly formatSpecific: { readonly data: { readonly encrypt: Record<string, unknown> } };
      readonly encrypted: boolean;
    };
    assert.equal(encrypted, true);
    const { format, cipherAlg, cipherMode, ivgenAlg, hashAlg, payloadOffset } = formatSpecific.data.encrypt;
    assert.deepEqual(
      [format, cipherAlg, cipherMode, ivgenAlg, hashAlg, payloadOffset],
      ['luks', 'aes-256', 'xts', 'plain64', 'sha256', 2_068_480],
    );
    const report = (await service.post('/v1/images/locked/check').expect(200)).body as { readonly clean: boolean };
    assert.equal(report.clean, true);
    await service.post('/v1/images/locked/snapshots', { name: 's1' }).expect(201);
    await service.post('/v1/images/locked/snapshots/s1/revert').expect(200);
    await service.get('/v1/images/locked/extents').expect(200);
    await refuses('passphrase-required', [
      read('locked'),
      service.bytes('/v1/images/locked/snapshots/s1/data'),
      write('locked', Buffer.from('data')),
      service.post('/v1/images/locked/zero', { offset: 0, length: 512 }),
      service.post('/v1/images/locked/discard', { offset: 0, length: MiB }),
      service.post('/v1/images/locked/resize', { virtualSize: 2 * MiB }),
      service.bytes('/v1/images/locked/file'),
    ]);
    await service.delete('/v1/images/locked/snapshots/s1').expect(204);
    await service.delete('/v1/images/locked').expect(204);
  });

  test('is opened by the passphrase of a request for that request alone', async () => {
    await take('mine');
    await write('mine', Buffer.from('data')).set(passphraseHeader).expect(204);
    assert.equal(String((await read('mine').set(passphraseHeader).expect(206)).body), 'data');
    await refuses('passphrase-required', [read('mine')]);
    await refuses('wrong-passphrase', [
      read('mine').set(wrongHeader),
      write('mine', Buffer.from('none')).set(wrongHeader),
    ]);
    const exported = await service.bytes('/v1/images/mine/file?format=raw').set(passphraseHeader).expect(200);
    assert.equal((exported.body as Buffer).subarray(0, 4).toString(), 'data');
    const big = pattern(300_000, 5);
    await write('mine', big).set(passphraseHeader).expect(204);
    await service.post('/v1/images/mine/zero', { offset: 0, length: 1 }).set(passphraseHeader).expect(204);
    await service
      .post('/v1/images/mine/resize', { virtualSize: 2 * MiB })
      .set(passphraseHeader)
      .expect(200);
    const whole = (await service.bytes('/v1/images/mine/data').set(passphraseHeader).expect(200)).body as Buffer;
    assert.ok(whole.subarray(1, big.length).equals(big.subarray(1)));
    const malformed = await service.get('/v1/images/mine/data').set('Image-Passphrase', passphrase);
    assert.deepEqual([malformed.status, pointersOf(malformed)], [400, ['/image-passphrase']]);
    assert.doesNotMatch(malformed.text, new RegExp(passphrase));
    await service.create({ name: 'plain', virtualSize: 512 });
    await refuses('unsupported-option', [read('plain').set(passphraseHeader)]);
  });

  test('is open to everybody between unlock and lock, closed for idleness or not', async () => {
    await take('open');
    await refuses('wrong-passphrase', [service.post('/v1/images/open/unlock', { passphrase: 'wrong' })]);
    await refuses('passphrase-required', [read('open')]);
    await unlock('open').expect(204);
    await write('open', Buffer.from('data')).expect(204);
    await service.post('/v1/images/open/snapshots', { name: 's1' }).expect(201);
    await refuses('wrong-passphrase', [read('open').set(wrongHeader)]);
    assert.equal(String((await read('open').expect(206)).body), 'data');
    assert.equal(String((await read('open').set(passphraseHeader).expect(206)).body), 'data');
    assert.equal(String((await read('open').expect(206)).body), 'data');
    await service.post('/v1/images/open/lock').expect(204);
    await service.post('/v1/images/open/lock').expect(204);
    await refuses('passphrase-required', [read('open')]);
    await unlock('open').expect(204);
    await service.post('/v1/images/open/detach').expect(200);
    assert.equal(codeOf(await unlock('open')), 'image-detached');
    await service.post('/v1/images/open/attach').expect(200);
    await refuses('passphrase-required', [read('open')]);
    await service.create({ name: 'never', virtualSize: 512 });
    await refuses('unsupported-option', [unlock('never')]);
    await service.post('/v1/images/never/lock').expect(204);
  });

  test('shows through images above it while it is unlocked itself', async () => {
    await take('base');
    await unlock('base').expect(204);
    await write('base', Buffer.from('data')).expect(204);
    await service.create({ name: 'top', backing: { image: 'base' } });
    assert.equal(String((await read('top').expect(206)).body), 'data');
    await service.post('/v1/images/base/lock').expect(204);
    const refused = await service.get('/v1/images/top/data');
    assert.equal((refused.body as { readonly layersBelow: number }).layersBelow, 1);
    const untouched = await service.bytes('/v1/images/top/file?layer=top').expect(200);
    assert.ok((untouched.body as Buffer).length > 0);
    await refuses('passphrase-required', [
      read('top'),
      write('top', Buffer.from('none')),
      service.post('/v1/images/top/zero', { offset: 0, length: 1 }),
    ]);
    await refuses('passphrase-required', [
      service.post('/v1/images/top/compare', { with: 'plain' }),
      service.post('/v1/images/plain/compare', { with: 'top' }),
    ]);
    await unlock('base').expect(204);
    for (const [one, other] of [
      ['plain', 'top'],
      ['top', 'plain'],
    ] as const) {
      const compared = await service.post(`/v1/images/${one}/compare`, { with: other }).expect(200);
      assert.deepEqual(compared.body, { identical: false, firstDifference: 0 });
    }
    await service.post('/v1/images/top/zero', { offset: 0, length: 1 }).expect(204);
    assert.equal(String((await read('top').expect(206)).body), '\0ata');
    const { layers } = (await service.get('/v1/images/top/chain').expect(200)).body as {
      readonly layers: readonly { readonly encrypted: boolean }[];
    };
    assert.deepEqual(
      layers.map(({ encrypted }) => encrypted),
      [false, true],
    );
  });
});

describe('a new image', () => {
  const luks = { format: 'luks', passphrase, iterTimeMs: 1 };
  const create = (name: string, encryption: object, more: object = {}): Test =>
    service.post('/v1/images', { name, virtualSize: MiB, encryption, ...more });

  test('is encrypted as it is wanted, and locked', async () => {
    const made = await create('new', luks).set('Idempotency-Key', 'new').expect(201);
    assert.equal((made.body as ImageBody)['encrypted'], true);
    const again = await create('new', { ...luks, passphrase: 'another' })
      .set('Idempotency-Key', 'new')
      .expect(201);
    assert.deepEqual(again.body, made.body);
    assert.equal(
      codeOf(await create('new', { format: 'aes', passphrase }).set('Idempotency-Key', 'new')),
      'idempotency-key-reused',
    );
    await refuses('passphrase-required', [read('new')]);
    await refuses('wrong-passphrase', [read('new').set(wrongHeader)]);
    await unlock('new').expect(204);
    await write('new', Buffer.from('data')).expect(204);
    // What is packed would be stored in clear text.
    await refuses('unsupported-option', [service.put('/v1/images/new/data?compress=true').send(Buffer.alloc(MiB, 1))]);
    assert.equal(String((await read('new').expect(206)).body), 'data');
    await create('old', { format: 'aes', passphrase }).expect(201);
    await write('old', Buffer.from('data')).set(passphraseHeader).expect(204);
    assert.equal(String((await read('old').set(passphraseHeader).expect(206)).body), 'data');
    await create('both', luks, { backing: { image: 'new' } }).expect(201);
    await write('both', Buffer.from('D')).set(passphraseHeader).expect(204);
    assert.equal(String((await read('both').set(passphraseHeader).expect(206)).body), 'Data');
  });

  test('is not made with what does not go together', async () => {
    for (const [encryption, pointer] of [
      [{ format: 'aes', passphrase, cipherAlg: 'aes-256' }, '/encryption/format'],
      [{ ...luks, passphrase: '' }, '/encryption/passphrase'],
      [{ ...luks, cipherAlg: 'camellia-256' }, '/encryption/cipherAlg'],
      [{ ...luks, iterTimeMs: 1e6 }, '/encryption/iterTimeMs'],
    ] as const) {
      const refused = await create('none', encryption);
      assert.deepEqual([refused.status, pointersOf(refused)], [400, [pointer]]);
      assert.ok(!refused.text.includes(passphrase));
    }
    await refuses('unsupported-option', [
      create('none', { ...luks, ivgenHashAlg: 'sha256' }),
      create('none', { ...luks, cipherAlg: 'aes-192', cipherMode: 'cbc' }),
      create('none', { ...luks, cipherAlg: 'cast5-128' }),
      create('none', { ...luks, cipherAlg: 'cast5-128', cipherMode: 'cbc', ivgenAlg: 'essiv' }),
    ]);
    assert.equal((await service.get('/v1/images/none')).status, 404);
  });
});

describe('key slots', () => {
  const amend = (encryption: object): Test => service.post('/v1/images/slots/amend', { encryption });
  const opens = async (word: string): Promise<boolean> =>
    (await service.post('/v1/images/slots/unlock', { passphrase: word })).status === 204;

  test('take a passphrase more, and one less', async () => {
    await take('slots');
    const second = { state: 'active', newPassphrase: 'second', iterTimeMs: 1 };
    await refuses('passphrase-required', [amend(second)]);
    await refuses('wrong-passphrase', [amend({ ...second, passphrase: 'wrong' })]);
    const earlier = (await service.get('/v1/images/slots')).body as ImageBody;
    const amended = await amend({ ...second, passphrase }).expect(200);
    const { version } = amended.body as ImageBody;
    assert.ok(version > earlier.version);
    assert.equal(amended.headers['etag'], `"${version}"`);
    assert.deepEqual([await opens('second'), await opens(passphrase)], [true, true]);
    await amend({ ...second, newPassphrase: 'third', slot: 6 }).expect(200);
    await refuses('unsupported-option', [
      amend({ ...second, slot: 6 }),
      service.post('/v1/images/plain/amend', { encryption: second }),
    ]);
    await read('slots').set(passphraseHeader).expect(206);
    await amend({ state: 'inactive', passphrase }).expect(200);
    await refuses('wrong-passphrase', [amend({ state: 'inactive', passphrase }), read('slots').set(passphraseHeader)]);
    await refuses('wrong-passphrase', [
      amend({ state: 'inactive', slot: 6, passphrase: 'second' }),
      amend({ state: 'inactive', slot: 5, passphrase: 'third' }),
    ]);
    assert.ok(await opens('third'));
    await amend({ state: 'inactive', slot: 6, passphrase: 'third' }).expect(200);
    await amend({ state: 'inactive', slot: 6 }).expect(200);
    assert.deepEqual([await opens('second'), await opens('third')], [true, false]);
    await refuses('unsupported-option', [
      amend({ state: 'inactive', passphrase: 'second' }),
      amend({ state: 'inactive', slot: 1 }),
      amend({ state: 'inactive' }),
    ]);
    assert.ok(await opens('second'));
    const both = await service.post('/v1/images/slots/amend', { compat: '0.10', encryption: second });
    assert.deepEqual([both.status, pointersOf(both)], [400, ['/encryption']]);
    assert.deepEqual(pointersOf(await amend({ state: 'active' })), ['/encryption/newPassphrase']);
  });
});

describe('a passphrase', () => {
  test('is nowhere in the data folder and in no line of the log, and forgotten by a restart', async () => {
    using folder = tempFolder();
    const settings = { QCOWD_DATA_DIR: folder.path, QCOWD_LOG_LEVEL: 'trace', QCOWD_IMAGE_IDLE_MS: '1' };
    const secrets = [passphrase, ...Object.values(passphraseHeader).map((value) => value.slice(1, -1))];
    let log = '';
    {
      await using first = await startService(settings);
      for (const stream of [first.child.stdout, first.child.stderr]) {
        stream?.on('data', (piece: Buffer) => {
          log += piece.toString();
        });
      }
      const send = (path: string, init: RequestInit): Promise<Response> => fetch(`${first.url}${path}`, init);
      const json = { 'content-type': 'application/json' };
      const body = JSON.stringify({ passphrase });
      const encryption = { format: 'luks', passphrase, iterTimeMs: 1 };
      const wish = JSON.stringify({ name: 'made', virtualSize: MiB, preallocation: 'full', encryption });
      const asked = { ...json, 'prefer': 'respond-async', 'idempotency-key': 'made' };
      assert.equal((await send('/v1/images', { method: 'POST', headers: asked, body: wish })).status, 202);
      assert.equal((await send('/v1/imports/vm', { method: 'PUT', body: new Uint8Array(file) })).status, 201);
      assert.equal((await send('/v1/images/vm/data', { headers: passphraseHeader })).status, 200);
      const raw = { method: 'PUT', headers: passphraseHeader, body: new Uint8Array(1000) };
      const query = 'format=raw&encryption=luks&iterTimeMs=1';
      assert.equal((await send(`/v1/imports/raw?${query}`, raw)).status, 201);
      const copying = { ...json, ...passphraseHeader, 'prefer': 'respond-async', 'idempotency-key': 'copy' };
      const copy = { method: 'POST', headers: copying, body: JSON.stringify({ name: 'copy', encryption }) };
      assert.equal((await send('/v1/images/raw/copy', copy)).status, 202);
      const headers = { ...json, ...passphraseHeader, 'prefer': 'respond-async', 'idempotency-key': 'k' };
      await send('/v1/images/vm/zero', { method: 'POST', headers, body: '{"offset":0,"length":1048576}' });
      await send('/v1/images/vm/unlock', {
        method: 'POST',
        headers: json,
        body: `{"passphrase":"${passphrase}","x":1}`,
      });
      assert.equal((await send('/v1/images/vm/unlock', { method: 'POST', headers: json, body })).status, 204);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal((await send('/v1/images/vm/data', {})).status, 200, 'an image that was idle is still unlocked');
      assert.equal(await first.end('SIGTERM'), 0);
    }
    assert.match(log, /unlockImage/);
    const kept = filesBelow(folder.path).map((path) => readFileSync(path));
    assert.ok(kept.length > 1);
    for (const secret of secrets) {
      assert.ok(!log.includes(secret), 'not in the log');
      assert.ok(!kept.some((bytes) => bytes.includes(secret)), 'not in a file');
    }
    await using second = await startService(settings);
    assert.equal((await fetch(`${second.url}/v1/images/vm/data`)).status, 422);
  });
});

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
