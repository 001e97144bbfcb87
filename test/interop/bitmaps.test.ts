// Persistent bitmaps between QEMU and this engine: what one stores, the other reads, bit by bit.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { join } from 'node:path';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { Prng } from '../support/prng.ts';
import { checkImage, infoJson, qemuImg, qemuIo } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { dirtyByQemu } from './bitmap-bits.ts';
import type { Stretch } from './bitmap-bits.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const rw = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

function open(path: string, writable: boolean): Image {
  return Image.open({ path, writable, locks: 'qemu', backing: [] });
}

function over<Result>(path: string, work: (image: Image) => Result): Result {
  const image = open(path, true);
  try {
    return work(image);
  } finally {
    image.close();
  }
}

/** The dirty stretches as this engine reads them, page by page. */
function dirtyByUs(path: string, name: string, limit: number): readonly Stretch[] {
  const image = open(path, false);
  try {
    const found: Stretch[] = [];
    let at: number | undefined = 0;
    while (at !== undefined) {
      const page = image.dirtyExtents(name, { offset: at, length: image.virtualSize - at, limit });
      for (const { offset, length, dirty } of page.items) {
        const last = found.at(-1);
        if (dirty && last?.offset !== undefined && last.offset + last.length === offset) {
          found[found.length - 1] = { offset: last.offset, length: last.length + length };
        } else if (dirty) found.push({ offset, length });
      }
      at = page.nextOffset;
    }
    return found;
  } finally {
    image.close();
  }
}

function sound(path: string): void {
  const { exit, stderr } = checkImage(path, 'none');
  assert.equal(exit, 0, stderr);
  assert.doesNotMatch(stderr, /WARNING|inconsistent/);
  const image = open(path, false);
  const report = runToEnd(image.check());
  image.close();
  assert.deepEqual([report.leaks, report.corruptions, report.checkErrors], [0, 0, 0]);
}

/** What `qemu-img info` tells of the bitmaps. */
function toldByQemu(path: string): unknown {
  const specific = infoJson(path)['format-specific'] as { data: { bitmaps?: unknown } };
  return specific.data.bitmaps ?? [];
}

interface Change {
  readonly kind: 'write' | 'zero' | 'discard';
  readonly offset: number;
  readonly length: number;
}

function someChanges(chance: Prng, virtualSize: number): readonly Change[] {
  return Array.from({ length: 30 }, () => {
    const offset = chance.below(virtualSize / 512) * 512;
    const length = Math.min((1 + chance.below(chance.pick([4, 400]))) * 512, virtualSize - offset);
    return { kind: chance.pick(['write', 'write', 'zero', 'discard'] as const), offset, length };
  });
}

function changeByUs(image: Image, changes: readonly Change[]): void {
  for (const { kind, offset, length } of changes) {
    const at = guestOffset(offset);
    if (kind === 'write') image.write(at, new Uint8Array(length).fill(7), { detectZeroes: false });
    if (kind === 'zero') runToEnd(image.zero(at, length, { unmap: true }));
    if (kind === 'discard') runToEnd(image.discard(at, length));
  }
}

function changeByQemu(path: string, changes: readonly Change[]): void {
  const words = { write: 'write -P 7', zero: 'write -z -u', discard: 'discard' };
  qemuIo(
    path,
    changes.map(({ kind, offset, length }) => `${words[kind]} ${String(offset)} ${String(length)}`),
    rw,
  );
}

const layouts = [
  { name: 'the usual layout', options: 'cluster_size=65536', size: 20 * MiB + 512, granularities: [65_536, 512] },
  { name: 'small clusters, many pieces', options: 'cluster_size=512', size: 6 * MiB, granularities: [512, 4096] },
  { name: 'subclusters', options: 'cluster_size=16384,extended_l2=on', size: 3 * MiB, granularities: [1024, 32_768] },
  {
    name: 'lazy refcounts',
    options: 'cluster_size=4096,lazy_refcounts=on',
    size: 9 * MiB,
    granularities: [512, 2 * MiB],
  },
] as const;

describe('bitmaps of this engine, read by QEMU', () => {
  for (const [index, { name, options, size, granularities }] of everySecond(layouts).entries()) {
    it(`${name}: the same bits as QEMU's own for the same changes (BMP-04, BMP-08, BMP-11)`, async () => {
      using space = tempFolder();
      const folder = space.path;
      const [ours, theirs] = [join(folder, 'ours.qcow2'), join(folder, 'theirs.qcow2')];
      const chance = new Prng(index + 1);
      for (const path of [ours, theirs]) qemuImg('create', '-q', '-f', 'qcow2', '-o', options, path, String(size));
      for (const [number, granularity] of granularities.entries()) {
        over(ours, (image) => image.createBitmap({ name: `b${String(number)}`, granularity, enabled: true }));
        qemuImg('bitmap', '--add', '-g', String(granularity), theirs, `b${String(number)}`);
      }
      over(ours, (image) => image.createBitmap({ name: 'off', granularity: undefined, enabled: false }));
      qemuImg('bitmap', '--add', '--disable', theirs, 'off');
      assert.deepEqual(toldByQemu(ours), toldByQemu(theirs));
      for (let round = 0; round < 3; round += 1) {
        const changes = someChanges(chance, size);
        over(ours, (image) => {
          changeByUs(image, changes);
        });
        changeByQemu(theirs, changes);
        sound(ours);
        for (const bitmap of ['b0', 'b1', 'off']) {
          const wanted = await dirtyByQemu(theirs, bitmap);
          assert.deepEqual(await dirtyByQemu(ours, bitmap), wanted, `${bitmap}: ours, read by QEMU`);
          assert.deepEqual(dirtyByUs(theirs, bitmap, 3), wanted, `${bitmap}: QEMU's, read by us`);
          assert.deepEqual(dirtyByUs(ours, bitmap, 1000), wanted, `${bitmap}: ours, read by us`);
        }
      }
    });
  }

  it('follow the size of the disk, are merged, cleared, switched and removed like QEMU does it (BMP-08, BMP-09, T69)', async () => {
    using space = tempFolder();
    const folder = space.path;
    const [ours, theirs] = [join(folder, 'ours.qcow2'), join(folder, 'theirs.qcow2')];
    for (const path of [ours, theirs]) {
      qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4096', path, '5M');
      qemuImg('bitmap', '--add', '-g', '512', path, 'fine');
      qemuImg('bitmap', '--add', '-g', '65536', path, 'coarse');
      changeByQemu(path, someChanges(new Prng(9), 5 * MiB));
    }
    const agree = async (what: string): Promise<void> => {
      assert.deepEqual(toldByQemu(ours), toldByQemu(theirs), what);
      sound(ours);
      for (const name of ['fine', 'coarse']) {
        assert.deepEqual(await dirtyByQemu(ours, name), await dirtyByQemu(theirs, name), `${what}: ${name}`);
      }
    };
    const resizeBoth = (virtualSize: number): void => {
      over(ours, (image) => {
        runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation: 'off' }));
      });
      qemuImg('resize', '-q', '-f', 'qcow2', '--shrink', theirs, String(virtualSize));
    };
    resizeBoth(40 * MiB + 512);
    await agree('grown');
    resizeBoth(3 * MiB + 1536);
    await agree('shrunk');
    resizeBoth(8 * MiB);
    await agree('grown again');
    over(ours, (image) => {
      runToEnd(image.mergeBitmaps('fine', ['coarse']));
    });
    qemuImg('bitmap', '--merge', 'coarse', theirs, 'fine');
    await agree('coarse merged into fine');
    over(ours, (image) => {
      image.setBitmapEnabled('coarse', false);
      image.clearBitmap('coarse');
      runToEnd(image.mergeBitmaps('coarse', ['fine']));
    });
    qemuImg('bitmap', '--disable', '--clear', '--merge', 'fine', theirs, 'coarse');
    await agree('cleared, and fine merged into coarse');
    over(ours, (image) => {
      image.deleteBitmap('fine');
      image.deleteBitmap('coarse');
    });
    assert.deepEqual(toldByQemu(ours), []);
    sound(ours);
  });

  it('are taken by qemu-img bitmap --merge into another image', async () => {
    using space = tempFolder();
    const folder = space.path;
    const [ours, copy] = [join(folder, 'ours.qcow2'), join(folder, 'copy.qcow2')];
    for (const path of [ours, copy]) qemuImg('create', '-q', '-f', 'qcow2', path, '2M');
    over(ours, (image) => {
      image.createBitmap({ name: 'b', granularity: 4096, enabled: true });
      changeByUs(image, [{ kind: 'write', offset: 300 * KiB, length: 5 * KiB }]);
    });
    qemuImg('bitmap', '--add', '--merge', 'b', '-b', ours, '-F', 'qcow2', '-g', '4096', copy, 'c');
    assert.deepEqual(dirtyByUs(copy, 'c', 10), [{ offset: 300 * KiB, length: 8 * KiB }]);
  });

  it('of a program that was killed are inconsistent for QEMU, and go when they are removed (BMP-06, T67)', async () => {
    using space = tempFolder();
    const folder = space.path;
    const path = join(folder, 'killed.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', path, '2M');
    const image = open(path, true);
    image.createBitmap({ name: 'kept', granularity: undefined, enabled: false });
    image.createBitmap({ name: 'lost', granularity: undefined, enabled: true });
    changeByUs(image, [{ kind: 'write', offset: 0, length: 512 }]);
    image.flush();
    image.abandon();
    assert.deepEqual(toldByQemu(path), [
      { flags: [], name: 'kept', granularity: 65_536 },
      { flags: ['in-use', 'auto'], name: 'lost', granularity: 65_536 },
    ]);
    over(path, (again) => {
      const told = runToEnd(again.bitmaps({ start: 0, limit: 100 })).items.map(({ name, inconsistent }) => [
        name,
        inconsistent,
      ]);
      assert.deepEqual(told, [
        ['kept', false],
        ['lost', true],
      ]);
      again.deleteBitmap('lost');
    });
    assert.deepEqual(toldByQemu(path), [{ flags: [], name: 'kept', granularity: 65_536 }]);
    sound(path);
  });

  it('find room in headers with and without a backing name, which stays', async () => {
    using space = tempFolder();
    const folder = space.path;
    const below = join(folder, 'below.raw');
    qemuImg('create', '-q', '-f', 'raw', below, '1M');
    for (const options of ['cluster_size=512', 'cluster_size=1024', 'cluster_size=4096', 'cluster_size=65536']) {
      const path = join(folder, `${options}.qcow2`);
      qemuImg('create', '-q', '-f', 'qcow2', '-o', options, '-b', below, '-F', 'raw', path, '1M');
      const image = Image.open({
        path,
        writable: true,
        locks: 'qemu',
        backing: [{ fileName: below, path: below, format: 'raw' }],
      });
      image.createBitmap({ name: 'b', granularity: undefined, enabled: true });
      image.close();
      assert.equal(infoJson(path)['backing-filename'], below);
      assert.equal((toldByQemu(path) as unknown[]).length, 1);
      assert.equal(checkImage(path, 'none').exit, 0);
      assert.deepEqual(await dirtyByQemu(path, 'b'), []);
    }
  });
});
