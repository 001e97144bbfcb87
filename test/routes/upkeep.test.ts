import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { commonChoice, place, soundImage } from '../support/hostile-image.ts';
import { codeOf, pattern, pointersOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: MiB });
});
after(async () => service[Symbol.asyncDispose]());

describe('resizing', () => {
  test('gives the guest more disk, rounded up to a sector', async () => {
    const answer = await service.post('/v1/images/vm/resize', { virtualSize: 2 * MiB - 100 }).expect(200);
    assert.equal((answer.body as ImageBody).virtualSize, 2 * MiB);
    assert.equal(answer.headers['etag'], `"${(answer.body as ImageBody).version}"`);
  });

  test('gives it less only when that was allowed', async () => {
    const refused = await service.post('/v1/images/vm/resize', { virtualSize: MiB });
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'shrink-not-allowed']);
    const allowed = await service.post('/v1/images/vm/resize', { virtualSize: MiB, allowShrink: true }).expect(200);
    assert.equal((allowed.body as ImageBody).virtualSize, MiB);
  });

  test('refuses what is no size', async () => {
    assert.deepEqual(pointersOf(await service.post('/v1/images/vm/resize', { virtualSize: -1, size: 1 })).toSorted(), [
      '/size',
      '/virtualSize',
    ]);
    assert.equal((await service.post('/v1/images/vm/resize', { virtualSize: 0 })).status, 422);
    assert.equal((await service.post('/v1/images/nobody/resize', { virtualSize: 512 })).status, 404);
  });
});

describe('checking', () => {
  test('counts, without a body as with one', async () => {
    await service.write('vm', 0, pattern(100_000, 1));
    for (const body of [undefined, {}, { repair: 'none' }, { repair: 'all' }]) {
      const answer = await service.post('/v1/images/vm/check', body).expect(200);
      const report = answer.body as Record<string, unknown>;
      assert.deepEqual(
        [report['clean'], report['corruptions'], report['leaks'], report['checkErrors'], report['findings']],
        [true, 0, 0, 0, []],
      );
      assert.equal(report['allocatedClusters'], 2);
    }
  });

  test('refuses what it does not know', async () => {
    assert.deepEqual(pointersOf(await service.post('/v1/images/vm/check', { repair: 'some' })), ['/repair']);
    assert.equal((await service.post('/v1/images/nobody/check')).status, 404);
  });
});

describe('the runtime of an image', () => {
  const cachesOf = async (image: string): Promise<Record<string, Record<string, number>>> =>
    (
      (await service.get(`/v1/images/${image}/info`).expect(200)).body as {
        caches: Record<string, Record<string, number>>;
      }
    ).caches;

  test('takes other caches at once, keeps them over a closing, and answers with the info (OPS-04, OPT-06, OPT-15)', async () => {
    await service.create({ name: 'run', virtualSize: 64 * MiB });
    const bytes = Buffer.alloc(3 * MiB, 7);
    await service.write('run', 0, bytes);
    const wish = { l2CacheBytes: 65_536, l2CacheEntryBytes: 512, refcountCacheBytes: 131_072, passDiscard: true };
    const answer = await service.patch('/v1/images/run/runtime', wish).expect(200);
    const { l2 } = (answer.body as { caches: Record<string, Record<string, number>> }).caches;
    assert.deepEqual([l2?.['bytesMax'], l2?.['entryBytes']], [65_536, 512]);
    await service.write('run', 40 * MiB, bytes);
    await service.post('/v1/images/run/detach', {}).expect(200);
    await service.post('/v1/images/run/attach', {}).expect(200);
    await service.patch('/v1/images/run/runtime', { lazyRefcounts: true }).expect(200);
    const caches = await cachesOf('run');
    assert.deepEqual([caches['l2']?.['bytesMax'], caches['refcounts']?.['bytesMax']], [65_536, 131_072]);
    const read = await service
      .bytes('/v1/images/run/data')
      .set('Range', `bytes=${40 * MiB}-${43 * MiB - 1}`)
      .expect(206);
    assert.ok(bytes.equals(read.body as Buffer));
    await service.write('run', 20 * MiB, bytes);
    const info = (await service.get('/v1/images/run/info').expect(200)).body as Record<string, unknown>;
    assert.equal(info['dirtyFlag'], true, 'refcounts lag behind');
    const allocated = async (): Promise<number> =>
      ((await service.get('/v1/images/run/info').expect(200)).body as { actualSize: number }).actualSize;
    await service.patch('/v1/images/run/runtime', { passDiscard: false }).expect(200);
    const before_ = await allocated();
    await service.post('/v1/images/run/discard', { offset: 0, length: 3 * MiB }).expect(204);
    assert.ok((await allocated()) >= before_, 'nothing goes back to the host');
    const zeroes = await service.bytes('/v1/images/run/data').set('Range', 'bytes=0-99').expect(206);
    assert.ok(Buffer.alloc(100).equals(zeroes.body as Buffer));
    await service.patch('/v1/images/run/runtime', { cacheCleanSeconds: 1 }).expect(200);
    for (const offset of [0, 20 * MiB, 40 * MiB]) await service.write('run', offset, bytes);
    const kept = async (): Promise<number> => (await cachesOf('run'))['l2']?.['bytes'] ?? 0;
    assert.ok((await kept()) > 512);
    while ((await kept()) > 512) await new Promise((resolve) => setTimeout(resolve, 50));
    const rate = (await cachesOf('run'))['l2']?.['hitRate'] ?? -1;
    assert.ok(rate > 0 && rate < 1, String(rate));
    for (const rules of [
      { overlapCheck: 'all' },
      { overlapAreas: { inactiveL2: false } },
      { overlapCheck: 'none' },
      { overlapCheck: 'constant', overlapAreas: { refcountBlock: true } },
    ]) {
      await service.patch('/v1/images/run/runtime', rules).expect(200);
      await service.write('run', 0, bytes);
    }
    const report = (await service.post('/v1/images/run/check', {}).expect(200)).body as { readonly clean: boolean };
    assert.equal(report.clean, true);
  });

  test('takes one size for both caches, instead of those that were given before (OPT-04, OPT-15)', async () => {
    await service.create({ name: 'total', virtualSize: 8192 * MiB });
    await service.write('total', 0, Buffer.alloc(1, 7));
    const etag = (await service.get('/v1/images/total/data').set('Range', 'bytes=0-0').expect(206)).headers['etag'];
    for (const [change, l2, refcounts] of [
      [{ l2CacheBytes: 262_144, refcountCacheBytes: 131_072 }, 262_144, 131_072],
      [{ cacheBytes: 2 * MiB, l2CacheEntryBytes: 512 }, MiB, MiB],
      [{ l2CacheBytes: 262_144 }, 262_144, 2 * MiB - 262_144],
      [{ cacheBytes: MiB, refcountCacheBytes: 131_072 }, MiB - 131_072, 131_072],
      [{ l2CacheBytes: 524_288 }, 524_288, 131_072],
      [{ refcountCacheBytes: 4 * MiB }, 524_288, 4 * MiB],
    ] as const) {
      const answer = await service.patch('/v1/images/total/runtime', change).expect(200);
      const { caches } = answer.body as { readonly caches: Record<string, Record<string, number>> };
      assert.deepEqual(
        [caches['l2']?.['bytesMax'], caches['refcounts']?.['bytesMax']],
        [l2, refcounts],
        JSON.stringify(change),
      );
    }
    const now = await service.get('/v1/images/total/data').set('Range', 'bytes=0-0').expect(206);
    assert.equal(now.headers['etag'], etag, 'no byte is another one');
  });

  test('keeps what changes ask for that come at once', async () => {
    await service.create({ name: 'crowd', virtualSize: 8192 * MiB });
    await service.write('crowd', 0, Buffer.alloc(1, 7));
    const changes = [{ l2CacheBytes: 131_072 }, { refcountCacheBytes: 262_144 }, { l2CacheEntryBytes: 1024 }];
    await Promise.all(changes.map((change) => service.patch('/v1/images/crowd/runtime', change).expect(200)));
    const { l2, refcounts } = await cachesOf('crowd');
    assert.deepEqual([l2?.['bytesMax'], refcounts?.['bytesMax'], l2?.['entryBytes']], [131_072, 262_144, 1024]);
  });

  test('keeps what it can when the image is amended to an older version', async () => {
    await service.create({ name: 'older', virtualSize: 64 * MiB });
    const wish = { lazyRefcounts: true, discardNoUnref: true, refcountCacheBytes: 131_072 };
    await service.patch('/v1/images/older/runtime', wish).expect(200);
    await service.post('/v1/images/older/amend', { compat: '0.10' }).expect(200);
    await service.write('older', 0, Buffer.alloc(MiB, 7));
    await service.post('/v1/images/older/discard', { offset: 0, length: MiB }).expect(204);
    await service.patch('/v1/images/older/runtime', { passDiscard: false }).expect(200);
    assert.equal((await cachesOf('older'))['refcounts']?.['bytesMax'], 131_072);
  });

  test('is not changed by options of which one cannot be honoured (OPT-06, OPT-15)', async () => {
    await service.create({ name: 'stay', virtualSize: MiB });
    const before_ = await cachesOf('stay');
    for (const change of [
      { l2CacheBytes: 131_072, l2CacheEntryBytes: 131_072 },
      { l2CacheEntryBytes: 600 },
      { l2CacheBytes: 65_535 },
      { refcountCacheBytes: 1, l2CacheBytes: 131_072 },
      { cacheBytes: MiB, l2CacheBytes: 131_072, refcountCacheBytes: 131_072 },
      { cacheBytes: MiB, l2CacheBytes: 2 * MiB },
      { cacheBytes: 131_071, overlapCheck: 'none' },
    ]) {
      const answer = await service.patch('/v1/images/stay/runtime', change);
      assert.deepEqual([answer.status, codeOf(answer)], [422, 'unsupported-option'], JSON.stringify(change));
    }
    assert.equal((await cachesOf('stay'))['l2']?.['bytesMax'], before_['l2']?.['bytesMax']);
    await service.create({ name: 'two', virtualSize: MiB, compat: '0.10' });
    for (const option of ['lazyRefcounts', 'discardNoUnref']) {
      assert.equal((await service.patch('/v1/images/two/runtime', { [option]: true })).status, 422);
    }
    assert.deepEqual(pointersOf(await service.patch('/v1/images/stay/runtime', { overlapCheck: 'some' })), [
      '/overlapCheck',
    ]);
    const unknown = await service.patch('/v1/images/stay/runtime', { overlapAreas: { activeL3: true, activeL2: 1 } });
    assert.deepEqual(pointersOf(unknown).toSorted(), ['/overlapAreas/activeL2', '/overlapAreas/activeL3']);
  });
});

describe('the info of an image', () => {
  test("has qemu-img's words in camelCase", async () => {
    await service.create({ name: 'above', backing: { image: 'vm' } });
    await service.post('/v1/images/above/snapshots', { name: 's' }).expect(201);
    await service.post('/v1/images/above/bitmaps', { name: 'b', granularity: 512, enabled: false }).expect(201);
    await service.write('above', 0, Buffer.from('something'));
    const answer = await service.get('/v1/images/above/info').expect(200);
    const info = answer.body as Record<string, unknown>;
    assert.deepEqual(info['formatSpecific'], {
      type: 'qcow2',
      data: {
        compat: '1.1',
        compressionType: 'zlib',
        refcountBits: 16,
        lazyRefcounts: false,
        corrupt: false,
        extendedL2: false,
        bitmaps: [{ name: 'b', granularity: 512, flags: [] }],
      },
    });
    assert.deepEqual(info['limits'], {
      requestAlignment: 1,
      optimalTransfer: 65_536,
      zeroAlignment: 65_536,
      discardAlignment: 65_536,
      virtualSizeMax: 2 ** 51,
      snapshotCountMax: 65_536,
      bitmapCountMax: 65_535,
    });
    const { l2, refcounts } = info['caches'] as Record<string, Record<string, number>>;
    assert.ok(l2 !== undefined && refcounts !== undefined);
    assert.deepEqual([l2['entryBytes'], refcounts['entryBytes']], [4096, 4096]);
    assert.equal(l2['bytes'], 4096 * (l2['misses'] ?? 0));
    assert.ok((l2['hits'] ?? 0) > 0 && (l2['bytesMax'] ?? 0) >= (l2['bytes'] ?? 0));
    assert.match(String(info['backingFilename']), /^img_.*\.qcow2$/);
    assert.equal(info['backingFilenameFormat'], 'qcow2');
    assert.deepEqual(
      [info['virtualSize'], info['clusterSize'], info['format'], info['dirtyFlag']],
      [MiB, 65_536, 'qcow2', false],
    );
    const [snapshot] = info['snapshots'] as Record<string, unknown>[];
    assert.deepEqual(
      [snapshot?.['id'], snapshot?.['name'], snapshot?.['vmClockSec'], snapshot?.['vmClockNsec']],
      ['1', 's', 0, 0],
    );
  });

  test('tells how many snapshots there are, and of the first 1000 what they are', async () => {
    await service
      .put('/v1/imports/many?repair=all')
      .send(Buffer.from(imageWithSnapshots(1001)))
      .expect(201);
    const answer = await service.get('/v1/images/many/info').expect(200);
    const info = answer.body as {
      readonly snapshotCount: number;
      readonly snapshots: readonly { readonly id: string }[];
    };
    assert.deepEqual([info.snapshotCount, info.snapshots.length, info.snapshots.at(-1)?.id], [1001, 1000, '1000']);
    const none = await service.get('/v1/images/vm/info').expect(200);
    assert.equal((none.body as { readonly snapshotCount: number }).snapshotCount, 0);
  });

  test('of version 2 is as short as there', async () => {
    await service.create({ name: 'old', virtualSize: MiB, compat: '0.10' });
    const answer = await service.get('/v1/images/old/info').expect(200);
    assert.deepEqual((answer.body as { formatSpecific: { data: object } }).formatSpecific.data, {
      compat: '0.10',
      compressionType: 'zlib',
      refcountBits: 16,
    });
    assert.equal((await service.get('/v1/images/nobody/info')).status, 404);
  });
});

/** The sound image, and behind it a table of so many snapshots that reach nothing. */
function imageWithSnapshots(count: number): Uint8Array {
  const draft = soundImage(commonChoice);
  const table = draft.bytes.length;
  // 40 bytes, 24 of extra data with the disk size, 4 of id: a multiple of 8 with padding (SNT-01, SNT-02).
  const step = 72;
  const bytes = Buffer.alloc(table + Math.ceil((count * step) / 4096) * 4096);
  bytes.set(draft.bytes);
  for (let index = 0; index < count; index += 1) {
    const entry = bytes.subarray(table + index * step);
    const id = String(index + 1);
    entry.writeUInt16BE(id.length, 12);
    entry.writeUInt32BE(24, 36);
    entry.writeUInt32BE(64 * 4096, 52);
    entry.write(id, 64);
  }
  bytes.writeUInt32BE(count, 60);
  bytes.writeBigUInt64BE(BigInt(table), 64);
  const block = place.refcountBlock * 4096;
  for (let cluster = place.clusterCount; cluster < bytes.length / 4096; cluster += 1) {
    bytes.writeUInt16BE(1, block + cluster * 2);
  }
  // What the snapshot of the sound image had is used once now.
  for (const cluster of [place.l2Table, place.dataOne, place.dataTwo]) bytes.writeUInt16BE(1, block + cluster * 2);
  return bytes;
}
