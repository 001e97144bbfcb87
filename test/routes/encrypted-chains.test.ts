// Chains with encrypted images over HTTP: unlocked for everybody, or with one passphrase for each of them in a request.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Test } from 'supertest';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;
const ids = new Map<string, string>();

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

/** What a request says of these passphrases. */
function bring(...passphrases: readonly string[]): { readonly 'Image-Passphrase': string } {
  return { 'Image-Passphrase': passphrases.map((one) => `:${Buffer.from(one).toString('base64')}:`).join(', ') };
}

/** An image that its name opens, if it is encrypted. */
async function make(name: string, more: { readonly encrypted: boolean; readonly below?: string }): Promise<void> {
  const encryption = more.encrypted ? { format: 'luks', passphrase: name, iterTimeMs: 1 } : undefined;
  const backing = more.below === undefined ? undefined : { image: more.below };
  ids.set(name, (await service.create({ name, virtualSize: 2 * MiB, encryption, backing })).id);
}

const post = (path: string, body: object, keys: readonly string[]): Test => {
  const asked = service.post(`/v1/images/${path}`, body);
  return keys.length === 0 ? asked : asked.set(bring(...keys));
};

async function write(image: string, offset: number, bytes: Buffer, keys: readonly string[]): Promise<void> {
  const range = `bytes ${offset}-${offset + bytes.length - 1}/*`;
  const asked = service.put(`/v1/images/${image}/data`).set('Content-Range', range);
  await (keys.length === 0 ? asked : asked.set(bring(...keys))).send(bytes).expect(204);
}

async function disk(image: string, keys: readonly string[]): Promise<Buffer> {
  const asked = service.bytes(`/v1/images/${image}/data`);
  return (await (keys.length === 0 ? asked : asked.set(bring(...keys))).expect(200)).body as Buffer;
}

/** The bytes of an image's file as they are now. */
async function fileOf(name: string): Promise<Buffer> {
  const id = ids.get(name);
  assert.ok(id !== undefined);
  return readFileSync(join(service.folder, 'images', `${id}.qcow2`));
}

async function unlock(...names: readonly string[]): Promise<void> {
  for (const name of names) await service.post(`/v1/images/${name}/unlock`, { passphrase: name }).expect(204);
}

describe('passphrases of one request', () => {
  test('are for the encrypted images of the chain, the image itself first', async () => {
    await make('one-base', { encrypted: true });
    await write('one-base', 0, pattern(MiB, 1), ['one-base']);
    await make('one-plain', { encrypted: false, below: 'one-base' });
    await make('one-top', { encrypted: true, below: 'one-plain' });
    const content = await disk('one-base', ['one-base']);
    assert.ok(content.equals(await disk('one-plain', ['one-base'])));
    assert.ok(content.equals(await disk('one-top', ['one-top', 'one-base'])));
    await write('one-top', 1000, pattern(5000, 2), ['one-top', 'one-base']);
    pattern(5000, 2).copy(content, 1000);
    for (const [keys, code] of [
      [['one-base', 'one-top'], 'wrong-passphrase'],
      [['one-top', 'wrong'], 'wrong-passphrase'],
      [['one-top'], 'passphrase-required'],
      [['one-top', 'one-base', 'one-base'], 'unsupported-option'],
      [[], 'passphrase-required'],
    ] as const) {
      const refused = await post('one-top/digest', {}, keys);
      assert.deepEqual([refused.status, codeOf(refused)], [422, code], keys.join());
    }
    // What one request has opened is closed to the next one, and open to whoever has unlocked it.
    await unlock('one-base');
    assert.ok(content.equals(await disk('one-top', ['one-top'])));
    await service.post('/v1/images/one-base/lock').expect(204);
    const malformed = await service.get('/v1/images/one-top/data').set('Image-Passphrase', ':b25l:, b25l');
    assert.deepEqual([malformed.status, pointersOf(malformed)], [400, ['/image-passphrase']]);
    assert.doesNotMatch(malformed.text, /b25l(?!j)/);
  });

  test('open what reads the image through its layers', async () => {
    const keys = ['one-top', 'one-base'];
    const content = await disk('one-top', keys);
    await service.post('/v1/images/one-top/snapshots', { name: 's' }).expect(201);
    const raw = await service.bytes('/v1/images/one-top/file?format=raw').set(bring(...keys));
    assert.ok(content.equals(raw.body as Buffer));
    const packed = service.bytes('/v1/images/one-top/file?compress=true').set(bring(...keys));
    const file = (await packed.expect(200)).body as Buffer;
    await service.put('/v1/imports/one-packed').send(file).expect(201);
    assert.ok(content.equals(await disk('one-packed', [])));
    const { items } = (await service.get('/v1/images/one-top/extents?hostOffset=true&layer=top').expect(200)).body as {
      items: readonly { readonly kind: string; readonly hostOffset?: number }[];
    };
    assert.ok(items.some(({ kind }) => kind === 'data') && items.every(({ hostOffset }) => hostOffset === undefined));
    const snapshot = await service.bytes('/v1/images/one-top/snapshots/s/data').set(bring(...keys));
    assert.ok(content.equals(snapshot.body as Buffer));
    await post('one-top/copy', { name: 'one-copy' }, keys).expect(201);
    assert.ok(content.equals(await disk('one-copy', [])));
    const same = { identical: true };
    assert.deepEqual((await post('one-top/compare', { with: 'one-copy' }, keys).expect(200)).body, same);
    assert.deepEqual((await post('one-copy/compare', { with: 'one-top' }, keys).expect(200)).body, same);
    // What both chains have is asked for once.
    await make('one-twin', { encrypted: true, below: 'one-plain' });
    await write('one-twin', 1000, pattern(5000, 2), ['one-twin', 'one-base']);
    const three = ['one-top', 'one-base', 'one-twin'];
    assert.deepEqual((await post('one-top/compare', { with: 'one-twin' }, three).expect(200)).body, same);
    const state = pattern(70_000, 3);
    const path = '/v1/images/one-top/snapshots/s/vmstate';
    assert.equal(codeOf(await service.put(path).send(state)), 'passphrase-required');
    await service
      .put(path)
      .set(bring(...keys))
      .send(state)
      .expect(204);
    assert.equal((await service.bytes(path)).status, 422);
    const kept = await service
      .bytes(path)
      .set(bring(...keys))
      .expect(200);
    assert.ok(state.equals(kept.body as Buffer));
  });
});

describe('a commit', () => {
  test('goes into and through encrypted images', async () => {
    await make('com-base', { encrypted: true });
    await make('com-mid', { encrypted: false, below: 'com-base' });
    await make('com-top', { encrypted: true, below: 'com-mid' });
    const keys = ['com-top', 'com-base'];
    await write('com-top', 300_000, pattern(200_000, 4), keys);
    await post('com-top/commit', {}, keys).expect(200);
    const content = await disk('com-top', keys);
    assert.ok(content.subarray(300_000, 500_000).equals(pattern(200_000, 4)));
    assert.ok(content.equals(await disk('com-mid', ['com-base'])));
    await unlock('com-top', 'com-base');
    await write('com-top', 0, pattern(1000, 5), []);
    await post('com-top/commit', { into: 'com-base' }, []).expect(200);
    const deeper = await disk('com-base', []);
    assert.ok(deeper.equals(await disk('com-top', [])));
    assert.ok(!(await fileOf('com-base')).includes(pattern(1000, 5).subarray(0, 64)), 'nothing of it is in clear text');
    for (const name of ['com-top', 'com-base']) await service.post(`/v1/images/${name}/lock`).expect(204);
    for (const image of ['com-base', 'com-mid', 'com-top']) {
      const { clean } = (await service.post(`/v1/images/${image}/check`).expect(200)).body as { clean: boolean };
      assert.ok(clean, image);
    }
  });
});

describe('a rebase', () => {
  test('goes onto an encrypted image that is unlocked, or whose passphrase comes along, and away again', async () => {
    for (const name of ['reb-one', 'reb-two']) {
      await make(name, { encrypted: name === 'reb-two' });
      await write(name, 0, pattern(MiB, name.length), name === 'reb-two' ? [name] : []);
    }
    await make('reb-top', { encrypted: true, below: 'reb-one' });
    await write('reb-top', 900_000, pattern(300_000, 6), ['reb-top']);
    const content = await disk('reb-top', ['reb-top']);
    const onto = (image: string | null, keys: readonly string[]): Test =>
      post('reb-top/rebase', { backing: image === null ? null : { image } }, keys);
    for (const [keys, code] of [
      [[], 'passphrase-required'],
      [['reb-top'], 'passphrase-required'],
      [['reb-top', 'wrong'], 'wrong-passphrase'],
      [['reb-top', 'reb-two', 'reb-two'], 'unsupported-option'],
    ] as const) {
      const refused = await onto('reb-two', keys);
      assert.deepEqual([refused.status, codeOf(refused)], [422, code], keys.join());
    }
    await onto('reb-two', ['reb-top', 'reb-two']).expect(200);
    assert.ok(content.equals(await disk('reb-top', ['reb-top', 'reb-two'])));
    assert.equal(codeOf(await post('reb-top/digest', {}, ['reb-top'])), 'passphrase-required');
    await unlock('reb-top', 'reb-two');
    await onto('reb-one', []).expect(200);
    assert.ok(content.equals(await disk('reb-top', [])));
    await onto('reb-two', []).expect(200);
    assert.ok(content.equals(await disk('reb-top', [])));
    await service.post('/v1/images/reb-two/lock').expect(204);
    assert.equal(codeOf(await post('reb-top/flatten', {}, [])), 'passphrase-required');
    await post('reb-top/flatten', {}, ['reb-top', 'reb-two']).expect(200);
    assert.ok(content.equals(await disk('reb-top', [])));
    const left = (await service.get('/v1/images/reb-two').expect(200)).body as ImageBody;
    assert.equal(left['dependentCount'], 0);
  });
});

describe('a wrong passphrase', () => {
  test('leaves every file as it was, whatever was to be done', async () => {
    await make('no-base', { encrypted: true });
    await write('no-base', 0, pattern(1000, 7), ['no-base']);
    await make('no-top', { encrypted: true, below: 'no-base' });
    await make('no-other', { encrypted: false });
    await service.post('/v1/images/no-top/snapshots', { name: 's' }).expect(201);
    const names = ['no-base', 'no-top', 'no-other'];
    const state = async (): Promise<readonly unknown[]> =>
      Promise.all(
        names.flatMap((name) => [
          fileOf(name),
          service.get(`/v1/images/${name}`).then(({ body }) => (body as ImageBody)['backing']),
        ]),
      );
    const found = await state();
    const wrong = ['no-top', 'wrong'];
    const asks: readonly (readonly [string, object])[] = [
      ['no-top/commit', {}],
      ['no-top/rebase', { backing: { image: 'no-other' } }],
      ['no-top/flatten', {}],
      ['no-top/compact', {}],
      ['no-top/resize', { virtualSize: 3 * MiB }],
      ['no-top/zero', { offset: 0, length: 1000 }],
      ['no-top/discard', { offset: 0, length: MiB }],
      ['no-top/digest', {}],
      ['no-top/compare', { with: 'no-other' }],
      ['no-top/copy', { name: 'none' }],
    ];
    for (const [path, body] of asks) {
      const refused = await post(path, body, wrong);
      assert.deepEqual([refused.status, codeOf(refused)], [422, 'wrong-passphrase'], path);
      const locked = await post(path, body, []);
      assert.deepEqual([locked.status, codeOf(locked)], [422, 'passphrase-required'], path);
    }
    const vmState = service.put('/v1/images/no-top/snapshots/s/vmstate').set(bring(...wrong));
    assert.equal(codeOf(await vmState.send(Buffer.alloc(1000, 1))), 'wrong-passphrase');
    const data = service.put('/v1/images/no-top/data').set(bring(...wrong));
    assert.equal(codeOf(await data.send(Buffer.alloc(2 * MiB, 1))), 'wrong-passphrase');
    assert.equal((await service.get('/v1/images/none')).status, 404);
    assert.deepEqual(await state(), found);
  });
});
