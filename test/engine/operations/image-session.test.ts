// What becomes of an image that meets corruption: who may still do what, and whom the corrupt bit is for.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { Layer } from '../../../src/engine/layer/layer.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { ImageBytes } from '../../support/image-bytes.ts';

const cluster = 4096;

/** Two clusters of data and one whose entry is broken. */
function broken(compat: '0.10' | '1.1'): MemoryFile {
  const file = newFile({ compat, clusterSize: cluster });
  const image = imageOver(file, undefined);
  fillGuest(image, 0, cluster * 3, 7);
  image.close();
  const bytes = ImageBytes.of(fileBytes(file));
  const at = bytes.l2At(2);
  bytes.setU64(at, bytes.u64(at) + 512n);
  return MemoryFile.of(bytes.bytes);
}

function isMarked(file: MemoryFile): boolean {
  return ((fileBytes(file)[79] ?? 0) & 2) !== 0;
}

function write(image: Image, offset: number): string | undefined {
  return faultCodeOf(() => {
    fillGuest(image, offset, 512, 9);
  });
}

describe('an image that meets corruption', () => {
  const ways: readonly (readonly [string, (image: Image) => void])[] = [
    ['a read', (image) => void guestBytes(image, cluster * 2, 10)],
    ['a write', (image) => fillGuest(image, cluster * 2, 10, 1)],
    ['a run', (image) => runToEnd(image.discard(guestOffset(cluster * 2), cluster))],
    [
      'a listing',
      (image) => void image.extents({ offset: 0, length: cluster * 9, limit: 9, layer: 'all', hostOffsets: false }),
    ],
  ];
  for (const [name, meet] of ways) {
    it(`is marked and not changed any more, and can be read where it is sound (T75): ${name}`, () => {
      const file = broken('1.1');
      const image = imageOver(file, undefined);
      assert.equal(
        faultCodeOf(() => {
          meet(image);
        }),
        'l2-entry-invalid',
      );
      assert.equal(isMarked(file), true);
      assert.equal(write(image, 0), 'image-marked-corrupt');
      assert.equal(
        faultCodeOf(() => {
          image.flush();
        }),
        'image-marked-corrupt',
      );
      assert.deepEqual(guestBytes(image, 0, 10), new Uint8Array(10).fill(7));
      image.close();

      const again = imageOver(file, undefined);
      assert.equal(write(again, 0), 'image-marked-corrupt');
      again.flush();
      assert.deepEqual(guestBytes(again, 0, 10), new Uint8Array(10).fill(7));
      again.close();
    });
  }

  it('of version 2 has no mark, and is not changed any more all the same', () => {
    const file = broken('0.10');
    const image = imageOver(file, undefined);
    assert.equal(write(image, cluster * 2), 'l2-entry-invalid');
    assert.equal(write(image, 0), 'image-marked-corrupt');
    image.close();
  });

  it('is left as it is when it was opened for reading', () => {
    const file = broken('1.1');
    const before = fileBytes(file);
    const image = Image.openFile(file, { writable: false, backing: undefined });
    assert.equal(
      faultCodeOf(() => guestBytes(image, cluster * 2, 10)),
      'l2-entry-invalid',
    );
    assert.equal(write(image, 0), 'image-read-only');
    image.close();
    assert.deepEqual(fileBytes(file), before);
  });
});

describe('an image over a layer that is corrupt', () => {
  it('faults, is not marked for it, and can be changed where the layer is not asked', () => {
    const lower = Image.openFile(broken('1.1'), { writable: false, backing: undefined });
    const size = lower.virtualSize;
    const layer: Layer = {
      size,
      read: (offset, target) => {
        lower.read(offset, target);
      },
      extentAt: (offset, lengthMax) => {
        const query = { offset, length: lengthMax, limit: 1, layer: 'all', hostOffsets: false } as const;
        const { length } = lower.extents(query).items[0] ?? { length: 0 };
        return { kind: 'data', length, depth: 0, compressed: false, host: undefined };
      },
      close: () => {
        lower.close();
      },
    };
    const file = newFile({ clusterSize: cluster, backing: { fileName: 'b', format: 'qcow2' } });
    const image = imageOver(file, layer);
    assert.equal(
      faultCodeOf(() => guestBytes(image, cluster * 2, 10)),
      'l2-entry-invalid',
    );
    assert.equal(write(image, cluster * 2), 'l2-entry-invalid');
    assert.equal(
      faultCodeOf(() => image.extents({ offset: cluster * 2, length: 10, limit: 9, layer: 'all', hostOffsets: false })),
      'l2-entry-invalid',
    );
    assert.equal(isMarked(file), false);
    assert.equal(write(image, 0), undefined);
    image.close();
  });
});

describe('a dirty image', () => {
  it('asks for a recovery, and keeps the mark of another writer until then', () => {
    const file = newFile({ lazyRefcounts: true });
    const bytes = fileBytes(file);
    bytes[79] = 1;
    const dirty = MemoryFile.of(bytes);
    const image = imageOver(dirty, undefined);
    assert.equal(image.needsRecovery, true);
    fillGuest(image, 0, 100, 1);
    image.close();
    assert.equal(fileBytes(dirty)[79], 1);
    const again = imageOver(dirty, undefined);
    runToEnd(again.recover());
    assert.equal(again.needsRecovery, false);
    again.close();
    assert.equal(fileBytes(dirty)[79], 0);
  });

  it('is dirty only while refcounts may be behind', () => {
    const file = newFile({ lazyRefcounts: true });
    const image = imageOver(file, undefined);
    assert.equal(fileBytes(file)[79], 0);
    fillGuest(image, 0, 100, 1);
    assert.equal(fileBytes(file)[79], 1);
    assert.equal(image.needsRecovery, false);
    image.close();
    assert.equal(fileBytes(file)[79], 0);
  });
});

describe('opening that fails', () => {
  it('closes the file and the layer below', () => {
    const closed: string[] = [];
    const file = MemoryFile.of(new Uint8Array(4096));
    const layer = new RawLayer(MemoryFile.of(new Uint8Array(512)));
    file.close = () => void closed.push('file');
    layer.close = () => void closed.push('layer');
    assert.equal(
      faultCodeOf(() => imageOver(file, layer)),
      'magic-wrong',
    );
    assert.deepEqual(closed.toSorted(), ['file', 'layer']);
  });
});
