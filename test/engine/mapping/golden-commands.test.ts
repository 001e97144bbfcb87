// What qemu-io's commands leave in the tables, command by command of the golden vectors: flags, counts and refcounts.
//
// Where clusters lie is not part of the format, so a place is told as "placed" and refcounts are sorted.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { Prng } from '../../support/prng.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const KiB = 1024;
const cluster = 64 * KiB;
const owned = 1n << 63n;
const compressed = 1n << 62n;
const offsetMask = 0x00ff_ffff_ffff_fe00n;

/** The common image of the vectors: 1 MiB, clusters of 64 KiB. */
function golden(change: Partial<CreateSpec>, commands: (image: Image) => void): MemoryFile {
  const file = newFile({ clusterSize: cluster, ...change });
  const image = imageOver(file, undefined);
  commands(image);
  image.close();
  assert.deepEqual(countsOf(file), clean);
  return file;
}

function zero(image: Image, at: number, length: number, options: { readonly unmap: boolean }): void {
  runToEnd(image.zero(guestOffset(at), length, options));
}

function discard(image: Image, at: number, length: number): void {
  runToEnd(image.discard(guestOffset(at), length));
}

function pack(image: Image, at: number, source: Uint8Array): void {
  runToEnd(image.writeCompressed(guestOffset(at), source, { detectZeroes: false }));
}

function mostlyNoise(seed: number): Uint8Array {
  const bytes = new Prng(seed).bytes(cluster);
  return bytes.fill(0, cluster * 0.92);
}

function snapshot(image: Image): void {
  runToEnd(image.createSnapshot({ name: 'abc', seconds: 0, nanoseconds: 0, idFloor: 1 }));
}

/** An entry as words: `owned`, `placed`, and the bits that are left as a number. */
function wordsOf(entry: bigint): string {
  const place = (entry & offsetMask) === 0n ? [] : ['placed'];
  const rest = entry & ~offsetMask & ~owned;
  return [...((entry & owned) === 0n ? [] : ['owned']), ...place, `0x${rest.toString(16)}`].join(' ');
}

function l1Of(file: MemoryFile): string {
  const image = ImageBytes.of(fileBytes(file));
  return wordsOf(image.u64(image.l1At(0)));
}

function l2Of(file: MemoryFile, guestClusters: readonly number[]): readonly string[] {
  const image = ImageBytes.of(fileBytes(file));
  return guestClusters.map((guest) => wordsOf(image.u64(image.l2At(guest))));
}

/** The second word of extended entries. */
function bitmapsOf(file: MemoryFile, guestClusters: readonly number[]): readonly bigint[] {
  const image = ImageBytes.of(fileBytes(file));
  return guestClusters.map((guest) => image.u64(image.l2At(guest) + 8));
}

/** The refcounts of the clusters in use, sorted. */
function refcountsOf(file: MemoryFile): string {
  const image = ImageBytes.of(fileBytes(file));
  const counts = Array.from({ length: image.endCluster }, (_, index) => image.refcount(index));
  return counts
    .filter((count) => count > 0)
    .toSorted((one, other) => one - other)
    .join('');
}

function write3(image: Image): void {
  fillGuest(image, 0, 192 * KiB, 0x55);
}

describe('the golden vector', () => {
  it('B03: a first write', () => {
    const file = golden({}, (image) => fillGuest(image, 0, cluster, 1));
    assert.equal(l1Of(file), 'owned placed 0x0');
    assert.deepEqual(l2Of(file, [0, 1]), ['owned placed 0x0', '0x0']);
    assert.equal(refcountsOf(file), '111111');
    assert.equal(file.size, 393_216);
  });

  it('B04: a discard', () => {
    for (const [compat, entry] of [
      ['1.1', '0x1'],
      ['0.10', '0x0'],
    ] as const) {
      const file = golden({ compat }, (image) => {
        fillGuest(image, 0, cluster, 1);
        discard(image, 0, cluster);
      });
      assert.deepEqual(l2Of(file, [0]), [entry]);
      assert.equal(refcountsOf(file), '11111');
    }
  });

  it('B05: zeroes, with and without giving the place back', () => {
    for (const [unmap, entry, refcounts] of [
      [false, 'owned placed 0x1', '111111'],
      [true, '0x1', '11111'],
    ] as const) {
      const file = golden({}, (image) => {
        fillGuest(image, 0, cluster, 1);
        zero(image, 0, cluster, { unmap });
      });
      assert.deepEqual(l2Of(file, [0]), [entry]);
      assert.equal(refcountsOf(file), refcounts);
    }
  });

  it('B06: a few zeroes in a cluster that nobody wrote make all of it zero', () => {
    const file = golden({}, (image) => zero(image, 512 * KiB, 4 * KiB, { unmap: false }));
    assert.deepEqual(l2Of(file, [7, 8, 9]), ['0x0', '0x1', '0x0']);
  });

  it('B07: a snapshot takes the flags and raises the refcounts (OPS-26)', () => {
    const file = golden({}, (image) => {
      write3(image);
      snapshot(image);
    });
    assert.equal(l1Of(file), 'placed 0x0');
    assert.deepEqual(l2Of(file, [0, 1, 2]), ['placed 0x0', 'placed 0x0', 'placed 0x0']);
    assert.equal(refcountsOf(file), '1111112222');
    // 68 bytes behind the last whole cluster, as SNT-01 counts them; this engine writes whole clusters.
    assert.equal(file.size, 10 * cluster);
  });

  it('B09: a write, a discard and zeroes after it', () => {
    const file = golden({}, (image) => {
      write3(image);
      snapshot(image);
      fillGuest(image, 0, cluster, 2);
      discard(image, cluster, cluster);
      zero(image, 2 * cluster, cluster, { unmap: false });
      const before = new Uint8Array(192 * KiB);
      image.readSnapshot('abc', guestOffset(0), before);
      assert.ok(before.every((byte) => byte === 0x55));
    });
    assert.equal(l1Of(file), 'owned placed 0x0');
    assert.deepEqual(l2Of(file, [0, 1, 2]), ['owned placed 0x0', '0x1', 'placed 0x1']);
    assert.equal(refcountsOf(file), '111111111112');
  });

  it('B10: deleting the snapshot gives back what only it had, and the flag to what it shared (OPS-28)', () => {
    const file = golden({}, (image) => {
      write3(image);
      snapshot(image);
      fillGuest(image, 0, cluster, 2);
      discard(image, cluster, cluster);
      zero(image, 2 * cluster, cluster, { unmap: false });
      runToEnd(image.deleteSnapshot('abc'));
    });
    assert.deepEqual(l2Of(file, [0, 1, 2]), ['owned placed 0x0', '0x1', 'owned placed 0x1']);
    assert.equal(refcountsOf(file), '1111111');
    assert.equal(ImageBytes.of(fileBytes(file)).u32(60), 0);
  });

  it('B11: blobs one behind the other in one cluster, which counts them (CMP-03, T38)', () => {
    const file = golden({}, (image) => {
      for (const [index, pattern] of [1, 2, 3].entries()) {
        pack(image, index * cluster, new Uint8Array(cluster).fill(pattern));
      }
    });
    const bytes = ImageBytes.of(fileBytes(file));
    assert.deepEqual(
      [0, 1, 2].map((guest) => bytes.u64(bytes.l2At(guest)) >> 54n),
      [256n, 256n, 256n],
      'packed, not owned, and no additional sector',
    );
    const places = [0, 1, 2].map((guest) => Number(bytes.u64(bytes.l2At(guest)) & 0x003f_ffff_ffff_ffffn));
    assert.deepEqual(places, [0x5_0000, 0x5_004f, 0x5_009e]);
    assert.equal(refcountsOf(file), '111113');
    assert.equal(file.size, 5 * cluster + 512, 'up to the end of a sector');
  });

  it('B12: a blob begins another cluster when the image was closed in between', () => {
    const file = golden({}, (image) => pack(image, 0, new Uint8Array(cluster).fill(1)));
    const image = imageOver(file, undefined);
    pack(image, cluster, new Uint8Array(cluster).fill(2));
    pack(image, 2 * cluster, new Uint8Array(cluster).fill(3));
    image.close();
    assert.equal(refcountsOf(file), '1111112');
    assert.deepEqual(countsOf(file), clean);
  });

  it('B13: a blob goes on in the next cluster', () => {
    const file = golden({}, (image) => {
      // Each shrinks by less than a tenth, so every one but the first crosses the end of a cluster.
      for (const index of [0, 1, 2]) pack(image, index * cluster, mostlyNoise(index));
    });
    assert.equal(refcountsOf(file), '11111122');
    assert.deepEqual(guestBytes(imageOver(file, undefined), cluster, cluster), mostlyNoise(1));
  });

  it('B15: subclusters (SUB-08, SUB-09, T25)', () => {
    const file = golden({ extendedL2: true }, (image) => {
      fillGuest(image, 0, cluster, 1);
      zero(image, cluster, cluster, { unmap: false });
      fillGuest(image, 3 * cluster, cluster, 1);
      zero(image, 3 * cluster, cluster, { unmap: false });
      zero(image, 2 * cluster, 2 * KiB, { unmap: false });
      discard(image, 0, cluster);
    });
    assert.deepEqual(l2Of(file, [0, 1, 2, 3]), ['0x0', '0x0', '0x0', 'owned placed 0x0']);
    const all = 0xffff_ffff_0000_0000n;
    assert.deepEqual(bitmapsOf(file, [0, 1, 2, 3]), [all, all, 0x0000_0001_0000_0000n, all]);
    assert.equal(refcountsOf(file), '111111');
  });
});

/** An image whose guest clusters 0, 1… have these compressed entries, with these blobs and refcounts (by host cluster). */
function withBlobs(
  entries: readonly bigint[],
  content: { readonly blobs: readonly (readonly [number, Uint8Array])[]; readonly refcounts: readonly number[] },
  change: Partial<CreateSpec> = {},
): MemoryFile {
  // The first write makes the L2 table, in cluster 4; its own cluster 5 goes to the blobs.
  const bytes = ImageBytes.of(fileBytes(golden(change, (image) => fillGuest(image, 0, cluster, 1))));
  assert.equal(bytes.target(bytes.l1At(0)), 4 * cluster);
  for (const [index, entry] of entries.entries()) bytes.setU64(bytes.l2At(index), entry);
  bytes.fill(5 * cluster, cluster, 0);
  for (const [offset, blob] of content.blobs) {
    for (const [index, byte] of blob.entries()) bytes.fill(offset + index, 1, byte);
  }
  for (const [index, count] of content.refcounts.entries()) bytes.setRefcount(5 + index, count);
  return MemoryFile.of(bytes.bytes);
}

describe('a compressed cluster', () => {
  /** B14: what qemu-io's `write -c` of 64 KiB of ones stored. */
  const frame = Buffer.from('28b52ffd6000ff5500001001010100fb7f1d6001', 'hex');
  const packed = (): MemoryFile =>
    withBlobs([0x4000_0000_0005_0000n], { blobs: [[0x5_0000, frame]], refcounts: [1] }, { compressionType: 'zstd' });

  it('B14: is read, as a whole and in any part', () => {
    const image = imageOver(packed(), undefined);
    assert.deepEqual(guestBytes(image, 0, 2 * cluster), new Uint8Array(2 * cluster).fill(1, 0, cluster));
    assert.deepEqual(guestBytes(image, cluster - 3, 5), Uint8Array.from([1, 1, 1, 0, 0]));
    assert.deepEqual(guestBytes(image, 1234, 7), new Uint8Array(7).fill(1));
  });

  it('is unpacked when a part is written: the rest stays, the blob goes (CMP-07)', () => {
    const file = packed();
    const image = imageOver(file, undefined);
    fillGuest(image, 100, 50, 9);
    const expected = new Uint8Array(cluster).fill(1);
    expected.fill(9, 100, 150);
    assert.deepEqual(guestBytes(image, 0, cluster), expected);
    image.close();
    assert.deepEqual(l2Of(file, [0]), ['owned placed 0x0']);
    assert.equal(refcountsOf(file), '111111');
    assert.deepEqual(countsOf(file), clean);
    assert.deepEqual(guestBytes(imageOver(file, undefined), 0, cluster), expected);
  });

  it('B13: gives back one reference of every cluster that its blob touches (T34, T35)', () => {
    const entries = [0x5d40_0000_0005_0000n, 0x5d40_0000_0005_eadan, 0x5d80_0000_0006_d5b4n];
    const refcounts = [2, 2, 1];
    const ways: readonly (readonly [string, number, string])[] = [
      // Blob 0 lies in cluster 5, blob 1 in 5 and 6, blob 2 in 6 and 7: discarding it frees its share of them.
      ['the first', 0, '11111112'],
      ['the one across two clusters', 1, '11111111'],
      ['the last', 2, '1111112'],
    ];
    for (const [name, guest, expected] of ways) {
      const file = withBlobs(entries, { blobs: [[8 * cluster - 1, Uint8Array.of(0)]], refcounts });
      assert.deepEqual(countsOf(file), clean, 'the golden refcounts agree with the golden entries');
      const image = imageOver(file, undefined);
      discard(image, guest * cluster, cluster);
      image.close();
      assert.equal(refcountsOf(file), expected, name);
      assert.deepEqual(l2Of(file, [guest]), ['0x1']);
      assert.deepEqual(countsOf(file), clean);
    }
  });

  it('of subclusters is unpacked when a part of it is zeroed or written, and has all of them then (SUB-05, SUB-08, T29)', () => {
    const file = golden({ extendedL2: true }, (image) => {
      pack(image, 0, new Uint8Array(cluster).fill(5));
      pack(image, cluster, new Uint8Array(cluster).fill(6));
      zero(image, 0, 2 * KiB, { unmap: false });
      fillGuest(image, cluster + 100, 100, 7);
      assert.deepEqual(guestBytes(image, 0, cluster), new Uint8Array(cluster).fill(5, 2 * KiB));
    });
    assert.deepEqual(l2Of(file, [0, 1]), ['owned placed 0x0', 'owned placed 0x0']);
    assert.deepEqual(bitmapsOf(file, [0, 1]), [0xffff_ffffn, 0xffff_ffffn]);
    assert.equal(refcountsOf(file), '1111111');
  });

  it('is never written in place, whatever its flags say', () => {
    const file = withBlobs(
      [owned | compressed | 0x5_0000n],
      { blobs: [[0x5_0000, frame]], refcounts: [1] },
      { compressionType: 'zstd' },
    );
    const image = imageOver(file, undefined);
    assert.equal(image.overwrites(guestOffset(0), cluster), false);
    fillGuest(image, 0, cluster, 7);
    assert.deepEqual(guestBytes(image, 0, cluster), new Uint8Array(cluster).fill(7));
    assert.equal(Buffer.compare(fileBytes(file).subarray(0x5_0000, 0x5_0000 + frame.length), frame), 0);
  });
});
