// What a write into a new cluster puts around its bytes: nothing behind the end of the file, zeroes over old bytes.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import type { HostOffset } from '../../../src/engine/format/offsets.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const clusterSize = 65_536;
const virtualSize = 16 * clusterSize;
const layouts = [
  { name: 'plain clusters', extendedL2: false },
  { name: 'subclusters', extendedL2: true },
] as const;

/** A file system on which clusters that are given back keep their bytes until they are written again. */
class KeepingFile extends CountingFile {
  override punch(_offset: HostOffset, _length: number): void {
    return;
  }
}

/** The lengths that were written at or behind `from`, an offset in the file. */
function writtenBehind(file: CountingFile, from: number): readonly number[] {
  return file.log.filter((entry) => entry !== undefined && entry.offset >= from).map((entry) => entry?.length ?? 0);
}

function zeroesBut(
  length: number,
  filled: { readonly offset: number; readonly length: number; readonly value: number },
) {
  return new Uint8Array(length).fill(filled.value, filled.offset, filled.offset + filled.length);
}

/** Tells where bytes differ first; the assertion of lists would lay tens of thousands of them side by side. */
function assertBytes(found: Uint8Array, expected: Uint8Array): void {
  assert.equal(found.length, expected.length);
  const index = found.findIndex((byte, at) => byte !== expected[at]);
  assert.equal(index, -1, `byte ${String(index)} is ${String(found[index])}, not ${String(expected[index])}`);
}

for (const { name, extendedL2 } of layouts) {
  describe(`a write into a new cluster: ${name}`, () => {
    test('behind the end of the file writes its own bytes only, and the rest reads as zeroes', () => {
      const file = new CountingFile(newFile({ virtualSize, clusterSize, extendedL2 }));
      const image = imageOver(file, undefined);
      fillGuest(image, 0, clusterSize, 1);
      const end = file.size;
      fillGuest(image, 3 * clusterSize + 10_240, 4_096, 7);
      assert.deepEqual(writtenBehind(file, end), [4_096]);
      fillGuest(image, 5 * clusterSize + 512, 512, 8);
      assert.deepEqual(writtenBehind(file, end), [4_096, 512]);
      const expected = zeroesBut(clusterSize, { offset: 10_240, length: 4_096, value: 7 });
      assertBytes(guestBytes(image, 3 * clusterSize, clusterSize), expected);
      image.close();
      assert.deepEqual(countsOf(file), clean);
      const again = imageOver(file, undefined);
      assertBytes(guestBytes(again, 3 * clusterSize, clusterSize), expected);
      assertBytes(
        guestBytes(again, 5 * clusterSize, clusterSize),
        zeroesBut(clusterSize, { offset: 512, length: 512, value: 8 }),
      );
    });

    test('that was used before shows nothing of its old bytes (T06)', () => {
      const file = new KeepingFile(newFile({ virtualSize, clusterSize, extendedL2 }));
      const image = imageOver(file, undefined);
      fillGuest(image, 0, 4 * clusterSize, 0xaa);
      runToEnd(image.discard(guestOffset(0), 4 * clusterSize));
      image.flush();
      assert.ok(fileBytes(file).includes(0xaa), 'the old bytes are in the file');
      const end = file.size;
      for (const index of [8, 9, 10, 11]) fillGuest(image, index * clusterSize + 20_992, 1_024, 7);
      assert.equal(file.size, end, 'the clusters are used again');
      for (const index of [8, 9, 10, 11]) {
        assertBytes(
          guestBytes(image, index * clusterSize, clusterSize),
          zeroesBut(clusterSize, { offset: 20_992, length: 1_024, value: 7 }),
        );
      }
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });

    test('that the end of the file cuts shows nothing of its old bytes, nor any behind the end', () => {
      const file = new KeepingFile(newFile({ virtualSize, clusterSize, extendedL2 }));
      const image = imageOver(file, undefined);
      fillGuest(image, 0, 4_096, 0xaa);
      assert.notEqual(file.size % clusterSize, 0, 'the file ends within the cluster');
      const end = file.size;
      runToEnd(image.discard(guestOffset(0), clusterSize));
      image.flush();
      fillGuest(image, 8 * clusterSize + 20_992, 1_024, 7);
      assert.ok(file.size < end + clusterSize, 'the cluster is used again');
      const expected = zeroesBut(clusterSize, { offset: 20_992, length: 1_024, value: 7 });
      assertBytes(guestBytes(image, 8 * clusterSize, clusterSize), expected);
      fillGuest(image, 9 * clusterSize, clusterSize, 9);
      assertBytes(guestBytes(image, 8 * clusterSize, clusterSize), expected);
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });

    test('copies what a layer below has, and leaves out what it says is zero', () => {
      const below = MemoryFile.empty();
      below.resize(virtualSize);
      below.writeAt(hostOffset(0), new Uint8Array(clusterSize).fill(5));
      const backing = { fileName: 'below.raw', format: 'raw' } as const;
      const file = new CountingFile(newFile({ virtualSize, clusterSize, extendedL2, backing }));
      const image = imageOver(file, new RawLayer(below));
      const end = file.size;
      fillGuest(image, 8_192, 512, 7);
      fillGuest(image, 4 * clusterSize + 8_192, 512, 7);
      const expected = new Uint8Array(clusterSize).fill(5);
      expected.fill(7, 8_192, 8_192 + 512);
      assertBytes(guestBytes(image, 0, clusterSize), expected);
      assertBytes(
        guestBytes(image, 4 * clusterSize, clusterSize),
        zeroesBut(clusterSize, { offset: 8_192, length: 512, value: 7 }),
      );
      assert.equal(writtenBehind(file, end).at(-1), 512, 'the second write copies nothing');
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });
  });
}
