import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { Response, Test } from 'supertest';

import { acquireLease } from '../support/leased-image.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

let service: TestService;
let images = 0;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

async function newImage(): Promise<string> {
  images += 1;
  return (await service.create({ name: `vm${String(images)}`, virtualSize: 131_072 })).name;
}

/** The id of the lease. */
async function acquire(image: string, options?: object): Promise<string> {
  return (await acquireLease(service, image, options)).id;
}

function answerOf(response: Response): readonly [number, string] {
  return [response.status, codeOf(response)];
}

/** Every verb that puts a new overlay on an image, ready to be sent. */
async function overlaysOn(image: string): Promise<readonly (readonly [string, () => Test])[]> {
  const donor = (await service.create({ name: `donor-${image}`, virtualSize: 131_072 })).name;
  const file = (await service.bytes(`/v1/images/${donor}/file`).expect(200)).body as Buffer;
  // Where the name of its backing file is, and how long; the rest of the first cluster is free.
  file.writeBigUInt64BE(1024n, 8);
  file.writeUInt32BE(file.write('base', 1024), 16);
  return [
    ['create', () => service.post('/v1/images', { name: `over-${image}`, backing: { image } })],
    ['copy', () => service.post(`/v1/images/${image}/copy`, { name: `linked-${image}`, mode: 'linked' })],
    ['import', () => service.put(`/v1/imports/in-${image}?backing=${image}`).send(file)],
  ];
}

describe('an overlay on a leased image', () => {
  test('is refused to whoever does not bring the exclusive lease, and nothing is left of it', async () => {
    const image = await newImage();
    const overlays = await overlaysOn(image);
    const id = await acquire(image, { owner: 'me' });
    for (const [name, overlay] of overlays) {
      const answer = await overlay();
      assert.deepEqual(answerOf(answer), [423, 'image-locked'], name);
      const { holder, detail } = answer.body as { holder: { owner: string }; detail: string };
      assert.equal(holder.owner, 'me');
      assert.match(detail, /The image that is to be the backing image is leased exclusively by me until/);
      const lost = await overlay().set('lease-id', `lse_${'0'.repeat(32)}`);
      assert.deepEqual(answerOf(lost), [412, 'lease-lost'], name);
    }
    assert.deepEqual((await service.get(`/v1/images?backing=${image}`)).body, { items: [], nextCursor: null });
    const at = `/v1/images/${image}/data`;
    await service.put(at).set('content-range', 'bytes 0-511/*').set('lease-id', id).send(pattern(512, 7)).expect(204);
    for (const [name, overlay] of overlays) {
      const answer = await overlay().set('lease-id', id).set('fencing-token', '1');
      assert.equal(answer.status, 201, `${name}: ${answer.text}`);
    }
  });

  test('is refused to a rebase, whose lease is that of the image above', async () => {
    const [image, base] = [await newImage(), await newImage()];
    const rebase = () => service.post(`/v1/images/${image}/rebase`, { backing: { image: base } });
    const below = await acquire(base);
    assert.deepEqual(answerOf(await rebase()), [423, 'image-locked']);
    const id = await acquire(image);
    assert.deepEqual(answerOf(await rebase().set('lease-id', id)), [423, 'image-locked']);
    assert.equal(((await service.get(`/v1/images/${image}`)).body as ImageBody)['backing'], null);
    await service.delete(`/v1/images/${base}/leases/${below}`).expect(204);
    await rebase().set('lease-id', id).expect(200);
  });

  test('is what shared leases are for', async () => {
    const image = await newImage();
    const overlays = await overlaysOn(image);
    await acquire(image, { mode: 'shared' });
    for (const [name, overlay] of overlays) assert.equal((await overlay()).status, 201, name);
    const upper = await newImage();
    await service.post(`/v1/images/${upper}/rebase`, { backing: { image } }).expect(200);
  });

  test('is refused with a token that is old, or was never given out', async () => {
    const image = await newImage();
    const overlays = await overlaysOn(image);
    const first = await acquire(image);
    await service.delete(`/v1/images/${image}/leases/${first}`).expect(204);
    const second = await acquire(image);
    for (const [name, overlay] of overlays) {
      assert.deepEqual(answerOf(await overlay().set('fencing-token', '3')), [400, 'invalid-request'], name);
      assert.deepEqual(answerOf(await overlay().set('fencing-token', '1')), [423, 'image-locked'], name);
    }
    await service.delete(`/v1/images/${image}/leases/${second}`).expect(204);
    for (const [name, overlay] of overlays) {
      assert.deepEqual(answerOf(await overlay().set('fencing-token', '1')), [412, 'fencing-token-stale'], name);
      assert.equal((await overlay().set('fencing-token', '2')).status, 201, name);
    }
  });

  test('has to be one where a lease comes with it', async () => {
    const make = (): Test => service.post('/v1/images', { name: 'alone', virtualSize: 512 });
    const bring = (): Test => service.put('/v1/imports/alone?format=raw');
    for (const ask of [make, bring]) {
      for (const [header, value] of [
        ['lease-id', 'lse_1'],
        ['fencing-token', '1'],
      ] as const) {
        const answer = await ask().set(header, value).expect(400);
        assert.deepEqual(pointersOf(answer), [`/${header}`]);
      }
    }
  });
});
