import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

/** All guest bytes. */
async function disk(image: string): Promise<Buffer> {
  const answer = await service.get(`/v1/images/${image}/data`).expect(200);
  return answer.body as Buffer;
}

async function show(image: string): Promise<ImageBody> {
  return (await service.get(`/v1/images/${image}`).expect(200)).body as ImageBody;
}

describe('emptying', () => {
  test('lets the image below show through, and gives the space back', async () => {
    await service.create({ name: 'below', virtualSize: 4 * MiB });
    await service.write('below', 0, pattern(300_000, 1));
    const { id } = await service.create({ name: 'layer', backing: { image: 'below' } });
    const base = await disk('below');
    await service.write('layer', 0, pattern(2 * MiB, 2));
    const full = await show('layer');
    const answer = await service.post('/v1/images/layer/empty').expect(200);
    const image = answer.body as ImageBody;
    assert.equal(image.id, id);
    assert.ok(image.generation > full.generation);
    assert.ok(Number(image['allocatedSize']) < Number(full['allocatedSize']));
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    assert.ok(base.equals(await disk('layer')));
    await service.write('layer', 100, pattern(100_000, 3));
    const expected = Buffer.from(base);
    pattern(100_000, 3).copy(expected, 100);
    assert.ok(expected.equals(await disk('layer')));
  });

  test('keeps snapshots', async () => {
    await service.create({ name: 'kept', virtualSize: MiB });
    await service.write('kept', 0, pattern(200_000, 4));
    const content = await disk('kept');
    await service.post('/v1/images/kept/snapshots', { name: 's' }).expect(201);
    await service.post('/v1/images/kept/empty').expect(200);
    assert.ok((await disk('kept')).every((byte) => byte === 0));
    const snapshot = await service.get('/v1/images/kept/snapshots/s/data').expect(200);
    assert.ok(content.equals(snapshot.body as Buffer));
  });

  test('is refused for an image that others stand on, and for a protected one', async () => {
    const refused = await service.post('/v1/images/below/empty');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-has-dependents']);
    await service.create({ name: 'guarded', virtualSize: MiB });
    await service.patch('/v1/images/guarded', { protected: true }).expect(200);
    const guarded = await service.post('/v1/images/guarded/empty');
    assert.deepEqual([guarded.status, codeOf(guarded)], [409, 'image-protected']);
    assert.equal((await service.post('/v1/images/nobody/empty')).status, 404);
  });
});

describe('putting an image on another base', () => {
  before(async () => {
    for (const [name, seed] of [
      ['one', 5],
      ['two', 6],
    ] as const) {
      await service.create({ name, virtualSize: 2 * MiB });
      await service.write(name, 0, pattern(MiB, seed));
    }
    await service.create({ name: 'mover', backing: { image: 'one' } });
    await service.write('mover', 300_000, pattern(100_000, 7));
  });

  test('keeps what the guest sees, and the catalog knows who stands on whom', async () => {
    const content = await disk('mover');
    const answer = await service.post('/v1/images/mover/rebase', { backing: { image: 'two' } }).expect(200);
    const image = answer.body as ImageBody;
    assert.deepEqual((image['backing'] as { name: string }).name, 'two');
    assert.equal(answer.headers['etag'], `"${image.version}"`);
    assert.ok(content.equals(await disk('mover')));
    assert.deepEqual([(await show('one'))['dependentCount'], (await show('two'))['dependentCount']], [0, 1]);
    // Each is as free, or as fixed, as it is counted.
    await service.write('one', 0, pattern(1000, 8));
    const fixed = await service.post('/v1/images/two/zero', { offset: 0, length: 1 });
    assert.deepEqual([fixed.status, codeOf(fixed)], [409, 'image-has-dependents']);
    const info = (await service.get('/v1/images/mover/info').expect(200)).body as ImageBody;
    assert.equal(info['backingFilename'], `${(await show('two')).id}.qcow2`);
    assert.equal(info['backingFilenameFormat'], 'qcow2');
    await service.write('mover', 0, pattern(1000, 9));
  });

  test('takes the word of whoever says that nothing differs', async () => {
    await service.create({ name: 'above', backing: { image: 'two' } });
    await service.post('/v1/images/above/rebase', { backing: { image: 'one' }, mode: 'unsafe' }).expect(200);
    assert.ok((await disk('one')).equals(await disk('above')));
    await service.post('/v1/images/above/rebase', { backing: null, mode: 'unsafe' }).expect(200);
    assert.ok((await disk('above')).every((byte) => byte === 0));
    assert.equal((await show('above'))['backing'], null);
    await service.delete('/v1/images/above').expect(204);
  });

  test('is refused where it cannot be', async () => {
    for (const [path, body, status, code] of [
      ['mover', { backing: { image: 'mover' } }, 422, 'unsupported-option'],
      ['two', { backing: { image: 'mover' } }, 409, 'image-has-dependents'],
      ['mover', { backing: { image: 'nobody' } }, 404, 'image-not-found'],
      ['mover', {}, 400, 'invalid-request'],
      ['mover', { backing: null, mode: 'fast' }, 400, 'invalid-request'],
    ] as const) {
      const refused = await service.post(`/v1/images/${path}/rebase`, body);
      assert.deepEqual([refused.status, codeOf(refused)], [status, code], JSON.stringify(body));
    }
    // Nothing is left of what was refused: no mark, no reservation.
    assert.equal((await show('two'))['dependentCount'], 1);
    await service.post('/v1/images/mover/flush').expect(204);
  });
});

describe('flattening', () => {
  test('takes everything in, and lets the base go', async () => {
    const content = await disk('mover');
    const answer = await service.post('/v1/images/mover/flatten').expect(200);
    assert.equal((answer.body as ImageBody)['backing'], null);
    assert.ok(content.equals(await disk('mover')));
    await service.delete('/v1/images/two').expect(204);
    assert.ok(content.equals(await disk('mover')));
    // Once more is no harm.
    await service.post('/v1/images/mover/flatten').expect(200);
  });
});

describe('committing', () => {
  before(async () => {
    await service.create({ name: 'floor', virtualSize: 2 * MiB });
    await service.write('floor', 0, pattern(MiB, 12));
    await service.create({ name: 'storey', backing: { image: 'floor' } });
    await service.write('storey', 500_000, pattern(100_000, 13));
    await service.create({ name: 'roof', virtualSize: 3 * MiB, backing: { image: 'storey' } });
    await service.write('roof', 2 * MiB, pattern(200_000, 14));
    await service.post('/v1/images/roof/zero', { offset: 100_000, length: 300_000 }).expect(204);
  });

  test('into a deeper image gives that one everything, and leaves the image as it is', async () => {
    const content = await disk('roof');
    const [floor, storey, roof] = await Promise.all(['floor', 'storey', 'roof'].map(show));
    const answer = await service.post('/v1/images/roof/commit', { into: 'floor' }).expect(200);
    assert.equal(answer.headers['etag'], `"${(answer.body as ImageBody).version}"`);
    assert.ok(content.equals(await disk('floor')));
    assert.ok(content.equals(await disk('roof')));
    const grown = await show('floor');
    assert.equal(grown['virtualSize'], 3 * MiB);
    assert.ok(floor !== undefined && grown.generation > floor.generation);
    assert.ok(storey !== undefined && (await show('storey')).generation > storey.generation);
    assert.equal((await show('roof'))['allocatedSize'], roof?.['allocatedSize']);
  });

  test('into the next one empties the image, unless it is to keep its data', async () => {
    await service.write('roof', 700_000, pattern(100_000, 15));
    const content = await disk('roof');
    await service.post('/v1/images/roof/commit', { keepTop: true }).expect(200);
    assert.ok(content.equals(await disk('storey')));
    const full = await show('roof');
    await service.post('/v1/images/roof/commit').expect(200);
    assert.ok(content.equals(await disk('storey')));
    assert.ok(content.equals(await disk('roof')));
    assert.ok(Number((await show('roof'))['allocatedSize']) < Number(full['allocatedSize']));
    const { clean } = (await service.post('/v1/images/storey/check').expect(200)).body as { clean: boolean };
    assert.ok(clean);
    await service.write('roof', 0, pattern(1000, 16));
  });

  test('is refused where somebody else would see it, and where it cannot be', async () => {
    const content = await disk('floor');
    await service.create({ name: 'annex', backing: { image: 'floor' } });
    await service.create({ name: 'shed', backing: { image: 'annex' } });
    await service.post('/v1/images/shed/snapshots', { name: 's' }).expect(201);
    for (const [image, body, status, code] of [
      ['roof', { into: 'floor' }, 409, 'image-has-dependents'],
      ['storey', {}, 409, 'image-has-dependents'],
      ['shed', {}, 409, 'snapshots-need-backing'],
      ['roof', { into: 'shed' }, 422, 'unsupported-option'],
      ['roof', { into: 'floor', keepTop: false }, 422, 'unsupported-option'],
      ['floor', {}, 409, 'image-has-dependents'],
      ['roof', { into: 'nobody' }, 404, 'image-not-found'],
      ['roof', { keepTop: 'yes' }, 400, 'invalid-request'],
      ['nobody', {}, 404, 'image-not-found'],
    ] as const) {
      const refused = await service.post(`/v1/images/${image}/commit`, body).set('Prefer', 'respond-async');
      assert.deepEqual([refused.status, codeOf(refused)], [status, code], `${image} ${JSON.stringify(body)}`);
    }
    await service.patch('/v1/images/annex', { protected: true }).expect(200);
    const guarded = await service.post('/v1/images/shed/commit');
    assert.deepEqual([guarded.status, codeOf(guarded)], [409, 'image-protected']);
    assert.match((guarded.body as { detail: string }).detail, /^annex is protected\./u);
    assert.ok(content.equals(await disk('floor')));
    await service.write('shed', 0, pattern(1000, 17));
  });
});

describe('a digest', () => {
  test('is the SHA-256 of what a guest reads, live and of a snapshot', async () => {
    const sumOf = (bytes: Buffer): string => hash('sha256', bytes, 'hex');
    await service.create({ name: 'ground', virtualSize: 3 * MiB + 512 });
    await service.write('ground', MiB, pattern(300_000, 10));
    await service.create({ name: 'summed', backing: { image: 'ground' } });
    await service.post('/v1/images/summed/snapshots', { name: 's' }).expect(201);
    const old = sumOf(await disk('summed'));
    await service.write('summed', 2 * MiB - 7, pattern(100_000, 11));
    const { generation } = await show('summed');
    const live = await service.post('/v1/images/summed/digest').expect(200);
    assert.deepEqual(live.body, { algorithm: 'sha256', digest: sumOf(await disk('summed')), generation });
    const kept = await service.post('/v1/images/summed/digest', { snapshot: 's' }).expect(200);
    assert.equal((kept.body as ImageBody)['digest'], old);
    const unknown = await service.post('/v1/images/summed/digest', { snapshot: 'none' });
    assert.deepEqual([unknown.status, codeOf(unknown)], [404, 'snapshot-not-found']);
    assert.equal((await service.post('/v1/images/summed/digest', { algorithm: 'md5' })).status, 400);
  });
});

describe('a comparison', () => {
  const compare = async (image: string, other: string, more: object = {}): Promise<object> =>
    (await service.post(`/v1/images/${image}/compare`, { with: other, ...more }).expect(200)).body as object;

  test('says whether two images hold the same, and where they differ first', async () => {
    await service.create({ name: 'left', virtualSize: MiB });
    await service.write('left', 1000, pattern(300_000, 12));
    await service.create({ name: 'right', virtualSize: 2 * MiB, clusterSize: 4 * KiB });
    await service.write('right', 1000, pattern(300_000, 12));
    const same = { identical: true };
    assert.deepEqual(await compare('left', 'right'), same);
    assert.deepEqual(await compare('left', 'right', { strict: true }), { identical: false });
    assert.deepEqual(await compare('left', 'left', { strict: true }), same);
    await service.write('right', MiB + 77, Buffer.from('x'));
    assert.deepEqual(await compare('right', 'left'), { identical: false, firstDifference: MiB + 77 });
    await service.write('left', 200_001, Buffer.from('y'));
    assert.deepEqual(await compare('left', 'right'), { identical: false, firstDifference: 200_001 });
    // Both are as free as before.
    await service.create({ name: 'over', backing: { image: 'left' } });
    assert.deepEqual(await compare('over', 'left'), same);
    assert.deepEqual(await compare('left', 'over'), same);
    assert.deepEqual(await compare('left', 'over', { strict: true }), same);
    await service.write('over', 4096, Buffer.from('z'));
    assert.deepEqual(await compare('left', 'over'), { identical: false, firstDifference: 4096 });
  });

  test('is refused with what is not there, or was not understood', async () => {
    for (const [image, body, status, code] of [
      ['left', { with: 'nobody' }, 404, 'image-not-found'],
      ['nobody', { with: 'left' }, 404, 'image-not-found'],
      ['left', {}, 400, 'invalid-request'],
      ['left', { with: 'right', strict: 'very' }, 400, 'invalid-request'],
      ['left', { with: 'right', snapshot: 's' }, 400, 'invalid-request'],
    ] as const) {
      const refused = await service.post(`/v1/images/${image}/compare`, body);
      assert.deepEqual([refused.status, codeOf(refused)], [status, code], JSON.stringify(body));
    }
  });
});
