// Damages to the header, the snapshot table, the bitmaps and the length of the file.

import type { ImageBytes } from '../../support/image-bytes.ts';
import { owned } from './damage.ts';
import type { Damage } from './damage.ts';

const bitmapsExtension = 0x2385_2875;

/** What the active layer of a full image holds. */
const mapped = { allocatedClusters: 9, fragmentedClusters: 5, compressedClusters: 2 };

export const structureDamages: readonly Damage[] = [
  {
    title: 'nothing is wrong',
    bases: [
      'v3',
      'v2',
      'small',
      'bits1',
      'bits2',
      'bits4',
      'bits8',
      'bits32',
      'bits64',
      'extended',
      'bitmaps',
      'lazy',
      'allocated',
    ],
    damage: () => undefined,
  },
  {
    title: 'the magic is wrong',
    bases: ['v3'],
    damage: (image) => image.setU32(0, 0x5146_49fc),
  },
  {
    title: 'the L1 table is too small for the disk',
    bases: ['v3'],
    damage: (image) => image.setU32(36, 0),
  },
  {
    title: 'the L1 table begins in the last cluster of the file and ends far behind it',
    bases: ['bits8', 'v3'],
    damage: (image: ImageBytes): void => {
      const last = image.endCluster;
      image.setRefcount(image.cluster(image.l1Offset), 0);
      image.resize((last + 1) * image.clusterSize);
      image.copy(image.l1Offset, 8, last * image.clusterSize);
      image.setRefcount(last, 1);
      image.setU64(40, BigInt(last * image.clusterSize));
      image.setU32(36, (3 * image.clusterSize) / 8);
    },
    difference: {
      row: 'CHK-03',
      reason:
        'QEMU does not count a table that reaches past the end, so its repair frees the first part of it and the disk is empty.',
      none: { leaks: 0 },
      leaks: { leaks: 0, leaksFixed: 0, ...mapped },
      all: { leaks: 0, leaksFixed: 0, ...mapped },
      afterLeaks: { leaks: 1, ...mapped },
      afterAll: { leaks: 1, ...mapped },
    },
  },
  {
    title: 'the active L1 table is a little longer than the disk needs (T19)',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU32(36, 3),
  },
  {
    title: 'an incompatible feature is unknown (BIT-I5, T78)',
    bases: ['v3'],
    damage: (image) => image.setU64(72, image.u64(72) | 0x40n),
  },
  {
    title: 'the end of the header extensions is said to be longer than their area (EXT-00)',
    bases: ['v2'],
    damage: (image) => image.setU32(76, 0x8000_0000),
    refused: true,
  },
  {
    title: 'a snapshot entry says that its L1 table does not start on a cluster',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.snapshotAt(0), image.u64(image.snapshotAt(0)) + 512n),
  },
  {
    title: 'a snapshot entry has a huge L1 table',
    bases: ['v3'],
    damage: (image) => image.setU32(image.snapshotAt(0) + 8, 0x1000_0000),
    difference: {
      row: 'CHK-17',
      reason: 'QEMU takes the huge table for metadata that a repair would hit, and gives up; we leave it out.',
      all: {},
      afterAll: { corruptions: 1, leaks: 0 },
    },
  },
  {
    title: 'the L1 table of a snapshot lies past the end of the file',
    bases: ['v3', 'small'],
    damage: (image) => image.setU64(image.snapshotAt(0), BigInt((image.endCluster + 4) * image.clusterSize)),
  },
  {
    title: 'the L1 table of a snapshot is the active one',
    bases: ['v3', 'extended'],
    damage: (image) => image.setU64(image.snapshotAt(0), BigInt(image.l1Offset)),
    difference: {
      row: 'CHK-17',
      reason: "QEMU gives up when it would write to a table that is also a snapshot's; we leave that entry alone.",
      all: {},
      afterAll: { corruptions: 1, leaks: 0 },
    },
  },
  {
    title: 'an entry in the L1 table of a snapshot is zero',
    bases: ['v3', 'bits2'],
    damage: (image) => image.setU64(Number(image.u64(image.snapshotAt(0))), 0n),
  },
  {
    title: 'an entry in the L1 table of a snapshot is owned',
    bases: ['v3'],
    damage: (image: ImageBytes): void => {
      const at = Number(image.u64(image.snapshotAt(0)));
      image.setU64(at, image.u64(at) | owned);
    },
  },
  {
    title: 'a snapshot entry has too much extra data (CHK-12, SNT-04)',
    bases: ['v3', 'v2'],
    damage: (image: ImageBytes): void => {
      const at = image.snapshotAt(0);
      const texts = at + 40 + image.u32(at + 36);
      image.copy(texts, 4, at + 40 + 2000);
      image.setU32(at + 36, 2000);
    },
  },
  {
    title: 'a snapshot entry does not tell the disk size (CHK-12, SNT-02)',
    bases: ['v3', 'v2', 'extended', 'small'],
    damage: (image: ImageBytes): void => {
      const at = image.snapshotAt(0);
      image.copy(at + 40 + image.u32(at + 36), 4, at + 40 + 8);
      image.setU32(at + 36, 8);
    },
  },
  {
    title: 'a snapshot entry has no extra data and a leak stands beside it (CHK-02, CHK-12)',
    bases: ['v3'],
    damage: (image: ImageBytes): void => {
      const at = image.snapshotAt(0);
      image.copy(at + 40 + image.u32(at + 36), 4, at + 40);
      image.setU32(at + 36, 0);
      image.setRefcount(image.cluster(image.target(image.l2At(12))), 2);
    },
  },
  ...(
    [
      ['VM state', 40],
      ['disk', 48],
    ] as const
  ).map(([what, field]): Damage => ({
    title: `a snapshot entry tells a ${what} beyond our limits (LIM-05)`,
    bases: ['v3'],
    damage: (image) => image.setU64(image.snapshotAt(0) + field, 2n ** 53n),
    difference: {
      row: 'LIM-05',
      reason: 'QEMU reads such images, and we refuse them: the check says so.',
      none: { checkErrors: 1 },
      leaks: { checkErrors: 1 },
      all: { checkErrors: 1 },
    },
  })),
  {
    title: 'the header counts one snapshot too many',
    bases: ['v2'],
    damage: (image) => image.setU32(60, 2),
  },
  {
    title: 'the header counts no snapshot any more',
    bases: ['v3', 'bits8', 'extended'],
    damage: (image) => image.setU32(60, 0),
  },
  {
    title: 'the snapshot table does not start on a cluster',
    bases: ['v3'],
    damage: (image) => image.setU64(64, image.u64(64) + 8n),
  },
  {
    title: 'there are no snapshots and their table does not start on a cluster',
    bases: ['allocated'],
    damage: (image) => image.setU64(64, 8n),
    difference: {
      row: 'SNT-08',
      reason: 'Without snapshots the offset has no meaning; QEMU gives up on it.',
      none: { checkErrors: 0 },
      leaks: { checkErrors: 0 },
      all: { checkErrors: 0 },
    },
  },
  {
    title: 'the snapshot table lies past the end of the file',
    bases: ['v2'],
    damage: (image) => image.setU64(64, BigInt((image.endCluster + 2) * image.clusterSize)),
  },
  {
    title: 'the bitmaps are lost because their autoclear bit is clear (BIT-A0)',
    bases: ['bitmaps'],
    damage: (image) => image.setU64(88, 0n),
  },
  {
    title: 'a bitmap table has the wrong refcount',
    bases: ['bitmaps'],
    damage: (image: ImageBytes): void => {
      const directory = Number(image.u64(image.extensionAt(bitmapsExtension) + 16));
      image.setRefcount(image.cluster(Number(image.u64(directory))), 2);
    },
  },
  {
    title: 'the bitmap directory has the refcount zero',
    bases: ['bitmaps'],
    damage: (image) => image.setRefcount(image.cluster(Number(image.u64(image.extensionAt(bitmapsExtension) + 16))), 0),
    difference: {
      row: 'BMP-07',
      reason:
        'QEMU writes all bitmaps to new places whenever it closes a writable image, and so mends them by the way.',
      afterLeaks: { corruptions: 1 },
    },
  },
  {
    title: 'a bitmap entry has an unknown type',
    bases: ['bitmaps'],
    damage: (image) => image.fill(Number(image.u64(image.extensionAt(bitmapsExtension) + 16)) + 16, 1, 2),
  },
  {
    title: 'a bitmap table entry points into the middle of a cluster',
    bases: ['bitmaps'],
    damage: (image: ImageBytes): void => {
      const table = Number(image.u64(Number(image.u64(image.extensionAt(bitmapsExtension) + 16))));
      image.setU64(table, 0x50200n);
    },
  },
  {
    title: 'a bitmap table entry points past the end of the file',
    bases: ['bitmaps'],
    damage: (image: ImageBytes): void => {
      const table = Number(image.u64(Number(image.u64(image.extensionAt(bitmapsExtension) + 16))));
      image.setU64(table, BigInt((image.endCluster + 8) * image.clusterSize));
    },
    difference: {
      row: 'BMP-07',
      reason:
        'QEMU writes all bitmaps to new places whenever it closes a writable image, and so mends them by the way.',
      afterLeaks: { corruptions: 1 },
      afterAll: { corruptions: 1 },
    },
  },
  {
    title: 'the header counts one bitmap too many',
    bases: ['bitmaps'],
    damage: (image) => image.setU32(image.extensionAt(bitmapsExtension), 3),
  },
  {
    title: 'the bitmaps extension has no bitmaps',
    bases: ['bitmaps'],
    damage: (image) => image.setU32(image.extensionAt(bitmapsExtension), 0),
  },
  {
    title: 'the file is longer than anything uses',
    bases: ['v3', 'bits1'],
    damage: (image) => image.resize(image.length + 10 * image.clusterSize + 7),
  },
  {
    title: 'the file is cut in half',
    bases: ['v3', 'bits8'],
    damage: (image) => image.resize(Math.floor(image.length / 2)),
  },
  {
    title: 'the file ends after its header',
    bases: ['v3'],
    damage: (image) => image.resize(image.clusterSize),
    difference: {
      row: 'CHK-07',
      reason: 'QEMU would put the new refcounts where the old table was, notices, and gives up; we go on.',
      all: {},
      afterAll: { corruptions: 0 },
    },
  },
];
