// The caches of an open image and of the layers below: as long as the disk needs, whatever becomes of its size, and tidied
// as was asked for.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB } from '../../../src/base/units.ts';
import { CacheBudget, Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { fillGuest, guestBytes } from '../../support/memory-parts.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

function lengthsOf(image: Image): readonly unknown[] {
  const { l2, refcounts } = image.inspect().caches;
  return [l2.lengthMax, refcounts?.lengthMax];
}

function openNew(path: string, virtualSize: number, budget: CacheBudget): Image {
  runToEnd(Image.create(path, { ...plainSpec, virtualSize }));
  return Image.open({ path, writable: true, backing: [], locks: 'none', caches: budget });
}

describe('the caches of an image', () => {
  it('follow the size of its disk, and share with others what there is (OPT-01)', () => {
    using folder = tempFolder();
    const budget = new CacheBudget(64 * MiB);
    const image = openNew(join(folder.path, 'one.qcow2'), 8 * GiB, budget);
    assert.deepEqual(lengthsOf(image), [1 * MiB, 1 * MiB]);
    const resize = (virtualSize: number): void => {
      runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation: 'off' }));
    };
    resize(16 * GiB);
    assert.deepEqual(lengthsOf(image), [2 * MiB, 1 * MiB]);
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    resize(1 * GiB);
    assert.deepEqual(lengthsOf(image), [128 * KiB, 1 * MiB]);
    runToEnd(image.revertSnapshot('s'));
    assert.deepEqual(lengthsOf(image), [2 * MiB, 1 * MiB], 'the snapshot had the larger disk');
    image.setRuntime({ cacheBytes: 3 * MiB });
    assert.deepEqual(lengthsOf(image), [2 * MiB, 1 * MiB]);
    resize(8 * GiB);
    assert.deepEqual(lengthsOf(image), [1 * MiB, 2 * MiB], 'what the L2 cache does not need is for refcounts (OPT-04)');
    const small = openNew(join(folder.path, 'other.qcow2'), 1 * GiB, new CacheBudget(2 * MiB));
    fillGuest(small, 0, 1, 1);
    small.setRuntime({ cacheBytes: 4 * MiB });
    runToEnd(small.resize({ virtualSize: 32 * GiB, allowShrink: false, preallocation: 'off' }));
    assert.deepEqual(lengthsOf(small), [1920 * KiB, 128 * KiB], 'the same part of what each wants: a half');
    assert.deepEqual([...guestBytes(small, 0, 2)], [1, 0]);
    small.close();
    image.close();
  });

  it('are as before when one option of several is refused (OPT-15)', () => {
    using folder = tempFolder();
    const budget = new CacheBudget(64 * MiB);
    const image = openNew(join(folder.path, 'one.qcow2'), 8 * GiB, budget);
    image.setRuntime({ cacheBytes: 512 * KiB, cacheCleanSeconds: 1 });
    const before = lengthsOf(image);
    assert.deepEqual(before, [256 * KiB, 256 * KiB]);
    const refused = { cacheBytes: 1 * MiB, l2CacheBytes: 2 * MiB, cacheCleanSeconds: 0 };
    assert.equal(
      faultCodeOf(() => image.setRuntime(refused)),
      'unsupported-option',
    );
    assert.deepEqual(lengthsOf(image), before);
    fillGuest(image, 0, 1, 1);
    fillGuest(image, 1 * GiB, 1, 1);
    image.flush();
    for (const nowMs of [0, 1000, 2000]) budget.tidy(nowMs);
    assert.equal(image.inspect().caches.l2.length, 4 * KiB, 'the slice that was asked for last');
    image.close();
  });
});

describe('the layers below an image', () => {
  it('are tidied as is asked of the image, from then on, also on another chain (OPT-05)', () => {
    using folder = tempFolder();
    const budget = new CacheBudget(64 * MiB);
    const path = (name: string): string => join(folder.path, `${name}.qcow2`);
    const layer = (name: string) => ({ fileName: `${name}.qcow2`, path: path(name), format: 'qcow2' }) as const;
    for (const name of ['base', 'other']) {
      const image = openNew(path(name), 8 * GiB, budget);
      for (let slice = 0; slice < 8; slice += 1) fillGuest(image, slice * 32 * MiB, 1, 1);
      image.close();
    }
    runToEnd(Image.create(path('top'), { ...plainSpec, virtualSize: 8 * GiB, backing: layer('base') }));
    const top = Image.open({
      ...{ path: path('top'), writable: true, backing: [layer('base')], locks: 'none', caches: budget },
      runtime: { cacheCleanSeconds: 0 },
    });
    const readAll = (): void => {
      for (let slice = 0; slice < 8; slice += 1) assert.equal(guestBytes(top, slice * 32 * MiB, 1)[0], 1);
    };
    /** What the layer keeps: the image itself maps nothing. */
    const kept = (): number => (budget.totals.length - top.inspect().caches.l2.length - refcounts()) / (4 * KiB);
    const refcounts = (): number => top.inspect().caches.refcounts?.length ?? 0;
    let nowMs = 0;
    const wait = (): void => {
      for (const step of [0, 1000, 1000]) budget.tidy((nowMs += step));
    };
    readAll();
    assert.equal(kept(), 8);
    wait();
    assert.equal(kept(), 8, 'nothing was asked for');
    top.setRuntime({ cacheCleanSeconds: 1 });
    readAll();
    wait();
    assert.equal(kept(), 1, 'the slice that was asked for last');
    runToEnd(top.rebase({ chain: [layer('other')], mode: 'unsafe' }));
    readAll();
    assert.equal(kept(), 8);
    wait();
    assert.equal(kept(), 1);
    top.setRuntime({ cacheCleanSeconds: 0 });
    readAll();
    wait();
    assert.equal(kept(), 8);
    top.close();
    assert.equal(budget.totals.length, 0);
  });
});
