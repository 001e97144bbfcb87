// How long the two caches are: what QEMU's docs/qcow2-cache.txt works out, and what holds for every wish.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB, TiB } from '../../../src/base/units.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import type { Geometry } from '../../../src/engine/format/geometry.ts';
import { cacheSizesOf, judgeCacheWish } from '../../../src/engine/operations/cache-sizes.ts';
import type { CacheWish } from '../../../src/engine/operations/cache-sizes.ts';
import { faultCodeOf, faultOf } from '../../support/faults.ts';
import { Prng } from '../../support/prng.ts';

const usual = geometryOf({ clusterBits: 16, extendedL2: false, refcountOrder: 4 });
const extended = geometryOf({ clusterBits: 16, extendedL2: true, refcountOrder: 4 });

/** The lengths of the L2 cache and of that of refcounts. */
function lengthsOf(wish: CacheWish, virtualSize: number, geometry: Geometry = usual): readonly [number, number] {
  judgeCacheWish(wish, geometry);
  const { l2, refcounts } = cacheSizesOf(wish, { geometry, virtualSize });
  return [l2.length, refcounts.length];
}

describe('the L2 cache', () => {
  it('is 32 MiB at most, which is a disk of 256 GiB, and no more than the disk needs (OPT-01)', () => {
    const rows: readonly (readonly [number, number])[] = [
      [1 * TiB, 32 * MiB],
      [256 * GiB, 32 * MiB],
      [8 * GiB, 1 * MiB],
      [8 * GiB + 512, 1 * MiB + 64 * KiB],
      [512 * MiB, 64 * KiB],
    ];
    for (const [virtualSize, l2] of rows) assert.equal(lengthsOf({}, virtualSize)[0], l2, `${virtualSize} bytes`);
  });

  it('needs twice as much with extended L2 entries', () => {
    assert.equal(lengthsOf({}, 8 * GiB, extended)[0], 2 * MiB);
  });

  it('takes what was asked for as long as the disk needs it', () => {
    assert.equal(lengthsOf({ l2CacheBytes: 16 * MiB }, 1 * TiB)[0], 16 * MiB);
    assert.equal(lengthsOf({ l2CacheBytes: 128 * MiB }, 1 * TiB)[0], 128 * MiB);
    assert.equal(lengthsOf({ l2CacheBytes: 128 * MiB }, 8 * GiB)[0], 1 * MiB);
  });

  it('keeps 16 entries of any disk', () => {
    assert.equal(lengthsOf({}, 512)[0], 64 * KiB);
    assert.equal(lengthsOf({ l2CacheEntryBytes: 64 * KiB }, 512)[0], 1 * MiB);
    assert.equal(lengthsOf({}, 0)[0], 64 * KiB);
  });
});

describe('a total', () => {
  const clusters4 = 256 * KiB;

  it('is first of the L2 cache, as far as it can use it, and then of refcounts (OPT-04)', () => {
    const rows: readonly (readonly [number, readonly [number, number]])[] = [
      [64 * MiB, [1 * MiB, 63 * MiB]],
      [2 * MiB, [1 * MiB, 1 * MiB]],
      [1 * MiB + clusters4, [1 * MiB, clusters4]],
      [1 * MiB, [1 * MiB - clusters4, clusters4]],
      // QEMU would have the L2 cache begin at 2 clusters, and go over the total.
      [256 * KiB, [64 * KiB, 192 * KiB]],
      [128 * KiB, [64 * KiB, 64 * KiB]],
    ];
    for (const [cacheBytes, lengths] of rows) {
      assert.deepEqual(lengthsOf({ cacheBytes }, 8 * GiB), lengths, `${cacheBytes} bytes`);
    }
  });

  it('leaves refcounts what a given L2 cache does not take', () => {
    const rows: readonly (readonly [CacheWish, readonly [number, number]])[] = [
      [{ cacheBytes: 4 * MiB, l2CacheBytes: 512 * KiB }, [512 * KiB, 4 * MiB - 512 * KiB]],
      [{ cacheBytes: 4 * MiB, l2CacheBytes: 3 * MiB }, [1 * MiB, 3 * MiB]],
      [{ cacheBytes: 1 * MiB, l2CacheBytes: 1 * MiB }, [1 * MiB - 64 * KiB, 64 * KiB]],
      [{ cacheBytes: 1 * MiB, refcountCacheBytes: 768 * KiB }, [256 * KiB, 768 * KiB]],
      [{ cacheBytes: 4 * MiB, refcountCacheBytes: 1 * MiB }, [1 * MiB, 1 * MiB]],
      [{ cacheBytes: 1 * MiB, refcountCacheBytes: 1 * MiB }, [64 * KiB, 1 * MiB - 64 * KiB]],
    ];
    for (const [wish, lengths] of rows) assert.deepEqual(lengthsOf(wish, 8 * GiB), lengths, JSON.stringify(wish));
  });

  it('is refused beside both parts, and smaller than one of them or than the shortest caches, by name', () => {
    const rows: readonly (readonly [CacheWish, keyof CacheWish])[] = [
      [{ cacheBytes: 1 * MiB, l2CacheBytes: 512 * KiB, refcountCacheBytes: 512 * KiB }, 'cacheBytes'],
      [{ cacheBytes: 1 * MiB, l2CacheBytes: 1 * MiB + 1 }, 'l2CacheBytes'],
      [{ cacheBytes: 1 * MiB, refcountCacheBytes: 1 * MiB + 1 }, 'refcountCacheBytes'],
      [{ cacheBytes: 128 * KiB - 1 }, 'cacheBytes'],
      [{ cacheBytes: 1 * MiB, l2CacheEntryBytes: 64 * KiB }, 'cacheBytes'],
    ];
    for (const [wish, option] of rows) {
      const [code, context] = faultOf(() => judgeCacheWish(wish, usual)) ?? [];
      assert.deepEqual([code, context?.['option'], context?.['value']], ['unsupported-option', option, wish[option]]);
    }
  });
});

describe('any wish that is not refused', () => {
  it('is kept to, and gives no cache more than its disk needs', () => {
    const chance = new Prng(20_261_129);
    const sizes = [0, 512, 8 * KiB, 64 * KiB, 100_000, 128 * KiB, 1 * MiB, 1_500_000, 40 * MiB] as const;
    const sizeOf = (size: number): number | undefined => (size === 0 ? undefined : size);
    let kept = 0;
    for (let round = 0; round < 4000; round += 1) {
      const clusterBits = chance.pick([9, 12, 16, 21]);
      const geometry = geometryOf({ clusterBits, extendedL2: clusterBits > 13 && chance.chance(50), refcountOrder: 4 });
      const virtualSize = chance.pick([0, 512, 3 * MiB, 8 * GiB, 1 * TiB]);
      const wish = {
        cacheBytes: sizeOf(chance.pick(sizes)),
        l2CacheBytes: sizeOf(chance.pick(sizes)),
        refcountCacheBytes: sizeOf(chance.pick(sizes)),
        l2CacheEntryBytes: sizeOf(chance.pick([0, 512, 4096, 65_536])),
      };
      if (faultCodeOf(() => judgeCacheWish(wish, geometry)) !== undefined) continue;
      kept += 1;
      const { l2, refcounts } = cacheSizesOf(wish, { geometry, virtualSize });
      const text = JSON.stringify({ wish, clusterBits, virtualSize, l2, refcounts });
      const least = 16 * l2.sliceLength;
      assert.equal(l2.sliceLength, wish.l2CacheEntryBytes ?? Math.min(geometry.clusterSize, 4096), text);
      for (const cache of [l2, refcounts]) assert.equal(cache.length % cache.sliceLength, 0, text);
      assert.ok(l2.length >= least && refcounts.length >= 16 * refcounts.sliceLength, text);
      const tables = Math.ceil(virtualSize / geometry.l2Span);
      assert.ok(l2.length <= Math.max(least, tables * geometry.clusterSize), text);
      assert.ok(l2.length <= (wish.l2CacheBytes ?? Number.MAX_SAFE_INTEGER), text);
      assert.ok(refcounts.length <= (wish.refcountCacheBytes ?? Number.MAX_SAFE_INTEGER), text);
      assert.ok(l2.length + refcounts.length <= (wish.cacheBytes ?? Number.MAX_SAFE_INTEGER), text);
    }
    assert.ok(kept > 400, `${kept} wishes were kept to`);
  });
});
