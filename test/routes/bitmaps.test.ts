import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { commonChoice, soundImage } from '../support/hostile-image.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const size = 262_144;
const base = '/v1/images/vm/bitmaps';
let service: TestService;
let id: string;

before(async () => {
  service = await startTestService();
  id = (await service.create({ name: 'vm', virtualSize: size })).id;
});
after(async () => service[Symbol.asyncDispose]());

interface Page {
  readonly items: readonly { readonly [member: string]: unknown }[];
  readonly nextCursor: string | null;
}

async function pageOf(path: string): Promise<Page> {
  return (await service.get(path).expect(200)).body as Page;
}

describe('a bitmap', () => {
  test('is made, listed, shown, and tells what was written since', async () => {
    await service.write('vm', 0, pattern(4096, 1));
    const made = await service.post(base, { name: 'täglich', granularity: 4096 });
    assert.equal(made.status, 201);
    assert.equal(made.headers['location'], `/v1/images/${id}/bitmaps/t%C3%A4glich`);
    const clean = { name: 'täglich', granularity: 4096, enabled: true, inconsistent: false, dirtyBytes: 0 };
    assert.deepEqual(made.body, clean);
    await service.write('vm', 8192, pattern(512, 2));
    await service.post('/v1/images/vm/zero', { offset: 65_536, length: 4096 }).expect(204);
    const shown = await service.get(`${base}/t%C3%A4glich`).expect(200);
    assert.deepEqual(shown.body, { ...clean, dirtyBytes: 8192 });
    await service.post(base, { name: 'weekly', enabled: false }).expect(201);
    const first = await pageOf(`${base}?limit=1`);
    assert.deepEqual(first.items, [{ ...clean, dirtyBytes: 8192 }]);
    const second = await pageOf(`${base}?limit=1&cursor=${String(first.nextCursor)}`);
    assert.deepEqual(
      [second.items[0]?.['name'], second.items[0]?.['enabled'], second.nextCursor],
      ['weekly', false, null],
    );
    const image = (await service.get('/v1/images/vm')).body as ImageBody;
    assert.equal(image['bitmapCount'], 2);
  });

  test('lists dirty and clean stretches, in pages and of a part', async () => {
    const path = `${base}/t%C3%A4glich/extents`;
    const whole = await service.get(path).expect(200);
    const items = [
      { offset: 0, length: 8192, dirty: false },
      { offset: 8192, length: 4096, dirty: true },
      { offset: 12_288, length: 53_248, dirty: false },
      { offset: 65_536, length: 4096, dirty: true },
      { offset: 69_632, length: size - 69_632, dirty: false },
    ];
    const { generation } = whole.body as { generation: number };
    assert.deepEqual(whole.body, { virtualSize: size, generation, items, nextCursor: null });
    assert.equal(whole.headers['image-generation'], String(generation));
    const found: unknown[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Page = await pageOf(`${path}?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
      found.push(...page.items);
      cursor = page.nextCursor;
    }
    assert.deepEqual(found, items);
    assert.deepEqual((await pageOf(`${path}?offset=10000&length=1000`)).items, [
      { offset: 10_000, length: 1000, dirty: true },
    ]);
    const beyond = await service.get(`${path}?offset=${String(size + 1)}`);
    assert.deepEqual([beyond.status, codeOf(beyond)], [416, 'range-not-satisfiable']);
  });

  test('is merged, switched, cleared and deleted', async () => {
    const merged = await service.post(`${base}/weekly/merge`, { from: ['täglich'] }).expect(200);
    assert.equal((merged.body as Page & { dirtyBytes: number }).dirtyBytes, 131_072);
    const switched = await service.patch(`${base}/t%C3%A4glich`, { enabled: false }).expect(200);
    assert.equal((switched.body as { enabled: boolean }).enabled, false);
    await service.write('vm', 131_072, pattern(512, 3));
    const cleared = await service.post(`${base}/weekly/clear`).expect(200);
    assert.equal((cleared.body as { dirtyBytes: number }).dirtyBytes, 0);
    assert.equal(((await service.get(`${base}/t%C3%A4glich`)).body as { dirtyBytes: number }).dirtyBytes, 8192);
    await service.delete(`${base}/weekly`).expect(204);
    const gone = await service.get(`${base}/weekly`);
    assert.deepEqual([gone.status, codeOf(gone)], [404, 'bitmap-not-found']);
    const image = (await service.get('/v1/images/vm')).body as ImageBody;
    assert.equal(image['bitmapCount'], 1);
  });

  test('follows the size of its image, and keeps it from a revert', async () => {
    await service.post('/v1/images/vm/resize', { virtualSize: 2 * size }).expect(200);
    const { items } = await pageOf(`${base}/t%C3%A4glich/extents`);
    assert.deepEqual(items.at(-1), { offset: 69_632, length: 2 * size - 69_632, dirty: false });
    await service.post('/v1/images/vm/snapshots', { name: 's' }).expect(201);
    const revert = await service.post('/v1/images/vm/snapshots/s/revert');
    assert.deepEqual([revert.status, codeOf(revert)], [409, 'bitmaps-prevent-revert']);
    const check = (await service.post('/v1/images/vm/check').expect(200)).body as { clean: boolean };
    assert.equal(check.clean, true);
  });
});

describe('a file that comes in and goes out', () => {
  test('brings its bitmaps, and leaves without them', async () => {
    const sent = Buffer.from(soundImage(commonChoice).bytes);
    await service.put('/v1/imports/foreign').send(sent).expect(201);
    const brought = await pageOf('/v1/images/foreign/bitmaps');
    assert.deepEqual(
      brought.items.map(({ name, enabled, inconsistent }) => [name, enabled, inconsistent]),
      [['b', true, false]],
    );
    const file = await service.bytes('/v1/images/foreign/file').expect(200);
    await service
      .put('/v1/imports/again')
      .send(file.body as Buffer)
      .expect(201);
    assert.deepEqual((await pageOf('/v1/images/again/bitmaps')).items, []);
  });
});

describe('a bitmap is refused', () => {
  const cases: readonly (readonly [string, object, number, string])[] = [
    ['with a name that is taken', { name: 'täglich' }, 409, 'name-conflict'],
    ['with a name of digits', { name: '12' }, 400, 'invalid-request'],
    ['with a name of 256 bytes', { name: 'a'.repeat(256) }, 400, 'invalid-request'],
    ['with a granularity that is no power of two', { name: 'x', granularity: 5000 }, 422, 'invalid-geometry'],
    ['with an unknown member', { name: 'x', persistent: true }, 400, 'invalid-request'],
  ];
  for (const [title, body, status, code] of cases) {
    test(title, async () => {
      const answer = await service.post(base, body);
      assert.deepEqual([answer.status, codeOf(answer)], [status, code]);
    });
  }

  test('in a version 2 image', async () => {
    await service.create({ name: 'old', virtualSize: size, compat: '0.10' });
    const answer = await service.post('/v1/images/old/bitmaps', { name: 'b' });
    assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsupported-option']);
  });

  test('where it is not there, or the body says nothing', async () => {
    for (const answer of [
      await service.post(`${base}/none/clear`),
      await service.post(`${base}/t%C3%A4glich/merge`, { from: ['none'] }),
      await service.delete(`${base}/none`),
      await service.patch(`${base}/none`, { enabled: true }),
      await service.get(`${base}/none/extents`),
    ]) {
      assert.deepEqual([answer.status, codeOf(answer)], [404, 'bitmap-not-found']);
    }
    const answer = await service.post(`${base}/t%C3%A4glich/merge`, { from: [] }).expect(400);
    assert.deepEqual(pointersOf(answer), ['/from']);
  });
});
