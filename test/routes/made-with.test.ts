// What images are made with when bytes come in or are copied: encryption, and a data file beside them.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Test } from 'supertest';

import { passphrase, passphraseHeader } from '../support/luks-image.ts';
import { exchange } from '../support/raw-http.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const luks = 'format=raw&encryption=luks&iterTimeMs=1';
/** With zeroes in between, and an end that is no whole cluster. */
const body = Buffer.concat([pattern(300_000, 1), Buffer.alloc(500_000), pattern(100_000, 2)]);
const disk = Buffer.concat([body, Buffer.alloc(Math.ceil(body.length / 512) * 512 - body.length)]);
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

const take = (name: string, query: string): Test => service.put(`/v1/imports/${name}?${query}`);

async function bytesOf(image: string, headers: Readonly<Record<string, string>> = {}): Promise<Buffer> {
  const asked = service.bytes(`/v1/images/${image}/data`).set(headers);
  return (await asked.expect(200)).body as Buffer;
}

async function isClean(image: string): Promise<boolean> {
  const report = (await service.post(`/v1/images/${image}/check`).expect(200)).body as { readonly clean: boolean };
  return report.clean;
}

function fileOf(id: string, suffix: string): string {
  return join(service.folder, 'images', `${id}.${suffix}`);
}

describe('raw bytes that come in', () => {
  test('are encrypted, as it is wanted and with the passphrase of the request, and locked', async () => {
    for (const [name, query] of [
      ['luks', luks],
      [
        'cbc',
        `${luks}&cipherAlg=aes-128&cipherMode=cbc&ivgenAlg=essiv&ivgenHashAlg=sha256&hashAlg=sha1&extendedL2=true`,
      ],
      ['aes', 'format=raw&encryption=aes&compat=0.10'],
      ['full', `${luks}&preallocation=full&cipherAlg=serpent-256&cipherMode=ctr`],
      ['sm4', `${luks}&cipherAlg=sm4&hashAlg=sm3`],
      ['cast5', `${luks}&cipherAlg=cast5-128&cipherMode=cbc&ivgenAlg=essiv&ivgenHashAlg=md5&hashAlg=md5`],
    ] as const) {
      const answer = await take(name, query).set(passphraseHeader).send(body).expect(201);
      const image = answer.body as ImageBody;
      assert.deepEqual([image['encrypted'], image.virtualSize], [true, disk.length]);
      assert.equal(codeOf(await service.get(`/v1/images/${name}/data`)), 'passphrase-required');
      assert.ok(disk.equals(await bytesOf(name, passphraseHeader)), name);
      assert.ok(await isClean(name), name);
      const file = readFileSync(fileOf(image.id, 'qcow2'));
      assert.ok(!file.includes(body.subarray(1000, 1064)), 'nothing of it is in clear text');
      assert.ok(!file.includes(passphrase));
    }
    const { formatSpecific } = (await service.get('/v1/images/sm4/info').expect(200)).body as {
      readonly formatSpecific: { readonly data: { readonly encrypt: Record<string, unknown> } };
    };
    const { cipherAlg, hashAlg } = formatSpecific.data.encrypt;
    assert.deepEqual([cipherAlg, hashAlg], ['sm4', 'sm3']);
  });

  test('are encrypted when nobody says how many come, and none, too', async () => {
    const key = `Image-Passphrase: ${passphraseHeader['Image-Passphrase']}`;
    const { server } = service.application.server;
    for (const [name, text] of [
      ['chunked', 'some text '.repeat(20_000)],
      ['empty', ''],
    ] as const) {
      const head = `PUT /v1/imports/${name}?${luks} HTTP/1.1\r\nHost: localhost\r\n${key}\r\nConnection: close\r\n`;
      const chunk = text === '' ? '' : `${text.length.toString(16)}\r\n${text}\r\n`;
      const request = `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`;
      assert.equal((await exchange(server, request, { waitMs: 30_000 })).status, 201);
      const found = await bytesOf(name, passphraseHeader);
      assert.equal(found.toString('latin1').replace(/\0+$/, ''), text);
      assert.ok(await isClean(name));
    }
  });

  test('lie in a file beside the image, which is the disk itself when it is to be', async () => {
    for (const [name, raw] of [
      ['beside', false],
      ['itself', true],
    ] as const) {
      const answer = await take(name, `format=raw&dataFile=true&dataFileRaw=${String(raw)}`)
        .send(body)
        .expect(201);
      const { id } = answer.body as ImageBody;
      assert.ok(disk.equals(await bytesOf(name)));
      assert.ok(await isClean(name));
      await service.post(`/v1/images/${name}/detach`).expect(200);
      const data = readFileSync(fileOf(id, 'data'));
      if (raw) assert.ok(data.equals(disk));
      assert.ok(!readFileSync(fileOf(id, 'qcow2')).includes(body.subarray(1000, 1064)));
      await service.delete(`/v1/images/${name}`).expect(204);
      assert.ok(!existsSync(fileOf(id, 'data')));
    }
    const both = take('locked-beside', `${luks}&dataFile=true`).set(passphraseHeader);
    const { id } = (await both.send(body).expect(201)).body as ImageBody;
    assert.ok(disk.equals(await bytesOf('locked-beside', passphraseHeader)));
    assert.ok(!readFileSync(fileOf(id, 'data')).includes(body.subarray(1000, 1064)));
  });

  test('are refused where that cannot be, and leave nothing', async () => {
    for (const [query, headers, status, said] of [
      [luks, {}, 422, 'passphrase-required'],
      ['format=raw', passphraseHeader, 422, 'unsupported-option'],
      [`${luks}&compress=true`, passphraseHeader, 422, 'unsupported-option'],
      ['format=raw&dataFile=true&compress=true', {}, 422, 'unsupported-option'],
      ['format=raw&dataFile=true&compat=0.10', {}, 422, 'unsupported-option'],
      ['encryption=luks', passphraseHeader, 400, '/encryption'],
      ['dataFile=true', {}, 400, '/dataFile'],
      ['format=raw&dataFileRaw=true', {}, 400, '/dataFileRaw'],
      ['format=raw&cipherAlg=aes-128', passphraseHeader, 400, '/cipherAlg'],
      ['format=raw&encryption=aes&hashAlg=sha1', passphraseHeader, 400, '/hashAlg'],
      ['format=raw&encryption=twofish', passphraseHeader, 400, '/encryption'],
    ] as const) {
      const refused = await take('refused', query).set(headers).send(body);
      const found = status === 400 ? pointersOf(refused).join() : codeOf(refused);
      assert.deepEqual([refused.status, found], [status, said], query);
    }
    const wrong = take('refused', `${luks}&dataFile=true&digest=sha256:${'0'.repeat(64)}`).set(passphraseHeader);
    assert.equal(codeOf(await wrong.send(body)), 'digest-mismatch');
    assert.equal((await service.get('/v1/images/refused')).status, 404);
    assert.deepEqual(readdirSync(join(service.folder, 'staging')), []);
  });
});

describe('a copy', () => {
  const encryption = { format: 'luks', passphrase, iterTimeMs: 1 };
  const copy = (image: string, wish: object): Test => service.post(`/v1/images/${image}/copy`, wish);

  before(async () => {
    await service.create({ name: 'ground', virtualSize: MiB });
    await service.write('ground', 100, pattern(300_000, 3));
    await service.create({ name: 'source', backing: { image: 'ground' } });
    await service.write('source', 700_001, pattern(100_000, 4));
  });

  test('is encrypted, or keeps its data in a file beside it, as it is wanted', async () => {
    const content = await bytesOf('source');
    const made = await copy('source', { name: 'secret', encryption }).set('Idempotency-Key', 'c').expect(201);
    const other = { ...encryption, passphrase: 'another' };
    const again = await copy('source', { name: 'secret', encryption: other }).set('Idempotency-Key', 'c').expect(201);
    assert.deepEqual(again.body, made.body);
    assert.equal(codeOf(await service.get('/v1/images/secret/data')), 'passphrase-required');
    assert.ok(content.equals(await bytesOf('secret', passphraseHeader)));
    // From one encryption to another; what is left out is plain.
    await copy('secret', { name: 'old', encryption: { format: 'aes', passphrase } })
      .set(passphraseHeader)
      .expect(201);
    assert.ok(content.equals(await bytesOf('old', passphraseHeader)));
    await copy('secret', { name: 'open' }).set(passphraseHeader).expect(201);
    assert.ok(content.equals(await bytesOf('open')));
    const { id } = (await copy('source', { name: 'raw', dataFile: { raw: true } }).expect(201)).body as ImageBody;
    assert.ok(content.equals(await bytesOf('raw')));
    assert.ok(readFileSync(fileOf(id, 'data')).equals(content));
    await copy('raw', { name: 'whole', dataFile: {}, encryption }).expect(201);
    assert.ok(content.equals(await bytesOf('whole', passphraseHeader)));
    await copy('source', { name: 'overlay', mode: 'linked', encryption }).expect(201);
    assert.ok(content.equals(await bytesOf('overlay', passphraseHeader)));
    for (const name of ['secret', 'old', 'open', 'raw', 'whole']) assert.ok(await isClean(name), name);
  });

  test('is not packed where that would be in clear text or outside the image, and leaves nothing then (CMP-10, T41)', async () => {
    for (const wish of [{ encryption }, { dataFile: {} }, { encryption, compress: true, mode: 'linked' }]) {
      const refused = await copy('source', { name: 'none', compress: true, ...wish });
      assert.deepEqual([refused.status, codeOf(refused)], [422, 'unsupported-option'], JSON.stringify(wish));
    }
    const raw = await copy('ground', { name: 'none', mode: 'linked', dataFile: { raw: true } });
    assert.equal(codeOf(raw), 'unsupported-option');
    assert.equal((await service.get('/v1/images/none')).status, 404);
    assert.deepEqual(readdirSync(join(service.folder, 'staging')), []);
  });
});
