// What discards do with host clusters, by the choice of the moment. Entries are those of the documents: QEMU has
// discard-no-unref since 8.1.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { JournalFile } from '../../support/journal-file.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const clusterSize = 16_384;
const ways: readonly (readonly [string, (image: Image, offset: number, length: number) => void])[] = [
  ['a discard', (image, offset, length) => runToEnd(image.discard(guestOffset(offset), length))],
  ['zeroing that may unmap', (image, offset, length) => runToEnd(image.zero(guestOffset(offset), length, { unmap: true }))],
];

/** An image of four clusters of data, the first two of them shared with a snapshot where one is taken. */
function made(change: Partial<CreateSpec>): { readonly file: JournalFile; readonly image: Image } {
  const file = new JournalFile(fileBytes(newFile({ clusterSize, virtualSize: 8 * clusterSize, ...change })));
  const image = imageOver(file, undefined);
  fillGuest(image, 0, 4 * clusterSize, 0x77);
  return { file, image };
}

/** The words of guest cluster `index`. */
function entryOf(file: JournalFile, index: number): readonly bigint[] {
  const image = ImageBytes.of(fileBytes(file));
  const size = image.extended ? 16 : 8;
  const at = image.target(image.l1At(0)) + index * size;
  return image.extended ? [image.u64(at), image.u64(at + 8)] : [image.u64(at)];
}

for (const [name, giveUp] of ways) {
  describe(`${name} that keeps places (OPT-10)`, () => {
    it('leaves the cluster where it is, owned and zero, and its space goes back', () => {
      const { file, image } = made({});
      image.flush();
      const before = entryOf(file, 1)[0] ?? 0n;
      image.setRuntime({ passDiscard: true, discardNoUnref: true });
      giveUp(image, clusterSize, clusterSize);
      image.flush();
      assert.deepEqual(entryOf(file, 1), [before | 1n]);
      const place = ImageBytes.of(fileBytes(file)).target(entryAt(file, 1));
      assert.ok(fileBytes(file).subarray(place, place + clusterSize).every((byte) => byte === 0), 'the space is empty');
      assert.ok(guestBytes(image, clusterSize, clusterSize).every((byte) => byte === 0));
      fillGuest(image, clusterSize + 5, 100, 0x11);
      assert.equal(guestBytes(image, clusterSize, 1)[0], 0);
      image.close();
      assert.deepEqual(entryOf(file, 1), [before], 'a write goes to the same place');
      assert.deepEqual(countsOf(file), clean);
    });

    it('leaves the bytes, too, where the host is not to be told', () => {
      const { file, image } = made({});
      image.setRuntime({ passDiscard: false, discardNoUnref: true });
      giveUp(image, 0, clusterSize);
      image.flush();
      const place = ImageBytes.of(fileBytes(file)).target(entryAt(file, 0));
      assert.equal(fileBytes(file)[place], 0x77);
      assert.ok(guestBytes(image, 0, clusterSize).every((byte) => byte === 0));
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });

    it('marks all subclusters zero with extended entries', () => {
      const { file, image } = made({ extendedL2: true });
      image.flush();
      const [word] = entryOf(file, 2);
      image.setRuntime({ passDiscard: true, discardNoUnref: true });
      giveUp(image, 2 * clusterSize, clusterSize);
      image.close();
      assert.deepEqual(entryOf(file, 2), [word, 0xffff_ffff_0000_0000n]);
      assert.deepEqual(countsOf(file), clean);
    });

    it('empties no cluster that a snapshot reads', () => {
      const { file, image } = made({});
      runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
      image.setRuntime({ passDiscard: true, discardNoUnref: true });
      giveUp(image, 0, 4 * clusterSize);
      const kept = new Uint8Array(4 * clusterSize);
      image.readSnapshot('s', guestOffset(0), kept);
      assert.ok(kept.every((byte) => byte === 0x77));
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });

    it('is as ever once the image is of version 2', () => {
      const { file, image } = made({});
      image.setRuntime({ passDiscard: true, discardNoUnref: true });
      const same = { refcountBits: undefined, lazyRefcounts: undefined, dataFileRaw: undefined };
      runToEnd(image.amend({ compat: '0.10', ...same }));
      giveUp(image, 0, clusterSize);
      image.close();
      assert.deepEqual(entryOf(file, 0), [0n]);
      assert.deepEqual(countsOf(file), clean);
    });
  });

  describe(`${name} that the host is not told of (OPT-07)`, () => {
    it('frees the cluster and leaves its bytes', () => {
      const { file, image } = made({});
      image.flush();
      const place = ImageBytes.of(fileBytes(file)).target(entryAt(file, 0));
      image.setRuntime({ passDiscard: false, discardNoUnref: false });
      giveUp(image, 0, clusterSize);
      image.close();
      assert.deepEqual(entryOf(file, 0), [1n]);
      assert.equal(fileBytes(file)[place], 0x77);
      assert.deepEqual(countsOf(file), clean);
    });
  });
}

/** Where the entry of guest cluster `index` lies in the file. */
function entryAt(file: JournalFile, index: number): number {
  const image = ImageBytes.of(fileBytes(file));
  return image.target(image.l1At(0)) + index * 8;
}
