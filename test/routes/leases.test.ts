import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { Response, Test } from 'supertest';

import { acquireLease } from '../support/leased-image.ts';
import type { LeaseBody } from '../support/leased-image.ts';
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
  const { name } = await service.create({ name: `vm${String(images)}`, virtualSize: 131_072 });
  return name;
}

function acquire(image: string, options?: object): Promise<LeaseBody> {
  return acquireLease(service, image, options);
}

function put(image: string): Test {
  return service.put(`/v1/images/${image}/data`).set('content-range', 'bytes 0-511/*');
}

function answerOf(response: Response): readonly [number, string] {
  return [response.status, codeOf(response)];
}

const bytes = pattern(512, 7);

/** Every verb that changes an image, ready to be sent; the last one deletes it. */
function changesOf(image: string): readonly (readonly [string, () => Test])[] {
  const at = `/v1/images/${image}`;
  return [
    ['write', () => put(image).send(bytes)],
    ['replace', () => service.put(`${at}/data`).send(pattern(131_072, 1))],
    ['zero', () => service.post(`${at}/zero`, { offset: 0, length: 512 })],
    ['discard', () => service.post(`${at}/discard`, { offset: 0, length: 65_536 })],
    ['snapshot', () => service.post(`${at}/snapshots`, { name: 's1' })],
    ['revert', () => service.post(`${at}/snapshots/s1/revert`)],
    ['delete snapshot', () => service.delete(`${at}/snapshots/s1`)],
    ['resize', () => service.post(`${at}/resize`, { virtualSize: 131_072 })],
    ['repair', () => service.post(`${at}/check`, { repair: 'leaks' })],
    ['update', () => service.patch(at, { labels: { seen: 'yes' } })],
    ['detach', () => service.post(`${at}/detach`)],
    ['attach', () => service.post(`${at}/attach`)],
    ['delete', () => service.delete(at)],
  ];
}

describe('an exclusive lease', () => {
  test('is granted with a secret, a token and an end, and shown without its secret', async () => {
    const image = await newImage();
    const lease = await acquire(image, { owner: 'backup-7', ttlSeconds: 30 });
    assert.match(lease.id, /^lse_[0-9a-f]{32}$/);
    const { id, ...shown } = lease;
    assert.deepEqual([lease.mode, lease.owner, lease.fencingToken], ['exclusive', 'backup-7', 1]);
    const period = Date.parse(lease.expiresAt) - Date.parse(lease.acquiredAt);
    assert.equal(Math.abs(period - 30_000) < 10_000, true, String(period));
    const listed = (await service.get(`/v1/images/${image}/leases`).expect(200)).body as { items: LeaseBody[] };
    assert.equal(listed.items.length, 1);
    assert.equal(listed.items[0]?.fencingToken, shown.fencingToken);
    assert.equal(JSON.stringify(listed).includes(id), false);
    const holder = ((await service.get(`/v1/images/${image}`)).body as ImageBody)['lease'] as LeaseBody;
    assert.deepEqual([holder.mode, holder.owner], ['exclusive', 'backup-7']);
  });

  test('keeps out every change without it, saying who holds it and what to do', async () => {
    const image = await newImage();
    const lease = await acquire(image, { owner: 'me' });
    for (const [name, change] of changesOf(image)) {
      // What is not detached need not come back.
      if (name === 'attach') continue;
      const answer = await change();
      assert.equal(answer.status, 423, name);
      assert.equal(codeOf(answer), 'image-locked', name);
      const { holder, detail } = answer.body as { holder: LeaseBody; detail: string };
      assert.deepEqual([holder.mode, holder.owner], ['exclusive', 'me']);
      assert.equal(Number.isFinite(Date.parse(holder.expiresAt)), true);
      assert.match(detail, /[Ww]ait/);
      assert.match(detail, /renew/);
      assert.match(detail, /break/);
    }
    for (const [name, change] of changesOf(image)) {
      const answer = await change().set('lease-id', lease.id).set('fencing-token', '1');
      assert.equal(answer.status < 300, true, `${name}: ${answer.text}`);
    }
  });

  test('never keeps reads out', async () => {
    const image = await newImage();
    await acquire(image);
    const at = `/v1/images/${image}`;
    await service.bytes(`${at}/data`).expect(200);
    await service.get(`${at}/extents`).expect(200);
    await service.get(`${at}/file`).expect(200);
    await service.get(`${at}/snapshots`).expect(200);
    await service.post(`${at}/check`).expect(200);
    await service.post(`${at}/flush`).expect(204);
    await service.post(`${at}/attach`).expect(200);
  });

  test('keeps the file with the program that its holder gave it to', async () => {
    const image = await newImage();
    const { id } = await acquire(image);
    const at = `/v1/images/${image}`;
    await service.post(`${at}/detach`).set('lease-id', id).expect(200);
    assert.deepEqual(answerOf(await service.post(`${at}/attach`)), [423, 'image-locked']);
    assert.deepEqual(answerOf(await service.post(`${at}/attach`).set('lease-id', 'lse_other')), [412, 'lease-lost']);
    assert.deepEqual(answerOf(await service.patch(at, { description: 'x' })), [423, 'image-locked']);
    await service.post(`${at}/leases/${id}/renew`).expect(200);
    await service.post(`${at}/attach`).set('lease-id', id).expect(200);
    await put(image).set('lease-id', id).send(bytes).expect(204);
  });

  test('is asked before the version that a change is meant for', async () => {
    const image = await newImage();
    const { id } = await acquire(image);
    const patch = (): Test => service.patch(`/v1/images/${image}`, { description: 'x' }).set('if-match', '"0"');
    assert.deepEqual(answerOf(await patch()), [423, 'image-locked']);
    assert.deepEqual(answerOf(await patch().set('lease-id', id)), [412, 'precondition-failed']);
  });

  test('keeps out every other lease', async () => {
    const image = await newImage();
    await acquire(image);
    for (const mode of ['exclusive', 'shared']) {
      const answer = await service.post(`/v1/images/${image}/leases`, { mode });
      assert.deepEqual([answer.status, codeOf(answer)], [423, 'image-locked']);
    }
  });

  test('is renewed by name for a full period', async () => {
    const image = await newImage();
    const lease = await acquire(image);
    const renewed = await service.post(`/v1/images/${image}/leases/${lease.id}/renew`).expect(200);
    const { id, expiresAt } = renewed.body as LeaseBody;
    assert.equal(id, lease.id);
    assert.equal(Date.parse(expiresAt) >= Date.parse(lease.expiresAt), true);
  });

  test('is released once and again, and cannot be renewed or used afterwards', async () => {
    const image = await newImage();
    const lease = await acquire(image);
    const at = `/v1/images/${image}/leases/${lease.id}`;
    await service.delete(at).expect(204);
    await service.delete(at).expect(204);
    const answers = [await service.post(`${at}/renew`), await put(image).set('lease-id', lease.id).send(bytes)];
    for (const answer of answers) assert.deepEqual([answer.status, codeOf(answer)], [412, 'lease-lost']);
    await put(image).send(bytes).expect(204);
  });
});

describe('a lease that is not live', () => {
  test('is lost, whoever holds the image now', async () => {
    const image = await newImage();
    const stranger = (await acquire(await newImage())).id;
    for (const id of ['lse_unknown', stranger]) {
      assert.equal(codeOf(await put(image).set('lease-id', id).send(bytes).expect(412)), 'lease-lost');
    }
    await acquire(image);
    assert.equal(codeOf(await put(image).set('lease-id', stranger).send(bytes).expect(412)), 'lease-lost');
    assert.equal(codeOf(await service.get(`/v1/images/${image}/data`).set('lease-id', stranger)), 'lease-lost');
  });

  test('is lost for whoever only reads or flushes with it, too', async () => {
    const image = await newImage();
    const at = `/v1/images/${image}`;
    const { id } = await acquire(image);
    const uses = [
      () => service.get(`${at}/data`),
      () => service.get(`${at}/extents`),
      () => service.get(`${at}/file`),
      () => service.post(`${at}/check`),
      () => service.post(`${at}/flush`),
      () => service.post(`${at}/attach`),
    ];
    for (const use of uses) assert.equal((await use().set('lease-id', id)).status < 300, true);
    await service.post(`${at}/leases/break`).expect(202);
    for (const use of uses) assert.deepEqual(answerOf(await use().set('lease-id', id)), [412, 'lease-lost']);
  });
});

describe('a shared lease', () => {
  test('stands beside others, and blocks exclusive ones and all changes, those of its holder too', async () => {
    const image = await newImage();
    const lease = await acquire(image, { mode: 'shared', owner: 'reader' });
    await acquire(image, { mode: 'shared' });
    assert.equal(codeOf(await service.post(`/v1/images/${image}/leases`, { mode: 'exclusive' })), 'image-locked');
    for (const claim of [undefined, lease.id]) {
      const change = claim === undefined ? put(image) : put(image).set('lease-id', claim);
      const answer = await change.send(bytes).expect(423);
      assert.equal((answer.body as { holder: LeaseBody }).holder.mode, 'shared');
    }
    await service.get(`/v1/images/${image}/data`).set('lease-id', lease.id).expect(200);
  });
});

describe('the list', () => {
  test('goes page by page, the oldest first, also when the lease at which a page ended is over', async () => {
    const image = await newImage();
    const leases = new Map<string, string>();
    for (const owner of ['a', 'b', 'c', 'd', 'e'])
      leases.set(owner, (await acquire(image, { mode: 'shared', owner })).id);
    const at = `/v1/images/${image}/leases`;
    const list = async (query: string): Promise<{ items: LeaseBody[]; nextCursor: string | null }> =>
      (await service.get(`${at}${query}`).expect(200)).body as { items: LeaseBody[]; nextCursor: string | null };
    const all = await list('');
    assert.deepEqual([all.items.length, all.nextCursor], [5, null]);
    assert.deepEqual(await list('?limit=5'), { items: all.items, nextCursor: null });
    const owners = all.items.map(({ owner }) => owner ?? '');
    const pages = [owners.slice(0, 2), owners.slice(2, 4), owners.slice(4)];
    for (const ends of [false, true]) {
      const walked: string[][] = [];
      for (let cursor: string | null = ''; cursor !== null;) {
        const page = await list(`?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
        const names = page.items.map(({ owner }) => owner ?? '');
        walked.push(names);
        cursor = page.nextCursor;
        if (ends) await service.delete(`${at}/${leases.get(names.at(-1) ?? '') ?? ''}`).expect(204);
      }
      assert.deepEqual(walked, pages);
    }
  });

  test('takes no cursor of another image', async () => {
    const image = await newImage();
    for (const _ of [1, 2]) await acquire(image, { mode: 'shared' });
    const page = await service.get(`/v1/images/${image}/leases?limit=1`).expect(200);
    const { nextCursor } = page.body as { nextCursor: string };
    await service.get(`/v1/images/${image}/leases?cursor=${nextCursor}`).expect(200);
    const other = await service.get(`/v1/images/${await newImage()}/leases?cursor=${nextCursor}`).expect(400);
    assert.deepEqual(pointersOf(other), ['/cursor']);
  });
});

describe('a fencing token', () => {
  test('grows by one with every exclusive lease, and with no shared one', async () => {
    const image = await newImage();
    const tokens: number[] = [];
    for (const mode of ['shared', 'exclusive', 'exclusive', 'shared', 'exclusive']) {
      const lease = await acquire(image, { mode });
      tokens.push(lease.fencingToken);
      await service.delete(`/v1/images/${image}/leases/${lease.id}`).expect(204);
    }
    assert.deepEqual(tokens, [0, 1, 2, 2, 3]);
  });

  test('that is old is stale even when nobody holds; one that was never given out is no token', async () => {
    const image = await newImage();
    for (let count = 0; count < 2; count += 1) {
      const lease = await acquire(image);
      await service.delete(`/v1/images/${image}/leases/${lease.id}`).expect(204);
    }
    assert.equal(codeOf(await put(image).set('fencing-token', '1').send(bytes).expect(412)), 'fencing-token-stale');
    await put(image).set('fencing-token', '2').send(bytes).expect(204);
    for (const token of ['3', 'x']) {
      const answer = await put(image).set('fencing-token', token).send(bytes).expect(400);
      assert.deepEqual(
        pointersOf(answer).map((pointer) => pointer.toLowerCase()),
        ['/fencing-token'],
      );
    }
    const { id } = await acquire(image);
    assert.equal(
      codeOf(await put(image).set('lease-id', id).set('fencing-token', '2').send(bytes)),
      'fencing-token-stale',
    );
  });
});

describe('a break', () => {
  test('ends the leases at once, and no lease is no harm', async () => {
    const image = await newImage();
    await service.post(`/v1/images/${image}/leases/break`).expect(202);
    const lease = await acquire(image);
    const answer = await service.post(`/v1/images/${image}/leases/break`).expect(202);
    assert.deepEqual(answer.body, { items: [], nextCursor: null });
    assert.equal(codeOf(await put(image).set('lease-id', lease.id).send(bytes)), 'lease-lost');
    assert.equal((await acquire(image)).fencingToken, 2);
  });

  test('with a grace lets the holder finish, but not renew; nobody else gets in before', async () => {
    const image = await newImage();
    const lease = await acquire(image);
    const broken = await service.post(`/v1/images/${image}/leases/break`, { graceSeconds: 20 }).expect(202);
    const [left] = (broken.body as { items: LeaseBody[] }).items;
    assert.equal(Date.parse(left?.expiresAt ?? '') < Date.parse(lease.expiresAt), true);
    await put(image).set('lease-id', lease.id).send(bytes).expect(204);
    const renewal = await service.post(`/v1/images/${image}/leases/${lease.id}/renew`);
    assert.equal(codeOf(renewal), 'lease-lost');
    assert.equal(codeOf(await service.post(`/v1/images/${image}/leases`, { mode: 'exclusive' })), 'image-locked');
    await service.post(`/v1/images/${image}/leases/break`).expect(202);
    await acquire(image);
  });
});

describe('the order of refusals', () => {
  test('the state of the image comes before the lease, the lease before conditions', async () => {
    const base = await newImage();
    await acquire(base);
    assert.equal(codeOf(await put(base).set('if-match', '"other"').send(bytes)), 'image-locked');
    const parent = await newImage();
    await service.create({ name: `over-${parent}`, backing: { image: parent } });
    await acquire(parent);
    for (const answer of [await put(parent).send(bytes), await service.delete(`/v1/images/${parent}`)]) {
      assert.equal(codeOf(answer), 'image-has-dependents');
    }
    const missing = await service.post('/v1/images/nobody/leases', { mode: 'shared' });
    assert.equal(codeOf(missing), 'image-not-found');
  });

  test('a lease that cannot be is refused by its member', async () => {
    const image = await newImage();
    for (const [body, pointer] of [
      [{}, '/mode'],
      [{ mode: 'exclusive', ttlSeconds: 4 }, '/ttlSeconds'],
      [{ mode: 'exclusive', ttlSeconds: 86_401 }, '/ttlSeconds'],
      [{ mode: 'exclusive', owner: '' }, '/owner'],
      [{ mode: 'exclusive', until: 'x' }, '/until'],
    ] as const) {
      const answer = await service.post(`/v1/images/${image}/leases`, body).expect(400);
      assert.deepEqual(pointersOf(answer), [pointer]);
    }
  });
});
