// What an image tells about itself, from bytes set by hand in its header and its snapshot table.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { Image } from '../../../src/engine/image.ts';
import type { ImageDescription, SnapshotDescription } from '../../../src/engine/image.ts';
import { at, commonChoice, place, setUint32, setUint64, soundImage } from '../../support/hostile-image.ts';
import type { DraftImage, SoundChoice } from '../../support/hostile-image.ts';

function draftOf(change: Partial<SoundChoice>): DraftImage {
  return soundImage({ ...commonChoice, ...change });
}

function told(draft: DraftImage): ImageDescription {
  const image = Image.openFile(MemoryFile.of(draft.bytes), { writable: false, backing: undefined });
  const description = image.describe();
  assert.equal(image.snapshots({ from: 0, limit: 1000 }).length, description.snapshotCount);
  image.close();
  return description;
}

const extraAt = 40;

/** SNT-01: the entry "1", "abc" with other numbers, and so many bytes of extra data. */
function withSnapshot(
  draft: DraftImage,
  entry: { readonly extra: readonly bigint[]; readonly vmStateSize: number; readonly vmClock: bigint },
): DraftImage {
  const start = at(draft, place.snapshotTable, 0);
  draft.bytes.fill(0, start + 12, start + 200);
  setUint32(draft, start + 12, 0x0001_0003);
  setUint32(draft, start + 16, 1_700_000_000);
  setUint32(draft, start + 20, 999_999_999);
  setUint64(draft, start + 24, entry.vmClock);
  setUint32(draft, start + 32, entry.vmStateSize);
  setUint32(draft, start + 36, entry.extra.length * 8);
  entry.extra.forEach((value, index) => {
    setUint64(draft, start + extraAt + index * 8, value);
  });
  draft.bytes.set(Buffer.from('1abc'), start + extraAt + entry.extra.length * 8);
  return draft;
}

function snapshotOf(draft: DraftImage): SnapshotDescription {
  const image = Image.openFile(MemoryFile.of(draft.bytes), { writable: false, backing: undefined });
  const [snapshot] = image.snapshots({ from: 0, limit: 1 });
  assert.deepEqual(image.snapshots({ from: 1, limit: 1 }), [], 'the next page is empty');
  image.close();
  return snapshot ?? assert.fail('there is a snapshot');
}

const allOnes = 2n ** 64n - 1n;

describe('an image tells', () => {
  it('its sizes and its kind (OPS-32, OPS-33)', () => {
    const draft = draftOf({});
    assert.deepEqual(told(draft), {
      snapshotCount: 1,
      snapshotIdMax: 1,
      virtualSize: 64 * 4096,
      fileSize: 12 * 4096,
      allocatedSize: 12 * 4096,
      clusterSize: 4096,
      compat: '1.1',
      compressionType: 'zlib',
      refcountBits: 16,
      lazyRefcounts: false,
      extendedL2: false,
      dirty: false,
      corrupt: false,
      bitmapCount: 1,
    });
  });

  it('what differs in other kinds', () => {
    const { compat, bitmapCount } = told(draftOf({ version: 2 }));
    assert.deepEqual([compat, bitmapCount], ['0.10', 0]);
    assert.equal(told(draftOf({ zstd: true })).compressionType, 'zstd');
    assert.deepEqual(
      [2, 3, 4, 5, 6].map((refcountOrder) => told(draftOf({ refcountOrder })).refcountBits),
      [4, 8, 16, 32, 64],
    );
    assert.equal(told(draftOf({ clusterBits: 14, extendedL2: true })).extendedL2, true);
  });

  it('that zeroes act on subclusters and discards on clusters (OPS-36)', () => {
    const { bytes } = draftOf({ clusterBits: 14, extendedL2: true });
    const image = Image.openFile(MemoryFile.of(bytes), { writable: false, backing: undefined });
    const { zeroAlignment, discardAlignment } = image.inspect().limits;
    assert.deepEqual([zeroAlignment, discardAlignment], [512, 16_384]);
    image.close();
  });

  it('each mark of its header (BIT-I0, BIT-I1, BIT-C0, BIT-A0)', () => {
    const marks: readonly (readonly [number, number, Partial<ImageDescription>])[] = [
      [79, 1, { dirty: true, corrupt: false, lazyRefcounts: false }],
      [79, 2, { dirty: false, corrupt: true, lazyRefcounts: false }],
      [87, 1, { dirty: false, corrupt: false, lazyRefcounts: true }],
      [95, 0, { bitmapCount: 0 }],
    ];
    for (const [byte, value, expected] of marks) {
      const draft = draftOf({});
      draft.bytes[byte] = value;
      assert.partialDeepStrictEqual(told(draft), expected);
    }
  });

  it('that its size is a whole number of sectors (FMT-06)', () => {
    const draft = draftOf({});
    setUint64(draft, 24, 100_001n);
    assert.equal(told(draft).virtualSize, 99_840);
  });
});

describe('a snapshot tells', () => {
  it('all that its entry says', () => {
    const extra = [5_000_000_000n, 0x20_0000n, 12_345_678_901_234_567_890n];
    const draft = withSnapshot(draftOf({}), { extra, vmStateSize: 0, vmClock: 2n ** 63n + 1n });
    assert.deepEqual(snapshotOf(draft), {
      id: '1',
      name: 'abc',
      virtualSize: 0x20_0000,
      vmStateSize: 5_000_000_000,
      createdAtSeconds: 1_700_000_000,
      createdAtNanoseconds: 999_999_999,
      vmClockNanoseconds: '9223372036854775809',
      icount: '12345678901234567890',
    });
  });

  it('no instruction count where it is unknown, and 0 where it is 0 (SNT-02, SNT-07, T70)', () => {
    const size = BigInt(0x20_0000);
    const icountOf = (extra: readonly bigint[]): string | undefined =>
      snapshotOf(withSnapshot(draftOf({}), { extra, vmStateSize: 0, vmClock: 0n })).icount;
    assert.equal(icountOf([0n, size, 0n]), '0');
    assert.equal(icountOf([0n, size, allOnes]), undefined);
    assert.equal(icountOf([0n, size]), undefined);
    // Only all 64 ones stand for "unknown".
    assert.equal(icountOf([0n, size, allOnes - 1n]), '18446744073709551614');
    assert.equal(icountOf([0n, size, 0xffff_ffffn]), '4294967295');
    assert.equal(icountOf([0n, size, 0xffff_ffff_0000_0000n]), '18446744069414584320');
  });

  it('the size of the disk now, and the narrow state size, where an old entry has no more (SNT-02)', () => {
    const draft = withSnapshot(draftOf({ version: 2 }), { extra: [], vmStateSize: 77, vmClock: 3n });
    assert.partialDeepStrictEqual(snapshotOf(draft), {
      virtualSize: 64 * 4096,
      vmStateSize: 77,
      vmClockNanoseconds: '3',
    });
  });
});
