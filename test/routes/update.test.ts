import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

async function show(image: string): Promise<ImageBody> {
  return (await service.get(`/v1/images/${image}`).expect(200)).body as ImageBody;
}

async function namesOf(query: string): Promise<readonly string[]> {
  const answer = await service.get(`/v1/images?${query}`).expect(200);
  return (answer.body as { items: ImageBody[] }).items.map(({ name }) => name);
}

describe('deleting an image', () => {
  test('of the version that is meant, and of no other', async () => {
    const { version } = await service.create({ name: 'd1', virtualSize: MiB });
    const path = '/v1/images/d1';
    const stale = await service.delete(path).set('If-Match', `"${version - 1}"`);
    assert.deepEqual([stale.status, codeOf(stale)], [412, 'precondition-failed']);
    assert.equal((stale.body as { version: number }).version, version);
    assert.equal((await service.delete(path).set('If-None-Match', '*')).status, 412);
    await service.patch(path, { protected: true }).expect(200);
    const kept = await service.delete(path).set('If-Match', '"0"');
    assert.equal(codeOf(kept), 'image-protected', 'the state comes before the condition');
    const free = await service.patch(path, { protected: false }).expect(200);
    await service.delete(path).set('If-Match', String(free.headers['etag'])).expect(204);
  });
});

describe('changing what is said of an image', () => {
  test('merges what was sent and leaves the rest', async () => {
    const made = await service.create({ name: 'u1', virtualSize: MiB, description: 'old', labels: { a: '1', b: '2' } });
    const answer = await service.patch('/v1/images/u1', { labels: { b: null, c: '3' }, protected: true }).expect(200);
    const image = answer.body as ImageBody;
    assert.deepEqual([image['description'], image['labels'], image['protected']], ['old', { a: '1', c: '3' }, true]);
    assert.ok(image.version > made.version);
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    const reset = await service
      .patch('/v1/images/u1', { description: null, labels: null, protected: null })
      .set('Content-Type', 'application/merge-patch+json')
      .expect(200);
    const { description, labels, protected: isProtected, generation } = reset.body as ImageBody;
    assert.deepEqual([description, labels, isProtected, generation], ['', {}, false, made.generation]);
  });

  test('without a difference leaves the version', async () => {
    const { version } = await show('u1');
    for (const change of [{}, { name: 'u1' }, { labels: { gone: null } }]) {
      const answer = await service.patch('/v1/images/u1', change).expect(200);
      assert.equal((answer.body as ImageBody).version, version);
    }
  });

  test('gives a new name, while the image is open too', async () => {
    const { id } = await service.create({ name: 'old-name', virtualSize: MiB });
    const bytes = pattern(1000, 7);
    await service.write('old-name', 0, bytes);
    await service.patch('/v1/images/old-name', { name: 'new-name' }).expect(200);
    const read = await service.bytes('/v1/images/new-name/data').set('Range', 'bytes=0-999').expect(206);
    assert.ok(bytes.equals(read.body as Buffer));
    const file = await service.head('/v1/images/new-name/file').expect(200);
    assert.match(String(file.headers['content-disposition']), /new-name\.qcow2/);
    assert.equal((await service.get('/v1/images/old-name/data')).status, 404);
    const other = await service.create({ name: 'old-name', virtualSize: MiB });
    await service.write('old-name', 0, Buffer.from('other'));
    assert.notEqual(other.id, id);
    const again = await service.bytes('/v1/images/new-name/data').set('Range', 'bytes=0-999').expect(206);
    assert.ok(bytes.equals(again.body as Buffer));
  });

  test('keeps to names that are free and well formed', async () => {
    await service.create({ name: 'u2', virtualSize: MiB });
    const taken = await service.patch('/v1/images/u2', { name: 'u1' });
    assert.deepEqual([taken.status, codeOf(taken)], [409, 'name-conflict']);
    for (const [body, pointer] of [
      [{ name: 'img_x' }, '/name'],
      [{ name: null }, '/name'],
      [{ protected: 'yes' }, '/protected'],
      [{ labels: { '!': 'x' } }, '/labels/!'],
      [{ bogus: 1 }, '/bogus'],
      [{ virtualSize: 1 }, '/virtualSize'],
    ] as const) {
      const answer = await service.patch('/v1/images/u2', body);
      assert.deepEqual([answer.status, pointersOf(answer)], [400, [pointer]]);
    }
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`k${index}`, 'x']));
    await service.patch('/v1/images/u2', { labels: many }).expect(200);
    const more = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`m${index}`, 'x']));
    assert.deepEqual(pointersOf(await service.patch('/v1/images/u2', { labels: more })), ['/labels']);
    assert.equal(codeOf(await service.patch('/v1/images/nobody', {})), 'image-not-found');
    const plain = await service.patch('/v1/images/u2', '{}').set('Content-Type', 'text/plain');
    assert.equal(plain.status, 415);
    const post = await service.post('/v1/images', {}).set('Content-Type', 'application/merge-patch+json');
    assert.equal(post.status, 415);
  });

  test('keeps to the version that was meant', async () => {
    const { version } = await show('u2');
    const change = { description: 'meant' };
    const stale = await service.patch('/v1/images/u2', change).set('If-Match', `"${version - 1}"`);
    assert.deepEqual(
      [stale.status, codeOf(stale), (stale.body as ImageBody).version],
      [412, 'precondition-failed', version],
    );
    assert.equal((await service.patch('/v1/images/u2', change).set('If-Match', `W/"${version}"`)).status, 412);
    assert.equal((await service.patch('/v1/images/u2', change).set('If-None-Match', `"${version}"`)).status, 412);
    await service.patch('/v1/images/u2', change).set('If-Match', `"0", "${version}"`).expect(200);
    await service.patch('/v1/images/u2', { description: 'any' }).set('If-Match', '*').expect(200);
    assert.equal((await show('u2'))['description'], 'any');
    assert.equal((await service.get('/v1/images/u2').set('If-Match', `"${version}"`)).status, 412);
  });

  test('lets one of many win who meant the same version', async () => {
    const { version } = await show('u2');
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        service.patch('/v1/images/u2', { description: `writer ${index}` }).set('If-Match', `"${version}"`),
      ),
    );
    assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, ...Array<number>(7).fill(412)]);
  });
});

describe('a tag', () => {
  test('does not come back with another image of the same name', async () => {
    const first = await service.create({ name: 'reborn', virtualSize: MiB });
    await service.patch('/v1/images/reborn', { description: 'x' }).expect(200);
    const seen = String((await service.get('/v1/images/reborn')).headers['etag']);
    await service.delete('/v1/images/reborn').expect(204);
    const second = await service.create({ name: 'reborn', virtualSize: MiB });
    await service.patch('/v1/images/reborn', { description: 'y' }).expect(200);
    assert.notEqual(first.id, second.id);
    await service.get('/v1/images/reborn').set('If-None-Match', seen).expect(200);
    const own = String((await service.get('/v1/images/reborn')).headers['etag']);
    await service.get('/v1/images/reborn').set('If-None-Match', `"0", W/${own}`).expect(304);
    await service.get('/v1/images/reborn').set('If-None-Match', '*').expect(304);
  });

  test('does not come back when a name moves to another image', async () => {
    const tags = new Set<string>();
    const collect = async (): Promise<void> => {
      const tag = String((await service.get('/v1/images/moving')).headers['etag']);
      assert.ok(!tags.has(tag), tag);
      tags.add(tag);
    };
    await service.create({ name: 'moving', virtualSize: MiB });
    await service.create({ name: 'second', virtualSize: MiB });
    await collect();
    await service.patch('/v1/images/moving', { description: 'x' }).expect(200);
    await collect();
    await service.patch('/v1/images/moving', { description: 'z' }).expect(200);
    await collect();
    await service.patch('/v1/images/moving', { name: 'first' }).expect(200);
    await service.patch('/v1/images/second', { name: 'moving' }).expect(200);
    await collect();
  });
});

describe('a protected image', () => {
  test('is not deleted nor cut off, but written and grown', async () => {
    await service.create({ name: 'safe', virtualSize: 2 * MiB });
    await service.patch('/v1/images/safe', { protected: true }).expect(200);
    const refused = await service.delete('/v1/images/safe');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-protected']);
    const shrink = await service.post('/v1/images/safe/resize', { virtualSize: MiB, allowShrink: true });
    assert.deepEqual([shrink.status, codeOf(shrink)], [409, 'image-protected']);
    await service.post('/v1/images/safe/resize', { virtualSize: 3 * MiB }).expect(200);
    await service.write('safe', 0, Buffer.from('still written'));
    await service.patch('/v1/images/safe', { protected: false }).expect(200);
    await service.delete('/v1/images/safe').expect(204);
  });
});

describe('a list', () => {
  test('filters by labels, all of them, and by base', async () => {
    for (const [name, labels] of [
      ['f1', { tier: 'gold', url: 'http://x' }],
      ['f2', { tier: 'gold', os: 'debian' }],
      ['f3', { tier: 'silver', os: 'debian' }],
    ] as const)
      await service.create({ name, virtualSize: MiB, labels });
    assert.deepEqual(await namesOf('label=tier:gold'), ['f1', 'f2']);
    assert.deepEqual(await namesOf('label=tier:gold&label=os:debian'), ['f2']);
    assert.deepEqual(await namesOf('label=tier:gold&label=tier:silver'), []);
    assert.deepEqual(await namesOf('label=url:http://x&name=f1'), ['f1']);
    await service.create({ name: 'f4', backing: { image: 'f1' } });
    assert.deepEqual(await namesOf('backing=f1'), ['f4']);
    const nobody = await service.get('/v1/images?backing=nobody');
    assert.deepEqual([nobody.status, codeOf(nobody)], [404, 'image-not-found']);
    await service.patch('/v1/images/f3', { labels: { tier: 'gold' } }).expect(200);
    assert.deepEqual(await namesOf('label=tier:gold&label=os:debian&state=ready'), ['f2', 'f3']);
  });
});
