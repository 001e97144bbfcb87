// Persistent bitmaps as verbs of an open image, without QEMU: what is told, refused, kept and given up.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import type { CreateSpec } from '../../../src/engine/operations/create-spec.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { smallSpec } from '../../support/plain-spec.ts';

const MiB = 1024 * 1024;
const plain: CreateSpec = { ...smallSpec, virtualSize: 4 * MiB };

function fileOf(change: Partial<CreateSpec>): MemoryFile {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, { ...plain, ...change }));
  return file;
}

function opened(file: MemoryFile, writable: boolean): Image {
  return Image.openFile(file, { writable, backing: undefined });
}

function add(image: Image, name: string, granularity?: number, enabled = true): void {
  image.createBitmap({ name, granularity, enabled });
}

function write(image: Image, offset: number, length: number): void {
  image.write(guestOffset(offset), new Uint8Array(length).fill(1), { detectZeroes: false });
}

function told(image: Image): readonly (readonly [string, boolean, boolean, number | undefined])[] {
  return runToEnd(image.bitmaps({ start: 0, limit: 100 })).items.map(({ name, enabled, inconsistent, dirtyBytes }) => [
    name,
    enabled,
    inconsistent,
    dirtyBytes,
  ]);
}

function checkOf(image: Image): readonly number[] {
  const { leaks, corruptions, checkErrors } = runToEnd(image.check());
  return [leaks, corruptions, checkErrors];
}

describe('a bitmap', () => {
  it('tells of writes, zeroes and discards since it began, also when it is opened again', () => {
    const file = fileOf({});
    const image = opened(file, true);
    write(image, 0, 512);
    add(image, 'b', 4096);
    assert.deepEqual(told(image), [['b', true, false, 0]]);
    write(image, 4095, 2);
    runToEnd(image.zero(guestOffset(MiB), 100, { unmap: true }));
    runToEnd(image.discard(guestOffset(2 * MiB), 4096));
    assert.deepEqual(told(image), [['b', true, false, 4 * 4096]]);
    image.close();
    const again = opened(file, false);
    assert.deepEqual(told(again), [['b', true, false, 4 * 4096]]);
    assert.deepEqual(again.dirtyExtents('b', { offset: 100, length: MiB, limit: 10 }).items, [
      { offset: 100, length: 8092, dirty: true },
      { offset: 8192, length: MiB - 8192, dirty: false },
      { offset: MiB, length: 100, dirty: true },
    ]);
    assert.deepEqual(checkOf(again), [0, 0, 0]);
  });

  it('has the granularity of the cluster, at least 4 KiB and at most 64 KiB (BMP-08)', () => {
    for (const [clusterSize, granularity] of [
      [512, 4096],
      [16_384, 16_384],
      [2 * MiB, 65_536],
    ] as const) {
      const image = opened(fileOf({ clusterSize }), true);
      assert.equal(image.createBitmap({ name: 'b', granularity: undefined, enabled: true }).granularity, granularity);
    }
  });

  it('is listed in pages whose next one goes on where the last ended', () => {
    const image = opened(fileOf({}), true);
    add(image, 'b', 512);
    for (let at = 0; at < 8; at += 2) write(image, at * 512, 512);
    const page = image.dirtyExtents('b', { offset: 0, length: 8 * 512, limit: 3 });
    assert.deepEqual(
      page.items.map(({ offset, dirty }) => [offset, dirty]),
      [
        [0, true],
        [512, false],
        [1024, true],
      ],
    );
    assert.equal(page.nextOffset, 1536);
    const rest = image.dirtyExtents('b', { offset: 1536, length: 8 * 512 - 1536, limit: 99 });
    assert.deepEqual([rest.items.length, rest.nextOffset], [5, undefined]);
  });

  it('that does not record stays true through a crash; one that does is inconsistent then', () => {
    const file = fileOf({});
    const image = opened(file, true);
    add(image, 'off', 512, false);
    add(image, 'on', 512);
    write(image, 0, 512);
    image.flush();
    image.abandon();
    const again = opened(file, true);
    assert.deepEqual(told(again), [
      ['off', false, false, 0],
      ['on', true, true, undefined],
    ]);
    for (const refused of [
      () => {
        again.clearBitmap('on');
      },
      () => {
        again.setBitmapEnabled('on', false);
      },
      () => again.dirtyExtents('on', { offset: 0, length: 512, limit: 1 }),
      () => runToEnd(again.mergeBitmaps('off', ['on'])),
      () => {
        runToEnd(again.resize({ virtualSize: 8 * MiB, allowShrink: false, preallocation: 'off' }));
      },
    ]) {
      assert.equal(faultCodeOf(refused), 'bitmap-inconsistent');
    }
    again.deleteBitmap('on');
    runToEnd(again.resize({ virtualSize: 8 * MiB, allowShrink: false, preallocation: 'off' }));
    assert.deepEqual(told(again), [['off', false, false, 0]]);
    assert.deepEqual(checkOf(again), [0, 0, 0]);
  });

  it('records from when it is enabled until it is disabled, and is cleared', () => {
    const image = opened(fileOf({}), true);
    add(image, 'b', 512, false);
    write(image, 0, 512);
    image.setBitmapEnabled('b', true);
    write(image, 512, 512);
    image.setBitmapEnabled('b', false);
    write(image, 4096, 512);
    assert.deepEqual(image.dirtyExtents('b', { offset: 0, length: 2048, limit: 9 }).items, [
      { offset: 0, length: 512, dirty: false },
      { offset: 512, length: 512, dirty: true },
      { offset: 1024, length: 1024, dirty: false },
    ]);
    image.clearBitmap('b');
    assert.deepEqual(told(image), [['b', false, false, 0]]);
    assert.deepEqual(checkOf(image), [0, 0, 0]);
  });

  it('keeps an image from going back to a snapshot (BMP-10), which can be taken', () => {
    const image = opened(fileOf({}), true);
    add(image, 'b');
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    assert.equal(
      faultCodeOf(() => {
        runToEnd(image.revertSnapshot('s'));
      }),
      'bitmaps-prevent-revert',
    );
    image.deleteBitmap('b');
    runToEnd(image.revertSnapshot('s'));
  });

  it('survives a check and a repair in the middle of its records', () => {
    const file = fileOf({});
    const image = opened(file, true);
    add(image, 'b', 512);
    write(image, 0, 512);
    assert.deepEqual(checkOf(image), [0, 0, 0]);
    write(image, 1024, 512);
    assert.equal(runToEnd(image.repair('all')).clean, true);
    write(image, 2048, 512);
    image.close();
    assert.deepEqual(told(opened(file, false)), [['b', true, false, 1536]]);
  });
});

describe('a new bitmap is refused', () => {
  const cases: readonly (readonly [string, string, Partial<CreateSpec>, string, number | undefined])[] = [
    ['in a version 2 image', 'unsupported-option', { compat: '0.10' }, 'b', undefined],
    ['with a granularity of 256 bytes', 'invalid-geometry', {}, 'b', 256],
    ['with a granularity of 4 GiB', 'invalid-geometry', {}, 'b', 2 ** 32],
    ['with a granularity that is no power of two', 'invalid-geometry', {}, 'b', 3072],
    ['without a name', 'invalid-geometry', {}, '', undefined],
    ['with a name of 1024 bytes', 'invalid-geometry', {}, '\u00e4'.repeat(512), undefined],
    [
      'with more than 512 MiB of bits (BMP-05)',
      'invalid-geometry',
      { virtualSize: 2 ** 41 + 2 ** 22, clusterSize: 65_536 },
      'b',
      512,
    ],
    ['of an empty disk', 'invalid-geometry', { virtualSize: 0 }, 'b', undefined],
  ];
  for (const [title, code, change, name, granularity] of cases) {
    it(title, () => {
      const image = opened(fileOf(change), true);
      assert.equal(
        faultCodeOf(() => {
          add(image, name, granularity);
        }),
        code,
      );
      assert.equal(image.describe().bitmapCount, 0);
    });
  }

  it('with a name that is taken, and on an image that is open for reading', () => {
    const file = fileOf({});
    const image = opened(file, true);
    add(image, '\u00e4'.repeat(511));
    for (const again of [image, opened(file, false)]) {
      const code = faultCodeOf(() => {
        add(again, '\u00e4'.repeat(511));
      });
      assert.equal(code, again.writable ? 'name-conflict' : 'image-read-only');
    }
  });
});

describe('many marks', () => {
  it('cost memory up to a limit, and are written to clusters then', () => {
    const file = fileOf({ virtualSize: 2 ** 40, clusterSize: 65_536 });
    const image = opened(file, true);
    add(image, 'b', 512);
    const span = 65_536 * 8 * 512;
    const count = 1100;
    // One bit in each of more pieces than memory may hold.
    for (let index = 0; index < count; index += 1) write(image, index * span, 512);
    assert.deepEqual(told(image), [['b', true, false, count * 512]]);
    write(image, 512, 512);
    assert.deepEqual(checkOf(image), [0, 0, 0]);
    image.close();
    assert.deepEqual(told(opened(file, false)), [['b', true, false, count * 512 + 512]]);
  });
});
