// What the caches of several images share: how much each keeps, and that nobody stays in who was closed.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { MiB } from '../../../src/base/units.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import { CacheBudget, Image } from '../../../src/engine/image.ts';
import type { CacheTotals, LimitedCache } from '../../../src/engine/metadata/cache-budget.ts';
import { SliceCache } from '../../../src/engine/metadata/slice-cache.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { fillGuest, guestBytes } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

class Wish implements LimitedCache {
  readonly lengthWanted: number;
  limited = Number.NaN;
  tidiedAtMs = Number.NaN;

  constructor(lengthWanted: number) {
    this.lengthWanted = lengthWanted;
  }

  limit(length: number): void {
    this.limited = length;
  }

  tidy(nowMs: number): void {
    this.tidiedAtMs = nowMs;
  }

  get figures(): CacheTotals {
    return { length: this.lengthWanted / 2, hits: this.lengthWanted, misses: 1 };
  }
}

/** Knows who is in. */
class WatchedBudget extends CacheBudget {
  readonly members = new Set<LimitedCache>();

  override join(caches: readonly LimitedCache[]): void {
    for (const cache of caches) this.members.add(cache);
    super.join(caches);
  }

  override leave(caches: readonly LimitedCache[]): void {
    for (const cache of caches) this.members.delete(cache);
    super.leave(caches);
  }
}

describe('a cache budget', () => {
  it('gives everybody what they want while there is enough, and then the same part of it', () => {
    const budget = new CacheBudget(900);
    const [large, small, late] = [new Wish(400), new Wish(200), new Wish(1_200)];
    budget.join([large, small]);
    assert.deepEqual([large.limited, small.limited], [400, 200]);
    budget.join([late]);
    assert.deepEqual([large.limited, small.limited, late.limited], [200, 100, 600]);
    budget.leave([late]);
    assert.deepEqual([large.limited, small.limited], [400, 200]);
  });

  it('sums up its caches, and goes on counting those that left', () => {
    const budget = new CacheBudget(900);
    const [one, other] = [new Wish(400), new Wish(200)];
    budget.join([one, other]);
    assert.deepEqual(budget.totals, { length: 300, hits: 600, misses: 2 });
    budget.leave([one, new Wish(7)]);
    assert.deepEqual(budget.totals, { length: 100, hits: 600, misses: 2 });
    budget.tidy(5);
    assert.deepEqual([one.tidiedAtMs, other.tidiedAtMs], [Number.NaN, 5]);
  });

  it('makes a cache drop what is clean at once, and what was changed when it has been written', () => {
    const file = MemoryFile.of(new Uint8Array(MiB));
    let reads = 0;
    const counted = Object.assign(Object.create(file) as MemoryFile, {
      readAt: (offset: ReturnType<typeof hostOffset>, target: Uint8Array): void => {
        reads += 1;
        file.readAt(offset, target);
      },
      writeAt: (offset: ReturnType<typeof hostOffset>, source: Uint8Array): void => file.writeAt(offset, source),
    });
    const cache = new SliceCache({ file: counted, sliceLength: 512, slicesMax: 100, beforeWrite: () => undefined });
    const touch = (from: number, to: number): number => {
      const before = reads;
      for (let index = from; index < to; index += 1) cache.get(hostOffset(index * 512));
      return reads - before;
    };
    assert.equal(touch(0, 100), 100);
    assert.equal(touch(0, 100), 0, 'all are kept');
    for (let index = 0; index < 30; index += 1) {
      const slice = cache.get(hostOffset(index * 512));
      slice.bytes.fill(7);
      cache.markDirty(slice);
    }
    new CacheBudget(20 * 512).join([cache]);
    assert.equal(touch(0, 30), 0, 'what was changed is still there');
    assert.equal(touch(30, 100), 70, 'what was clean has gone');
    assert.ok(touch(0, 100) >= 80, 'no more than the limit is kept');
    const stored = new Uint8Array(30 * 512);
    file.readAt(hostOffset(0), stored);
    assert.ok(
      stored.every((byte) => byte === 7),
      'what had been changed was written before it left',
    );
  });
});

describe('images that share a budget', () => {
  it('are counted from open to close, with the layers below, over repairs and failures', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'base.qcow2');
    const overlay = join(folder.path, 'overlay.qcow2');
    const backing = [{ fileName: 'base.qcow2', path, format: 'qcow2' }] as const;
    runToEnd(Image.create(path, { ...smallSpec, virtualSize: MiB }));
    runToEnd(
      Image.create(overlay, { ...smallSpec, virtualSize: MiB, backing: { fileName: 'base.qcow2', format: 'qcow2' } }),
    );
    const caches = new WatchedBudget(MiB);
    const options = { locks: 'none', caches } as const;

    const image = Image.open({ path: overlay, writable: true, backing, ...options });
    assert.equal(caches.members.size, 3, 'two of the image, one of the layer below');
    runToEnd(image.repair('all'));
    assert.equal(caches.members.size, 3);
    const reader = Image.open({ path, writable: false, backing: [], ...options });
    assert.equal(caches.members.size, 4);
    reader.abandon();
    assert.equal(caches.members.size, 3);
    image.close();
    assert.equal(caches.members.size, 0);
    assert.equal(
      faultCodeOf(() => Image.open({ path: overlay, writable: true, backing: [], ...options })),
      'backing-refused',
    );
    assert.equal(caches.members.size, 0);
  });

  it('hold no more than the budget together, however many are open and whatever they are asked for', () => {
    using folder = tempFolder();
    const size = 512 * MiB;
    // More than each of the twelve caches keeps in any case.
    const little = 1 * MiB;
    const holding = (budget: number): { readonly most: number; readonly atEnd: number } => {
      const caches = new CacheBudget(budget);
      const images = [0, 1, 2, 3, 4, 5].map((index) => {
        const path = join(folder.path, `${String(budget)}-${String(index)}.qcow2`);
        runToEnd(Image.create(path, { ...smallSpec, clusterSize: 4096, virtualSize: size }));
        return Image.open({ path, writable: true, backing: [], locks: 'none', caches });
      });
      let most = 0;
      for (const [index, image] of images.entries()) {
        // A table of entries each.
        for (let at = 0; at < size; at += 2 * MiB) fillGuest(image, at, 512, index + 1);
        // What was changed leaves when it has been written.
        image.flush();
        most = Math.max(most, caches.totals.length);
      }
      for (const [index, image] of images.entries()) {
        for (let at = 0; at < size; at += 2 * MiB) assert.equal(guestBytes(image, at, 1)[0], index + 1);
        most = Math.max(most, caches.totals.length);
      }
      for (const image of images) image.close();
      return { most, atEnd: caches.totals.length };
    };
    const [tight, ample] = [holding(little), holding(64 * MiB)];
    assert.ok(tight.most > 0 && tight.most <= little, String(tight.most));
    assert.ok(ample.most > 4 * little, `they would take more: ${String(ample.most)}`);
    assert.deepEqual([tight.atEnd, ample.atEnd], [0, 0]);
  });

  it('keep every byte when there is next to no memory for their tables', () => {
    using folder = tempFolder();
    const caches = new CacheBudget(1);
    const images = [0, 1, 2].map((index) => {
      const path = join(folder.path, `${String(index)}.qcow2`);
      runToEnd(Image.create(path, { ...smallSpec, clusterSize: 512, virtualSize: 8 * MiB }));
      return Image.open({ path, writable: true, backing: [], locks: 'none', caches });
    });
    for (let at = 0; at < 8 * MiB; at += 64 * 1024) {
      for (const [index, image] of images.entries()) fillGuest(image, at, 1024, 1 + ((at / 65_536 + index) % 250));
    }
    for (const [index, image] of images.entries()) {
      for (let at = 0; at < 8 * MiB; at += 64 * 1024) {
        const bytes = guestBytes(image, at, 1024);
        assert.ok(bytes.every((byte) => byte === 1 + ((at / 65_536 + index) % 250)));
      }
      assert.equal(runToEnd(image.check()).corruptions, 0);
      image.read(guestOffset(0), new Uint8Array(512));
      image.close();
    }
  });
});
