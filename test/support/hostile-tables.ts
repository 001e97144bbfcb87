// Hostile tables: L1, L2, refcounts, blobs and snapshots that point wrong, in circles, or too often.

import { constants, deflateRawSync } from 'node:zlib';

import { at, place, setL2Entry, setUint32, setUint64, soundImage, zstdBlob } from './hostile-image.ts';
import type { DraftImage, SoundChoice } from './hostile-image.ts';
import { broken } from './hostile-headers.ts';
import type { HostileImage } from './hostile-headers.ts';
import { Prng } from './prng.ts';

const owned = 1n << 63n;
const compressed = 1n << 62n;
const extended: Partial<SoundChoice> = { clusterBits: 14, extendedL2: true };

/** Values that an L1, L2 or refcount table entry should not have, by name; places are those of the sound image. */
function wrongPlaces(draft: DraftImage): readonly (readonly [string, bigint])[] {
  const cluster = BigInt(draft.geometry.clusterSize);
  return [
    ['unaligned', 5n * cluster + 512n],
    ['reserved-low', 5n * cluster + 0x1fen],
    ['reserved-high', 5n * cluster + (0x3fn << 56n)],
    ['all-ones', 2n ** 64n - 1n],
    ['just-past-the-end', 12n * cluster],
    ['far', 2n ** 50n],
    ['farthest', 2n ** 56n - cluster],
    ['refcount-table', BigInt(place.refcountTable) * cluster],
    ['refcount-block', BigInt(place.refcountBlock) * cluster],
    ['l1-table', BigInt(place.l1Table) * cluster],
    ['l2-table', BigInt(place.l2Table) * cluster],
    ['blobs', BigInt(place.blobs) * cluster],
    ['snapshot-table', BigInt(place.snapshotTable) * cluster],
    ['owned-though-shared', owned | (5n * cluster)],
  ];
}

function perPlace(
  id: string,
  set: (draft: DraftImage, value: bigint) => void,
  choice: Partial<SoundChoice>,
): readonly HostileImage[] {
  const names = wrongPlaces(
    soundImage({ version: 3, clusterBits: 12, extendedL2: false, refcountOrder: 4, zstd: false, ...choice }),
  );
  return names.map(([name, value]) =>
    broken(
      `${id}-${name}`,
      undefined,
      (draft) => {
        set(draft, value);
      },
      choice,
    ),
  );
}

const entries: readonly HostileImage[] = [
  ...perPlace(
    'l1',
    (draft, value) => {
      setUint64(draft, at(draft, place.l1Table, 0), value);
    },
    {},
  ),
  ...perPlace(
    'l2',
    (draft, value) => {
      setL2Entry(draft, 0, value);
    },
    {},
  ),
  ...perPlace(
    'l2-extended',
    (draft, value) => {
      setL2Entry(draft, 0, value);
    },
    extended,
  ),
  ...perPlace(
    'refcount-table',
    (draft, value) => {
      setUint64(draft, at(draft, place.refcountTable, 0), value);
    },
    {},
  ),
  ...perPlace(
    'snapshot-l1',
    (draft, value) => {
      setUint64(draft, at(draft, place.snapshotL1, 0), value);
    },
    {},
  ),
  broken(
    'l2-zero-flag-in-v2',
    undefined,
    (draft) => {
      setL2Entry(draft, 0, 1n);
    },
    { version: 2 },
  ),
  broken('l2-all-one-cluster', undefined, (draft) => {
    for (let index = 0; index < 64; index += 1) setL2Entry(draft, index, BigInt(at(draft, place.dataOne, 0)));
  }),
  broken('l2-garbage', undefined, (draft) => {
    draft.bytes.set(new Prng(11).bytes(4096), at(draft, place.l2Table, 0));
  }),
  broken('l1-garbage', undefined, (draft) => {
    draft.bytes.set(new Prng(12).bytes(4096), at(draft, place.l1Table, 0));
    setUint32(draft, 36, 512);
  }),
  ...(
    [
      [0x1n, 0x1n],
      [0xffff_ffffn, 0xffff_ffffn],
      [0x8000_0000n, 0x8000_0000n],
    ] as const
  ).map(([zeroes, allocated]) =>
    broken(
      `l2-extended-both-${zeroes}`,
      undefined,
      (draft) => {
        setUint64(draft, at(draft, place.l2Table, 8), (zeroes << 32n) | allocated);
      },
      extended,
    ),
  ),
  broken(
    'l2-extended-no-place',
    undefined,
    (draft) => {
      setL2Entry(draft, 0, 0n);
    },
    extended,
  ),
  broken(
    'l2-extended-zero-bit',
    undefined,
    (draft) => {
      setL2Entry(draft, 0, 1n);
    },
    extended,
  ),
  broken(
    'l2-extended-compressed-bitmap',
    undefined,
    (draft) => {
      setUint64(draft, at(draft, place.l2Table, 2 * 16 + 8), 0xffff_ffff_0000_0000n);
    },
    extended,
  ),
];

const refcounts: readonly HostileImage[] = [
  ...[0, 0x01, 0x7f, 0xff].map((value) =>
    broken(`refcounts-all-${value}`, undefined, (draft) => {
      draft.bytes.fill(value, at(draft, place.refcountBlock, 0), at(draft, place.l1Table, 0));
    }),
  ),
  broken(
    'refcounts-64-bit-all-ones',
    undefined,
    (draft) => {
      draft.bytes.fill(0xff, at(draft, place.refcountBlock, 0), at(draft, place.l1Table, 0));
    },
    { refcountOrder: 6 },
  ),
  broken('refcount-table-one-block-everywhere', undefined, (draft) => {
    for (let index = 0; index < 512; index += 1) {
      setUint64(draft, at(draft, place.refcountTable, index * 8), BigInt(at(draft, place.refcountBlock, 0)));
    }
  }),
  broken('refcount-table-garbage', undefined, (draft) => {
    draft.bytes.set(new Prng(13).bytes(4096), at(draft, place.refcountTable, 0));
  }),
  broken('refcount-table-empty', undefined, (draft) => {
    setUint64(draft, at(draft, place.refcountTable, 0), 0n);
  }),
];

/** A blob in place of the sound one; its entry spans as many sectors as the descriptor can say. */
function blob(id: string, bytes: Uint8Array, choice: Partial<SoundChoice> = {}): HostileImage {
  return broken(
    `blob-${id}`,
    undefined,
    (draft) => {
      const start = at(draft, place.blobs, 0);
      draft.bytes.fill(0, start, at(draft, place.snapshotTable, 0));
      draft.bytes.set(bytes.subarray(0, draft.geometry.clusterSize), start);
      setL2Entry(draft, 2, compressed | (7n << BigInt(70 - draft.geometry.clusterBits)) | BigInt(start));
      setL2Entry(draft, 3, compressed | BigInt(start + 100));
    },
    choice,
  );
}

const zstd: Partial<SoundChoice> = { zstd: true };

/** The frame header of zstd with a window of 2^41 bytes, or a content size of 2^62. */
const hugeWindow = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x03, 0x08, 0x00, 0x33]);
const hugeContent = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x03, 0x08, 0x00, 0x33]);

const blobs: readonly HostileImage[] = [
  blob('garbage', new Prng(14).bytes(4096)),
  blob('zeroes', new Uint8Array(4096)),
  blob('ones', new Uint8Array(4096).fill(0xff)),
  blob('bomb', deflateRawSync(new Uint8Array(4_000_000), { level: 9 })),
  blob('too-short', deflateRawSync(new Uint8Array(100).fill(7))),
  blob(
    'never-ends',
    deflateRawSync(new Prng(15).bytes(4000), { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, 2000),
  ),
  blob(
    'empty-blocks',
    new Uint8Array(4096).map((_, index) => [0, 0, 0, 0xff, 0xff][index % 5] ?? 0),
  ),
  blob('zstd-garbage', new Prng(16).bytes(4096), zstd),
  blob('zstd-zeroes', new Uint8Array(4096), zstd),
  blob('zstd-bomb', zstdBlob(0x1f_ffff), zstd),
  blob('zstd-too-short', zstdBlob(100), zstd),
  blob('zstd-huge-window', hugeWindow, zstd),
  blob('zstd-huge-content', hugeContent, zstd),
  blob('zstd-skippable', Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff]), zstd),
  ...(
    [
      ['at-0', 0n],
      ['in-header', 100n],
      ['past-the-end', 2n ** 40n],
      ['farthest', 2n ** 58n - 1n],
      ['owned', owned | 0x7000n],
      ['all-ones', 2n ** 64n - 1n],
    ] as const
  ).map(([name, value]) =>
    broken(`blob-offset-${name}`, undefined, (draft) => {
      setL2Entry(draft, 2, compressed | value);
    }),
  ),
];

function snapshotEntry(id: string, offset: number, value: number): HostileImage {
  return broken(`snapshot-${id}`, undefined, (draft) => {
    setUint32(draft, at(draft, place.snapshotTable, offset), value);
  });
}

const snapshots: readonly HostileImage[] = [
  snapshotEntry('l1-offset-far', 0, 0x0010_0000),
  snapshotEntry('l1-offset-too-large', 0, 0xffff_ffff),
  snapshotEntry('l1-offset-unaligned', 4, 0x9001),
  snapshotEntry('l1-at-0', 4, 0),
  snapshotEntry('l1-is-active-l1', 4, 0x3000),
  snapshotEntry('l1-is-snapshot-table', 4, 0x8000),
  snapshotEntry('l1-is-refcount-block', 4, 0x2000),
  snapshotEntry('l1-entries-0', 8, 0),
  snapshotEntry('l1-entries-max', 8, 4_194_304),
  snapshotEntry('l1-entries-too-many', 8, 4_194_305),
  snapshotEntry('l1-entries-all-ones', 8, 0xffff_ffff),
  snapshotEntry('id-and-name-max', 12, 0xffff_ffff),
  snapshotEntry('vm-state', 32, 0xffff_ffff),
  snapshotEntry('extra-0', 36, 0),
  snapshotEntry('extra-15', 36, 15),
  snapshotEntry('extra-1024', 36, 1024),
  snapshotEntry('extra-1025', 36, 1025),
  snapshotEntry('extra-all-ones', 36, 0xffff_ffff),
  snapshotEntry('vm-state-huge', 40, 0xffff_ffff),
  snapshotEntry('disk-huge', 48, 0xffff_ffff),
  snapshotEntry('disk-beyond-its-l1', 48, 0x0010_0000),
  broken('snapshot-65536-of-nothing', undefined, (draft) => {
    draft.bytes.fill(0, at(draft, place.snapshotTable, 0), at(draft, place.snapshotL1, 0));
    setUint32(draft, 60, 65_536);
  }),
  broken('snapshot-table-garbage', undefined, (draft) => {
    draft.bytes.set(new Prng(17).bytes(4096), at(draft, place.snapshotTable, 0));
    setUint32(draft, 60, 100);
  }),
];

/** Small files that stand for much work: counted naively, each takes hours. */
const multiplied: readonly HostileImage[] = [
  broken('many-l1-entries-one-l2', undefined, (draft) => {
    // 512 KiB of L1 entries, and every one names the same full L2 table.
    const bytes = new Uint8Array(0x9_0000);
    bytes.set(draft.bytes);
    draft.bytes = bytes;
    const count = 0x8_0000 / 8;
    setUint64(draft, 40, 0x1_0000n);
    setUint32(draft, 36, count);
    for (let index = 0; index < count; index += 1) setUint64(draft, 0x1_0000 + index * 8, 0x4000n);
    for (let index = 0; index < 512; index += 1) setL2Entry(draft, index, BigInt(at(draft, place.dataOne, 0)));
  }),
  broken('many-snapshots-one-huge-l1', undefined, (draft) => {
    // 9,000 entries of 56 bytes, each with an L1 table of 4,194,304 entries that lies behind the end of the file.
    const bytes = new Uint8Array(0x9_0000);
    bytes.set(draft.bytes);
    draft.bytes = bytes;
    setUint32(draft, 60, 9000);
    setUint64(draft, 64, 0x1_0000n);
    for (let index = 0; index < 9000; index += 1) {
      const entry = 0x1_0000 + index * 56;
      setUint64(draft, entry, 0x10_0000n);
      setUint32(draft, entry + 8, 4_194_304);
      setUint32(draft, entry + 36, 16);
    }
  }),
  broken('many-snapshots-one-l1', undefined, (draft) => {
    // 8,000 snapshots share one L1 table of 512 entries that all name one full L2 table.
    const bytes = new Uint8Array(0x9_0000);
    bytes.set(draft.bytes);
    draft.bytes = bytes;
    setUint32(draft, 60, 8000);
    setUint64(draft, 64, 0x1_0000n);
    for (let index = 0; index < 8000; index += 1) {
      const entry = 0x1_0000 + index * 56;
      setUint64(draft, entry, BigInt(at(draft, place.snapshotL1, 0)));
      setUint32(draft, entry + 8, 512);
      setUint32(draft, entry + 36, 16);
    }
    for (let index = 0; index < 512; index += 1) {
      setUint64(draft, at(draft, place.snapshotL1, index * 8), BigInt(at(draft, place.l2Table, 0)));
      setL2Entry(draft, index, BigInt(at(draft, place.dataOne, 0)));
    }
  }),
];

export const hostileTables: readonly HostileImage[] = [...entries, ...refcounts, ...blobs, ...snapshots, ...multiplied];
