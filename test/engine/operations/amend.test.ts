// An image is made another way, all of it or nothing, and the guest reads the same.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import type { AmendWish, CreateSpec, Image } from '../../../src/engine/image.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const nothing: AmendWish = {
  compat: undefined,
  refcountBits: undefined,
  lazyRefcounts: undefined,
  dataFileRaw: undefined,
};

const clusterSize = 4096;

function amend(file: MemoryFile, wish: Partial<AmendWish>): void {
  const image = imageOver(file, undefined);
  try {
    runToEnd(image.amend({ ...nothing, ...wish }));
  } finally {
    image.close();
  }
}

/** What the image says of itself. */
function shapeOf(file: MemoryFile): string {
  const image = imageOver(file.fork(), undefined);
  const { compat, refcountBits, lazyRefcounts, compressionType } = image.describe();
  image.abandon();
  return [compat, refcountBits, lazyRefcounts ? 'lazy' : 'eager', compressionType].join(' ');
}

/** An image with data in some places; `prepare` does the rest. */
function made(change: Partial<CreateSpec>, prepare: (image: Image) => void): MemoryFile {
  const file = newFile({ clusterSize, ...change });
  const image = imageOver(file, undefined);
  fillGuest(image, 0, 10 * clusterSize, 0x11);
  prepare(image);
  image.close();
  return file;
}

function snapshot(image: Image, name: string): void {
  runToEnd(image.createSnapshot({ name, seconds: 0, nanoseconds: 0, idFloor: 1 }));
}

describe('amending', () => {
  const ways: readonly (readonly [string, Partial<CreateSpec>, Partial<AmendWish>, string])[] = [
    ['widens refcounts', {}, { refcountBits: 64 }, '1.1 64 eager zlib'],
    ['narrows refcounts', {}, { refcountBits: 2 }, '1.1 2 eager zlib'],
    ['goes to version 3', { compat: '0.10' }, { compat: '1.1' }, '1.1 16 eager zlib'],
    ['goes to version 2', { lazyRefcounts: true }, { compat: '0.10' }, '0.10 16 eager zlib'],
    ['lets refcounts be lazy', {}, { lazyRefcounts: true }, '1.1 16 lazy zlib'],
    ['ends laziness', { lazyRefcounts: true }, { lazyRefcounts: false }, '1.1 16 eager zlib'],
    ['has nothing to do', {}, {}, '1.1 16 eager zlib'],
    ['keeps what it is', {}, { compat: '1.1', refcountBits: 16, lazyRefcounts: false }, '1.1 16 eager zlib'],
    ['gives up a raw flag that is not there', {}, { dataFileRaw: false }, '1.1 16 eager zlib'],
    ['does it all', { compat: '0.10' }, { compat: '1.1', refcountBits: 8, lazyRefcounts: true }, '1.1 8 lazy zlib'],
    ['needs two at once', { refcountBits: 64 }, { compat: '0.10', refcountBits: 16 }, '0.10 16 eager zlib'],
    ['forgets zstd that nothing uses', { compressionType: 'zstd' }, { compat: '0.10' }, '0.10 16 eager zlib'],
  ];
  for (const [name, change, wish, after] of ways) {
    it(name, () => {
      const file = made(change, (image) => {
        snapshot(image, 'old');
        runToEnd(image.zero(guestOffset(0), 4 * clusterSize, { unmap: false }));
        runToEnd(image.discard(guestOffset(6 * clusterSize), clusterSize));
      });
      amend(file, wish);
      assert.equal(shapeOf(file), after);
      assert.deepEqual(countsOf(file), clean);
      const image = imageOver(file, undefined);
      const bytes = guestBytes(image, 0, 10 * clusterSize);
      const zeroes = [0, 1, 2, 3, 6];
      for (let cluster = 0; cluster < 10; cluster += 1) {
        assert.equal(bytes[cluster * clusterSize], zeroes.includes(cluster) ? 0 : 0x11, `cluster ${String(cluster)}`);
      }
      const kept = new Uint8Array(10 * clusterSize);
      image.readSnapshot('old', guestOffset(0), kept);
      assert.ok(
        kept.every((byte) => byte === 0x11),
        'the snapshot holds what it held',
      );
      fillGuest(image, 0, 10 * clusterSize, 0x22);
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });
  }

  it('counts a large file with wider refcounts than a table of one cluster can name (REF-12)', () => {
    const file = newFile({ clusterSize: 512, virtualSize: 4 * 1024 * 1024, preallocation: 'metadata' });
    amend(file, { refcountBits: 64 });
    const image = ImageBytes.of(fileBytes(file));
    assert.equal(image.u32(96), 6);
    assert.ok(image.u32(56) > 1, 'the table has several clusters');
    assert.deepEqual(countsOf(file), clean);
    amend(file, { refcountBits: 1 });
    assert.equal(ImageBytes.of(fileBytes(file)).u32(56), 1);
    assert.deepEqual(countsOf(file), clean);
  });

  it('keeps bitmaps that record, and what they recorded', () => {
    const file = made({}, () => undefined);
    const image = imageOver(file, undefined);
    image.createBitmap({ name: 'b', granularity: 4096, enabled: true });
    fillGuest(image, 0, 8192, 3);
    runToEnd(image.amend({ ...nothing, refcountBits: 32 }));
    fillGuest(image, 5 * clusterSize, 1, 3);
    assert.equal(runToEnd(image.bitmap('b')).dirtyBytes, 3 * clusterSize);
    image.close();
    const again = imageOver(file, undefined);
    assert.equal(runToEnd(again.bitmap('b')).dirtyBytes, 3 * clusterSize);
    again.abandon();
    assert.deepEqual(countsOf(file), clean);
  });

  it('clears autoclear bits that are unknown here', () => {
    const file = newFile({});
    file.writeAt(hostOffset(88), Uint8Array.of(0x80));
    amend(file, { lazyRefcounts: true });
    assert.equal(ImageBytes.of(fileBytes(file)).u64(88), 0n);
  });

  it('keeps unknown compatible bits, fields and extensions of version 3', () => {
    const file = newFile({ clusterSize: 65_536 });
    const image = ImageBytes.of(fileBytes(file));
    const area = image.bytes.slice(112, 1000);
    image.fill(112, 888, 0);
    image.setU32(100, 120);
    image.setU64(112, 0x0102_0304_0506_0708n);
    image.setU32(120, 0x1234_5678);
    image.setU32(124, 3);
    image.fill(128, 3, 0x61);
    image.setU64(80, 0x8000_0000_0000_0000n);
    const changed = MemoryFile.of(Buffer.concat([image.bytes.subarray(0, 136), area, image.bytes.subarray(1024)]));
    amend(changed, { refcountBits: 8, lazyRefcounts: true });
    const found = ImageBytes.of(fileBytes(changed));
    assert.equal(found.u64(80), 0x8000_0000_0000_0001n);
    assert.equal(found.u32(100), 120);
    assert.equal(found.u64(112), 0x0102_0304_0506_0708n);
    const at = found.extensionAt(0x1234_5678);
    assert.equal(Buffer.from(found.bytes.subarray(at, at + 3)).toString(), 'aaa');
  });

  it('gives snapshots of version 2 the extra data that version 3 asks for (AMD-01)', () => {
    const file = made({ compat: '0.10' }, (image) => snapshot(image, 'old'));
    const bytes = ImageBytes.of(fileBytes(file));
    const at = bytes.snapshotAt(0);
    // The entry as old writers made it: without extra data.
    bytes.copy(at + 40 + 24, 4, at + 40);
    bytes.setU32(at + 36, 0);
    const old = MemoryFile.of(bytes.bytes);
    amend(old, { compat: '1.1' });
    const found = ImageBytes.of(fileBytes(old));
    assert.equal(found.u32(found.snapshotAt(0) + 36), 24);
    assert.equal(found.u64(found.snapshotAt(0) + 48), BigInt(1024 * 1024));
    assert.deepEqual(countsOf(old), clean);
  });
});

describe('what an image cannot be made (AMD-02, AMD-03, AMD-04, AMD-08)', () => {
  const extended = { clusterSize: 16_384, extendedL2: true };
  const refusals: readonly {
    readonly name: string;
    readonly change: Partial<CreateSpec>;
    readonly prepare?: (image: Image) => void;
    readonly wish: Partial<AmendWish>;
    readonly code: string;
    readonly option?: string;
  }[] = [
    {
      name: 'a raw data file',
      change: {},
      wish: { dataFileRaw: true },
      code: 'unsupported-option',
      option: 'dataFileRaw',
    },
    { name: 'an odd width', change: {}, wish: { refcountBits: 3 }, code: 'unsupported-option', option: 'refcountBits' },
    {
      name: 'a width of 128',
      change: {},
      wish: { refcountBits: 128 },
      code: 'unsupported-option',
      option: 'refcountBits',
    },
    { name: 'no width', change: {}, wish: { refcountBits: 0 }, code: 'unsupported-option', option: 'refcountBits' },
    {
      name: 'version 2 with another width',
      change: {},
      wish: { compat: '0.10', refcountBits: 8 },
      code: 'unsupported-option',
      option: 'refcountBits',
    },
    {
      name: 'version 2 while the width is another',
      change: { refcountBits: 8 },
      wish: { compat: '0.10' },
      code: 'unsupported-option',
      option: 'compat',
    },
    {
      name: 'lazy in version 2',
      change: { compat: '0.10' },
      wish: { lazyRefcounts: true },
      code: 'unsupported-option',
      option: 'lazyRefcounts',
    },
    {
      name: 'version 2 and lazy',
      change: {},
      wish: { compat: '0.10', lazyRefcounts: true },
      code: 'unsupported-option',
      option: 'lazyRefcounts',
    },
    {
      name: 'version 2 with extended L2 entries (SUB-11)',
      change: extended,
      wish: { compat: '0.10' },
      code: 'unsupported-option',
      option: 'compat',
    },
    {
      name: 'version 2 with bitmaps',
      change: {},
      prepare: (image) => void image.createBitmap({ name: 'b', granularity: undefined, enabled: true }),
      wish: { compat: '0.10' },
      code: 'unsupported-option',
      option: 'compat',
    },
    {
      name: 'version 2 with a snapshot of another size',
      change: {},
      prepare: (image) => {
        snapshot(image, 'small');
        runToEnd(image.resize({ virtualSize: 2 * 1024 * 1024, allowShrink: false, preallocation: 'off' }));
      },
      wish: { compat: '0.10' },
      code: 'unsupported-option',
      option: 'compat',
    },
    {
      name: 'version 2 with a VM state beyond 32 bits',
      change: {},
      prepare: (image) => {
        const state = MemoryFile.empty();
        state.resize(2 ** 32);
        snapshot(image, 'running');
        runToEnd(image.writeVmState('running', state));
      },
      wish: { compat: '0.10' },
      code: 'unsupported-option',
      option: 'compat',
    },
    {
      name: 'counted with less than it is used',
      change: {},
      prepare: (image) => ['a', 'b', 'c'].forEach((name) => snapshot(image, name)),
      wish: { refcountBits: 2 },
      code: 'refcount-overflow',
    },
  ];
  for (const { name, change, prepare, wish, code, option } of refusals) {
    it(`is refused by name, and no byte changes: ${name}`, () => {
      const file = made(change, prepare ?? (() => undefined));
      const before = fileBytes(file);
      assert.throws(
        () => {
          amend(file, wish);
        },
        (error) => error instanceof Fault && error.code === code && error.context['option'] === option,
      );
      assert.deepEqual(fileBytes(file), before);
    });
  }

  it('is refused where the first cluster has no room for a longer header', () => {
    const name = 'n'.repeat(400);
    const file = newFile({ clusterSize: 512, compat: '0.10', backing: { fileName: name, format: 'raw' } });
    const before = fileBytes(file);
    const image = imageOver(file, new RawLayer(MemoryFile.of(new Uint8Array(512))));
    assert.throws(
      () => {
        runToEnd(image.amend({ ...nothing, compat: '1.1' }));
      },
      (error) => error instanceof Fault && error.code === 'header-full',
    );
    image.close();
    assert.deepEqual(fileBytes(file), before);
  });
});

describe('an amendment that is cancelled', () => {
  const length = 200 * 65_536;

  function overlay(): { readonly file: MemoryFile; readonly image: Image } {
    const file = newFile({ clusterSize: 65_536, virtualSize: length, backing: { fileName: 'below', format: 'raw' } });
    const image = imageOver(file, new RawLayer(MemoryFile.of(new Uint8Array(length).fill(5))));
    runToEnd(image.zero(guestOffset(0), length - 65_536, { unmap: true }));
    return { file, image };
  }

  it('leaves a sound image of the old version that reads the same, and can be asked for again', () => {
    const { file, image } = overlay();
    const steps = image.amend({ ...nothing, compat: '0.10' });
    assert.equal(steps.next().done, false);
    assert.equal(steps.return(undefined).done, true);
    assert.equal(image.describe().compat, '1.1');
    image.flush();
    assert.equal(
      guestBytes(image, 0, 512).every((byte) => byte === 0),
      true,
    );
    runToEnd(image.amend({ ...nothing, compat: '0.10' }));
    assert.equal(image.describe().compat, '0.10');
    assert.equal(
      guestBytes(image, 0, length - 65_536).every((byte) => byte === 0),
      true,
    );
    assert.equal(
      guestBytes(image, length - 512, 512).every((byte) => byte === 5),
      true,
    );
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('tells how far it has come', () => {
    const { image } = overlay();
    const seen: number[] = [];
    const steps = image.amend({ ...nothing, compat: '0.10' });
    for (let next = steps.next(); next.done !== true; next = steps.next()) {
      assert.ok(next.value.done <= next.value.total);
      seen.push(next.value.done);
    }
    assert.ok(seen.length >= 3, String(seen.length));
    assert.deepEqual(
      seen,
      seen.toSorted((one, other) => one - other),
    );
    image.close();
  });
});
