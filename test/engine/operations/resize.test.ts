// Another size: what shows in the new part, what is kept, and what a cancel or a full disk leaves.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../../src/engine/image.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const cluster = 512;
const span = cluster * 64;
const size = span * 3 + 1536;

function resize(image: Image, virtualSize: number, preallocation: CreateSpec['preallocation'] = 'off'): void {
  runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation }));
}

function filled(change: Partial<CreateSpec>): MemoryFile {
  const file = newFile({ virtualSize: size, clusterSize: cluster, ...change });
  const image = imageOver(file, undefined);
  fillGuest(image, 0, size, 7);
  image.close();
  return file;
}

describe('a disk that grows', () => {
  for (const compat of ['0.10', '1.1'] as const) {
    it(`shows zeroes behind what it had, also after a cut (OPS-17, OPS-19, T15, T17): ${compat}`, () => {
      const file = filled({ compat });
      const image = imageOver(file, undefined);
      for (const cut of [size - 512, span * 2 + 512, span, 512]) {
        resize(image, cut);
        assert.equal(image.virtualSize, cut);
        image.flush();
        assert.deepEqual(countsOf(file), clean);
        resize(image, size * 2);
        const expected = new Uint8Array(size * 2).fill(7, 0, cut);
        assert.deepEqual(guestBytes(image, 0, size * 2), expected);
      }
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });
  }

  it('finds the refcount blocks again that counted nothing but themselves meanwhile (REF-11)', () => {
    const file = filled({ refcountBits: 64 });
    const blocksOf = (): readonly bigint[] => {
      const bytes = ImageBytes.of(fileBytes(file));
      const entries = Array.from({ length: bytes.u32(56) * (cluster / 8) }, (_, at) =>
        bytes.u64(bytes.tableOffset + at * 8),
      );
      return entries.filter((entry) => entry > 0n);
    };
    const before = blocksOf();
    const image = imageOver(file, undefined);
    resize(image, 512);
    image.settle();
    assert.deepEqual(blocksOf(), before);
    assert.deepEqual(countsOf(file), clean);
    resize(image, size);
    fillGuest(image, 0, size, 7);
    image.close();
    assert.deepEqual(blocksOf(), before);
    assert.deepEqual(countsOf(file), clean);
  });

  it('hides what a longer layer below has there (OPS-18, T14)', () => {
    const below = new Uint8Array(span * 4).fill(9);
    for (const [clusterSize, extendedL2] of [
      [512, false],
      [16_384, true],
      [65_536, false],
    ] as const) {
      const spec = { virtualSize: 1536, clusterSize, extendedL2, backing: { fileName: 'b', format: 'raw' as const } };
      const file = newFile(spec);
      const image = imageOver(file, new RawLayer(MemoryFile.of(below)));
      resize(image, below.length + 5120);
      const expected = new Uint8Array(below.length + 5120).fill(9, 0, 1536);
      assert.deepEqual(guestBytes(image, 0, image.virtualSize), expected);
      image.close();
      assert.deepEqual(countsOf(file), clean);
    }
  });

  for (const preallocation of ['metadata', 'falloc', 'full'] as const) {
    it(`gets its clusters first when it is preallocated, and they hold zeroes: ${preallocation}`, () => {
      const file = filled({});
      const image = imageOver(file, undefined);
      // Clusters that were used before: their old bytes must not show.
      runToEnd(image.discard(guestOffset(0), span));
      image.flush();
      const before = file.fork();
      resize(image, size + span * 4, preallocation);
      assert.deepEqual(guestBytes(image, size, span * 4), new Uint8Array(span * 4));
      image.flush();
      const { items } = image.extents({ offset: size, length: span * 4, limit: 50, layer: 'top', hostOffsets: false });
      assert.ok(items.every(({ kind }) => kind === 'data'));
      const length = file.size;
      fillGuest(image, size, span * 4, 3);
      image.close();
      assert.equal(file.size, length, 'writing there needs no more room');
      assert.ok(before.size <= length);
      assert.deepEqual(countsOf(file), clean);
    });
  }
});

describe('an overlay that grows with clusters of its own', () => {
  const oldSize = 40 * 1024 + 512;
  const newSize = 160 * 1024;
  for (const preallocation of ['metadata', 'falloc', 'full'] as const) {
    for (const extendedL2 of [false, true]) {
      for (const belowLength of [oldSize - 7 * 512, oldSize, 120 * 1024]) {
        const note = `${preallocation}, ${extendedL2 ? 'extended entries, ' : ''}over ${String(belowLength)} bytes`;
        it(`shows what lies below up to its old end, and zeroes behind it (OPS-18, CRE-05, T14): ${note}`, () => {
          const below = new Uint8Array(belowLength).fill(9);
          const backing = { fileName: 'b', format: 'raw' } as const;
          const file = newFile({ virtualSize: oldSize, clusterSize: 16_384, extendedL2, backing });
          const image = imageOver(file, new RawLayer(MemoryFile.of(below)));
          resize(image, newSize, preallocation);
          const expected = new Uint8Array(newSize).fill(9, 0, Math.min(belowLength, oldSize));
          assert.equal(Buffer.compare(guestBytes(image, 0, newSize), expected), 0);
          image.flush();
          const length = file.size;
          fillGuest(image, 49_152, newSize - 49_152, 3);
          image.close();
          assert.equal(file.size, length, 'writing there needs no more room');
          assert.deepEqual(countsOf(file), clean);
        });
      }
    }
  }
});

describe('another size is refused', () => {
  const cases: readonly (readonly [string, Partial<CreateSpec>, Partial<Parameters<Image['resize']>[0]>])[] = [
    ['invalid-geometry', {}, { virtualSize: 0 }],
    ['invalid-geometry', {}, { virtualSize: 2 ** 53 }],
    ['shrink-not-allowed', {}, { virtualSize: 512, allowShrink: false }],
    ['unsupported-option', {}, { virtualSize: 512, preallocation: 'full' }],
  ];
  for (const [code, change, wish] of cases) {
    it(`with ${code}, and nothing is changed: ${JSON.stringify(wish)}`, () => {
      const image = imageOver(filled(change), undefined);
      const whole = { virtualSize: 512, allowShrink: true, preallocation: 'off' as const, ...wish };
      assert.equal(
        faultCodeOf(() => runToEnd(image.resize(whole))),
        code,
      );
      assert.equal(image.virtualSize, size);
    });
  }

  it('in version 2 where snapshots, or a longer layer below, would not go along (OPS-18, OPS-20)', () => {
    const image = imageOver(filled({ compat: '0.10' }), undefined);
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    const grow = { virtualSize: size * 2, allowShrink: false, preallocation: 'off' } as const;
    assert.equal(
      faultCodeOf(() => runToEnd(image.resize(grow))),
      'snapshots-prevent-resize',
    );
    const spec = { compat: '0.10', virtualSize: 512, backing: { fileName: 'b', format: 'raw' } } as const;
    const overlay = imageOver(newFile(spec), new RawLayer(MemoryFile.of(new Uint8Array(4096))));
    assert.equal(
      faultCodeOf(() => runToEnd(overlay.resize(grow))),
      'unsupported-option',
    );
  });
});

describe('a resize that does not come to its end', () => {
  const wishes = [
    { virtualSize: size * 3, allowShrink: true, preallocation: 'metadata' },
    { virtualSize: span + 512, allowShrink: true, preallocation: 'off' },
  ] as const;

  for (const wish of wishes) {
    it(`leaves the old size or the new one when it is cancelled: to ${String(wish.virtualSize)}`, () => {
      const before = filled({});
      for (let stop = 1; ; stop += 1) {
        const file = before.fork();
        const image = imageOver(file, undefined);
        const steps = image.resize(wish);
        let ended = false;
        for (let step = 0; step < stop && !ended; step += 1) ended = steps.next().done === true;
        if (ended) break;
        let next = steps.return(undefined);
        while (next.done !== true) next = steps.next();
        assert.ok(image.virtualSize === size || image.virtualSize === wish.virtualSize);
        const kept = Math.min(image.virtualSize, size);
        assert.deepEqual(guestBytes(image, 0, kept), new Uint8Array(kept).fill(7));
        image.close();
        assert.deepEqual(countsOf(file), clean, `step ${String(stop)}`);
      }
    });

    it(`loses nothing when the disk is full: to ${String(wish.virtualSize)}`, () => {
      const before = filled({});
      for (let after = 0; ; after += 7) {
        const file = new FaultyFile(before, { observer: undefined, ignoresFlush: () => false });
        const image = imageOver(file, undefined);
        file.failLater({ call: 'write', after, fault: new Fault('insufficient-storage', {}) });
        faultCodeOf(() => runToEnd(image.resize(wish)));
        if (!file.takeFailureBack()) break;
        const now = image.virtualSize;
        assert.ok(now === size || now === wish.virtualSize);
        const kept = Math.min(now, size);
        assert.deepEqual(guestBytes(image, 0, kept), new Uint8Array(kept).fill(7));
        resize(image, size * 2);
        assert.deepEqual(guestBytes(image, kept, size * 2 - kept), new Uint8Array(size * 2 - kept));
        image.close();
        assert.equal(countsOf(file.content).corruptions, 0, `write ${String(after)}`);
      }
    });
  }
});
