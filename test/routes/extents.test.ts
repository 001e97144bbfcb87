import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const KiB = 1024;
let service: TestService;

interface Item {
  readonly offset: number;
  readonly length: number;
  readonly kind: string;
  readonly depth: number;
  readonly hostOffset?: number;
}

interface Page {
  readonly virtualSize: number;
  readonly generation: number;
  readonly items: readonly Item[];
  readonly nextCursor: string | null;
}

before(async () => {
  service = await startTestService();
  await service.create({ name: 'base', virtualSize: 1024 * KiB });
  await service.write('base', 0, pattern(64 * KiB, 1));
  await service.create({ name: 'vm', backing: { image: 'base' } });
  await service.write('vm', 128 * KiB, pattern(64 * KiB, 2));
  await service.post('/v1/images/vm/zero', { offset: 256 * KiB, length: 64 * KiB }).expect(204);
});
after(async () => service[Symbol.asyncDispose]());

async function pageOf(query: string): Promise<Page> {
  return (await service.get(`/v1/images/vm/extents?${query}`).expect(200)).body as Page;
}

const shape = (items: readonly Item[]): unknown[] =>
  items.map(({ offset, length, kind, depth }) => [offset / KiB, length / KiB, kind, depth]);

describe('the map of an image', () => {
  test('is sorted, without gaps, and says which layer answers', async () => {
    const page = await pageOf('');
    assert.deepEqual(shape(page.items).slice(0, 5), [
      [0, 64, 'data', 1],
      [64, 64, 'hole', 1],
      [128, 64, 'data', 0],
      [192, 64, 'hole', 1],
      [256, 64, 'zero', 0],
    ]);
    assert.equal(
      page.items.reduce((end, item) => (assert.equal(item.offset, end), end + item.length), 0),
      page.virtualSize,
    );
    assert.equal(page.nextCursor, null);
  });

  test('of the top layer leaves out what lies below', async () => {
    assert.deepEqual(shape((await pageOf('layer=top')).items).slice(0, 2), [
      [0, 128, 'hole', 0],
      [128, 64, 'data', 0],
    ]);
  });

  test('tells host offsets when asked', async () => {
    const data = (await pageOf('hostOffset=true')).items.filter(({ kind }) => kind === 'data');
    assert.ok(data.length > 0 && data.every(({ hostOffset }) => hostOffset !== undefined));
    assert.ok((await pageOf('')).items.every(({ hostOffset }) => hostOffset === undefined));
  });

  test('comes page by page, within a span too', async () => {
    const whole = (await pageOf('')).items;
    const items: Item[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Page = await pageOf(`limit=1${cursor === '' ? '' : `&cursor=${cursor}`}`);
      assert.equal(page.items.length, 1);
      items.push(...page.items);
      cursor = page.nextCursor;
    }
    assert.deepEqual(items, whole);
    const span = `offset=${100 * KiB}&length=${50 * KiB}`;
    assert.deepEqual(shape((await pageOf(span)).items), [
      [100, 28, 'hole', 1],
      [128, 22, 'data', 0],
    ]);
    const first = await pageOf(`${span}&limit=1`);
    assert.deepEqual(shape((await pageOf(`${span}&limit=1&cursor=${String(first.nextCursor)}`)).items), [
      [128, 22, 'data', 0],
    ]);
  });

  test('streams as one line an extent', async () => {
    const answer = await service.bytes('/v1/images/vm/extents').set('Accept', 'application/x-ndjson').expect(200);
    assert.equal(answer.headers['content-type'], 'application/x-ndjson');
    const lines = (answer.body as Buffer).toString().trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line) as Item),
      (await pageOf('')).items,
    );
  });

  test('of a snapshot is the one of then, by both paths', async () => {
    const then = shape((await pageOf('')).items);
    await service.post('/v1/images/vm/snapshots', { name: 's' }).expect(201);
    await service.write('vm', 512 * KiB, pattern(64 * KiB, 3));
    assert.notDeepEqual(shape((await pageOf('')).items), then);
    assert.deepEqual(shape((await pageOf('snapshot=s')).items), then);
    const own = (await service.get('/v1/images/vm/snapshots/s/extents').expect(200)).body as Page;
    assert.deepEqual(shape(own.items), then);
    assert.equal(codeOf(await service.get('/v1/images/vm/snapshots/none/extents')), 'snapshot-not-found');
  });

  test('refuses what it does not know', async () => {
    for (const [query, pointer] of [
      ['limit=0', '/limit'],
      ['layer=odd', '/layer'],
      ['bogus=1', '/bogus'],
      ['cursor=odd', '/cursor'],
      ['offset=-1', '/offset'],
    ] as const) {
      assert.deepEqual(pointersOf(await service.get(`/v1/images/vm/extents?${query}`)), [pointer], query);
    }
    assert.equal((await service.get('/v1/images/vm/extents?offset=99999999')).status, 416);
    assert.equal((await service.get('/v1/images/nobody/extents')).status, 404);
  });
});
