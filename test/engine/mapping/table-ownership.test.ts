// An L2 table before it is changed: there, ours alone, and honest about whose clusters it names.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { clusterSize, imageWithSnapshot } from '../../support/damaged-image.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, fillGuest, imageOver } from '../../support/memory-parts.ts';

const owned = 1n << 63n;
const guest = 3;

/** The first bytes of a guest cluster as the snapshot has it. */
function snapshotByte(image: Image, guestCluster: number): number {
  const byte = new Uint8Array(1);
  image.readSnapshot('s', guestOffset(guestCluster * clusterSize), byte);
  return byte[0] ?? -1;
}

const ways: readonly (readonly [string, (image: Image) => void])[] = [
  ['a write', (image) => fillGuest(image, guest * clusterSize, 100, 0x99)],
  [
    'a write of a neighbour, then of the cluster',
    (image) => {
      fillGuest(image, (guest + 1) * clusterSize, 100, 0x98);
      fillGuest(image, guest * clusterSize, clusterSize, 0x99);
    },
  ],
  [
    'zeroing, then a write',
    (image) => {
      runToEnd(image.zero(guestOffset(guest * clusterSize), clusterSize, { unmap: false }));
      fillGuest(image, guest * clusterSize, 100, 0x99);
    },
  ],
  [
    'a discard, then a write',
    (image) => {
      runToEnd(image.discard(guestOffset(guest * clusterSize), clusterSize));
      image.flush();
      fillGuest(image, guest * clusterSize, 100, 0x99);
    },
  ],
];

describe('a table that is shared with a snapshot', () => {
  for (const [name, change] of ways) {
    it(`is copied, and a flag in it that is older than the sharing is not believed: ${name} (MAP-08, T01, T03)`, () => {
      const bytes = imageWithSnapshot();
      bytes.setU64(bytes.l2At(guest), bytes.u64(bytes.l2At(guest)) | owned);
      const file = MemoryFile.of(bytes.bytes);
      const image = imageOver(file, undefined);
      change(image);
      for (const other of [guest - 1, guest, guest + 1]) assert.equal(snapshotByte(image, other), other + 1);
      image.close();
      const after = ImageBytes.of(fileBytes(file));
      assert.notEqual(after.target(after.l1At(0)), bytes.target(bytes.l1At(0)), 'the table is another one');
      assert.deepEqual(countsOf(file), clean);
    });
  }

  it('keeps the flag of what is used once all the same', () => {
    const bytes = imageWithSnapshot();
    const table = bytes.target(bytes.l1At(0));
    // Nobody shares anything any more, and only the L1 entry does not know yet.
    for (let index = 0; index < 16; index += 1) {
      bytes.setU64(bytes.l2At(index), bytes.u64(bytes.l2At(index)) | owned);
      bytes.setRefcount(bytes.cluster(bytes.target(bytes.l2At(index))), 1);
    }
    bytes.setRefcount(bytes.cluster(table), 1);
    bytes.setU32(60, 0);
    const file = MemoryFile.of(bytes.bytes);
    const image = imageOver(file, undefined);
    fillGuest(image, guest * clusterSize, 100, 0x99);
    image.close();
    const after = ImageBytes.of(fileBytes(file));
    for (let index = 0; index < 16; index += 1) {
      assert.equal(after.u64(after.l2At(index)), bytes.u64(bytes.l2At(index)), 'in its place, and owned');
    }
    assert.equal(countsOf(file).corruptions, 0);
  });
});
