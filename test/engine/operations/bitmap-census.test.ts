// Bitmaps in a check: what they own is counted, and where that cannot be told nothing is freed (BMP-01…BMP-05, T78).

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import type { CheckReport } from '../../../src/engine/image.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { repair } from '../../../src/engine/operations/repair.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { at, commonChoice, place, setUint32, setUint64, soundImage } from '../../support/hostile-image.ts';
import type { DraftImage } from '../../support/hostile-image.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { fileBytes } from '../../support/memory-parts.ts';

const dataCluster = place.clusterCount;

/** The sound image, whose bitmap has a cluster of data behind everything else. */
function withBitmapData(): DraftImage {
  const draft = soundImage(commonChoice);
  const bytes = ImageBytes.of(draft.bytes);
  bytes.fill(dataCluster * bytes.clusterSize, bytes.clusterSize, 0x5a);
  bytes.setRefcount(dataCluster, 1);
  draft.bytes = bytes.bytes;
  setUint64(draft, at(draft, place.bitmapTable, 0), BigInt(at(draft, dataCluster, 0)));
  return draft;
}

function checked(draft: DraftImage): CheckReport {
  return runToEnd(check(MemoryFile.of(draft.bytes)));
}

/** Where the one entry of the directory lies. */
function entryOf(draft: DraftImage): number {
  return at(draft, place.bitmapDirectory, 0);
}

describe('the check of an image with bitmaps', () => {
  it('counts directory, table and data, so that a repair of leaks leaves them alone', () => {
    const draft = withBitmapData();
    const { clean, leaks, corruptions, checkErrors } = checked(draft);
    assert.deepEqual(
      { clean, leaks, corruptions, checkErrors },
      { clean: true, leaks: 0, corruptions: 0, checkErrors: 0 },
    );
    for (const mode of ['leaks', 'all'] as const) {
      const file = MemoryFile.of(draft.bytes);
      runToEnd(repair(file, mode));
      assert.equal(Buffer.compare(fileBytes(file), draft.bytes), 0);
    }
  });

  it('finds a count of theirs that is too low, and mends it', () => {
    for (const cluster of [place.bitmapDirectory, place.bitmapTable, dataCluster]) {
      const bytes = ImageBytes.of(withBitmapData().bytes);
      bytes.setRefcount(cluster, 0);
      const file = MemoryFile.of(bytes.bytes);
      assert.equal(runToEnd(check(file)).corruptions, 1);
      assert.equal(runToEnd(repair(file, 'all')).clean, true);
      assert.deepEqual(runToEnd(check(file)).findings, []);
    }
  });

  it('takes ones without a place, and a bitmap that is in use, for what they are (BMP-03, BMP-06)', () => {
    const draft = soundImage(commonChoice);
    setUint64(draft, at(draft, place.bitmapTable, 0), 1n);
    setUint32(draft, entryOf(draft) + 12, 3);
    assert.equal(checked(draft).clean, true);
  });

  it('counts what a lost bitmap had as leaks (BIT-A0)', () => {
    const draft = withBitmapData();
    draft.bytes[95] = 0;
    const report = checked(draft);
    assert.deepEqual([report.leaks, report.corruptions], [3, 0]);
    const file = MemoryFile.of(draft.bytes);
    assert.equal(runToEnd(repair(file, 'leaks')).leaksFixed, 3);
    assert.deepEqual(runToEnd(check(file)).findings, []);
  });
});

describe('bitmaps that break their rules', () => {
  const ways: readonly (readonly [string, (draft: DraftImage) => void])[] = [
    ['extra data', (draft) => setUint32(draft, entryOf(draft) + 20, 8)],
    ['an unknown flag', (draft) => setUint32(draft, entryOf(draft) + 12, 4)],
    ['another type', (draft) => void (draft.bytes[entryOf(draft) + 16] = 2)],
    ['more table entries than the disk needs', (draft) => setUint32(draft, entryOf(draft) + 8, 2)],
    ['no table entries', (draft) => setUint32(draft, entryOf(draft) + 8, 0)],
    ['a table at 0', (draft) => setUint64(draft, entryOf(draft), 0n)],
    [
      'a table inside a cluster',
      (draft) => setUint64(draft, entryOf(draft), BigInt(at(draft, place.bitmapTable, 512))),
    ],
    ['more data than a bitmap may have', (draft) => setUint32(draft, entryOf(draft) + 8, 131_073)],
    ['a directory with room to spare', (draft) => setUint32(draft, extensionOf(draft) + 12, 64)],
    ['a directory outside the file', (draft) => setUint32(draft, extensionOf(draft) + 16, 1)],
    ['a table entry with a flag and a place', (draft) => setTableEntry(draft, BigInt(at(draft, dataCluster, 0)) | 1n)],
    ['a table entry inside a cluster', (draft) => setTableEntry(draft, BigInt(at(draft, dataCluster, 512)))],
    ['a table entry with low reserved bits', (draft) => setTableEntry(draft, 2n)],
    ['a table entry with high reserved bits', (draft) => setTableEntry(draft, 1n << 56n)],
  ];
  for (const [name, damage] of ways) {
    it(`are told as one corruption that nobody can count further, and nothing is freed: ${name}`, () => {
      const draft = withBitmapData();
      damage(draft);
      const report = checked(draft);
      assert.equal(report.corruptions > 0, true);
      assert.equal(report.checkErrors, 1);
      assert.equal(report.leaks, 0);
      for (const mode of ['leaks', 'all'] as const) {
        const file = MemoryFile.of(draft.bytes);
        assert.equal(runToEnd(repair(file, mode)).clean, false);
        assert.equal(Buffer.compare(fileBytes(file), draft.bytes), 0, `repair ${mode} changes nothing`);
      }
    });
  }
});

function extensionOf(draft: DraftImage): number {
  return ImageBytes.of(draft.bytes).extensionAt(0x2385_2875);
}

function setTableEntry(draft: DraftImage, value: bigint): void {
  setUint64(draft, at(draft, place.bitmapTable, 0), value);
}
