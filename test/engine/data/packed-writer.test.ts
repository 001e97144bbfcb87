// Packed writes: what becomes of the clusters that were there, of those that do not shrink, and what is refused.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const cluster = 4096;
const detects = { detectZeroes: true };
const keeps = { detectZeroes: false };

function pack(image: Image, at: number, source: Uint8Array, options = keeps): void {
  runToEnd(image.writeCompressed(guestOffset(at), source, options));
}

/** How each guest cluster is stored, by the letters of qemu-img's words. */
function kindsOf(image: Image, count: number): string {
  const query = { offset: guestOffset(0), length: count * cluster, limit: 100, layer: 'top', hostOffsets: true } as const;
  return image
    .extents(query)
    .items.map(({ kind, compressed, length }) => (compressed ? 'c' : kind.charAt(0)).repeat(length / cluster))
    .join('');
}

describe('a packed write', () => {
  it('stores what does not shrink as it is (CMP-03, T40)', () => {
    const file = newFile({});
    const image = imageOver(file, undefined);
    const bytes = new Uint8Array(3 * cluster).fill(7);
    bytes.set(new Prng(1).bytes(cluster), cluster);
    pack(image, 0, bytes);
    assert.equal(kindsOf(image, 4), 'cdch');
    assert.deepEqual(guestBytes(image, 0, bytes.length), bytes);
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('takes the place of data, zeroes and blobs, which are given back (T39)', () => {
    const file = newFile({});
    const image = imageOver(file, undefined);
    fillGuest(image, 0, 2 * cluster, 1);
    runToEnd(image.zero(guestOffset(2 * cluster), cluster, { unmap: false }));
    pack(image, 3 * cluster, new Uint8Array(cluster).fill(2));
    image.flush();
    for (const value of [3, 4]) {
      pack(image, 0, new Uint8Array(4 * cluster).fill(value));
      assert.deepEqual(guestBytes(image, 0, 4 * cluster), new Uint8Array(4 * cluster).fill(value));
      image.flush();
    }
    assert.equal(kindsOf(image, 4), 'cccc');
    image.close();
    assert.deepEqual(countsOf(file), clean);
    const bytes = ImageBytes.of(fileBytes(file));
    const counts = Array.from({ length: bytes.endCluster }, (_, index) => bytes.refcount(index));
    assert.equal(counts.filter((count) => count > 1).length, 1, 'all blobs share one cluster');
  });

  it('leaves out zeroes that it was told to look for, and packs them otherwise', () => {
    const image = imageOver(newFile({}), undefined);
    fillGuest(image, 0, 2 * cluster, 1);
    pack(image, 0, new Uint8Array(2 * cluster), detects);
    pack(image, 2 * cluster, new Uint8Array(2 * cluster), detects);
    assert.equal(kindsOf(image, 4), 'zzhh');
    pack(image, 0, new Uint8Array(4 * cluster), keeps);
    assert.equal(kindsOf(image, 4), 'cccc');
    assert.deepEqual(guestBytes(image, 0, 4 * cluster), new Uint8Array(4 * cluster));
  });

  it('fills up the last cluster of a disk that ends within it (CMP-06)', () => {
    const file = newFile({ virtualSize: 2 * cluster + 512 });
    const image = imageOver(file, undefined);
    const last = new Uint8Array(512).fill(9);
    pack(image, 2 * cluster, last);
    assert.deepEqual(guestBytes(image, 2 * cluster, 512), last);
    pack(image, 2 * cluster, new Prng(2).bytes(512));
    assert.equal(guestBytes(image, 2 * cluster, 512)[0], new Prng(2).bytes(512)[0]);
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('keeps what a snapshot has', () => {
    const file = newFile({});
    const image = imageOver(file, undefined);
    pack(image, 0, new Uint8Array(4 * cluster).fill(1));
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    pack(image, cluster, new Uint8Array(2 * cluster).fill(2));
    fillGuest(image, 3 * cluster, 10, 3);
    image.flush();
    const before = new Uint8Array(4 * cluster);
    image.readSnapshot('s', guestOffset(0), before);
    assert.deepEqual(before, new Uint8Array(4 * cluster).fill(1));
    runToEnd(image.deleteSnapshot('s'));
    pack(image, 8 * cluster, new Uint8Array(2 * cluster).fill(4));
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('never packs behind a blob whose cluster was given away', () => {
    const file = newFile({});
    const image = imageOver(file, undefined);
    pack(image, 0, new Uint8Array(cluster).fill(1));
    image.flush();
    runToEnd(image.discard(guestOffset(0), cluster));
    image.flush();
    // The cluster of the blob is the lowest free one now.
    fillGuest(image, 0, cluster, 2);
    pack(image, cluster, new Uint8Array(cluster).fill(3));
    assert.deepEqual(guestBytes(image, 0, cluster), new Uint8Array(cluster).fill(2));
    assert.deepEqual(guestBytes(image, cluster, cluster), new Uint8Array(cluster).fill(3));
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('begins a cluster when the last one is used as often as can be counted (REF-13, T46)', () => {
    for (const [refcountBits, counts] of [
      [1, [1, 1, 1, 1]],
      [2, [1, 3]],
    ] as const) {
      const file = newFile({ refcountBits });
      const image = imageOver(file, undefined);
      const firstData = 5;
      pack(image, 0, new Uint8Array(4 * cluster).fill(1));
      image.close();
      const bytes = ImageBytes.of(fileBytes(file));
      const shared = Array.from({ length: bytes.endCluster - firstData }, (_, index) => bytes.refcount(firstData + index));
      assert.deepEqual(shared.toSorted(), counts);
      assert.deepEqual(countsOf(file), clean);
    }
  });

  it('takes whole clusters only (CMP-06)', () => {
    const file = newFile({ virtualSize: 4 * cluster + 512 });
    const image = imageOver(file, undefined);
    const before = fileBytes(file);
    for (const [at, length] of [
      [1, cluster],
      [0, cluster - 1],
      [4 * cluster, 100],
    ] as const) {
      assert.equal(
        faultCodeOf(() => pack(image, at, new Uint8Array(length).fill(1))),
        'unsupported-option',
      );
    }
    assert.deepEqual(fileBytes(file), before);
  });
});
