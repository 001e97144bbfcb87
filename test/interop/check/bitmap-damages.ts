// Damages to persistent bitmaps: their extension, directory, tables and data.

import type { ImageBytes } from '../../support/image-bytes.ts';
import type { Damage } from './damage.ts';

const bitmapsExtension = 0x2385_2875;

const extensionAt = (image: ImageBytes): number => image.extensionAt(bitmapsExtension);
const directoryAt = (image: ImageBytes): number => Number(image.u64(extensionAt(image) + 16));
const tableAt = (image: ImageBytes): number => Number(image.u64(directoryAt(image)));
const dataAt = (image: ImageBytes): number => image.target(tableAt(image));
/** Where the entry of the second bitmap begins: the name of the first has 5 bytes. */
const secondAt = (image: ImageBytes): number => directoryAt(image) + 32;

const bases = ['bitmaps'] as const;

export const bitmapDamages: readonly Damage[] = [
  {
    title: 'the data of a bitmap has a refcount that is too high',
    bases,
    damage: (image) => image.setRefcount(image.cluster(dataAt(image)), 3),
  },
  {
    title: 'the data of a bitmap has the refcount zero',
    bases,
    damage: (image) => image.setRefcount(image.cluster(dataAt(image)), 0),
    difference: {
      row: 'BMP-07',
      reason:
        'QEMU writes all bitmaps to new places whenever it closes a writable image, and so mends them by the way.',
      afterLeaks: { corruptions: 1 },
    },
  },
  {
    title: 'the bitmap directory has a refcount that is too high',
    bases,
    damage: (image) => image.setRefcount(image.cluster(directoryAt(image)), 2),
  },
  {
    title: 'the bitmap directory is said to be longer than it is',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 8, image.u64(extensionAt(image) + 8) + 8n),
  },
  {
    title: 'the bitmap directory is said to be shorter than it is',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 8, image.u64(extensionAt(image) + 8) - 8n),
  },
  {
    title: 'the bitmap directory has no length',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 8, 0n),
  },
  {
    title: 'the bitmap directory is longer than any may be',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 8, 1024n * 65_535n + 8n),
  },
  {
    title: 'the bitmap directory does not start on a cluster',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 16, BigInt(directoryAt(image) + 8)),
  },
  {
    title: 'the bitmap directory lies past the end of the file',
    bases,
    refused: true,
    damage: (image) => image.setU64(extensionAt(image) + 16, BigInt((image.endCluster + 3) * image.clusterSize)),
  },
  {
    title: 'the bitmaps extension sets reserved bytes',
    bases,
    refused: true,
    damage: (image) => image.setU32(extensionAt(image) + 4, 1),
  },
  {
    title: 'the bitmaps extension is longer than it may be',
    bases,
    refused: true,
    damage: (image) => image.setU32(extensionAt(image) - 4, 32),
  },
  {
    title: 'a bitmap has a granularity below the smallest',
    bases,
    refused: true,
    damage: (image) => image.fill(directoryAt(image) + 17, 1, 8),
  },
  {
    title: 'a bitmap has a granularity above the largest',
    bases,
    refused: true,
    damage: (image) => image.fill(directoryAt(image) + 17, 1, 32),
  },
  {
    title: 'a bitmap has a granularity of 2 GiB',
    bases,
    damage: (image) => image.fill(directoryAt(image) + 17, 1, 31),
  },
  {
    title: 'a bitmap has a granularity that its table does not cover the disk with',
    bases,
    refused: true,
    damage: (image: ImageBytes): void => {
      image.setU64(24, BigInt(2 ** 29));
      image.fill(directoryAt(image) + 17, 1, 9);
    },
  },
  {
    title: 'a bitmap has no name',
    bases,
    refused: true,
    damage: (image) => image.fill(directoryAt(image) + 18, 2, 0),
  },
  {
    title: 'the name of a bitmap is longer than any may be',
    bases,
    refused: true,
    damage: (image) => image.fill(secondAt(image) + 18, 1, 4),
  },
  {
    title: 'two bitmaps have the same name',
    bases,
    refused: true,
    damage: (image: ImageBytes): void => {
      image.copy(secondAt(image) + 18, 2, directoryAt(image) + 18);
      image.copy(secondAt(image) + 24, 6, directoryAt(image) + 24);
    },
  },
  {
    title: 'a bitmap has extra data',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 20, 2),
  },
  {
    title: 'a bitmap has a flag that is unknown',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 12, 2 | 8),
  },
  {
    title: 'a bitmap says that its extra data is compatible',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 12, 2 | 4),
  },
  {
    title: 'a bitmap is in use',
    bases,
    damage: (image) => image.setU32(directoryAt(image) + 12, 3),
  },
  {
    title: 'a bitmap is in use and its table entry is broken',
    bases,
    refused: true,
    damage: (image: ImageBytes): void => {
      image.setU32(directoryAt(image) + 12, 3);
      image.setU64(tableAt(image), BigInt(dataAt(image)) | 1n);
    },
  },
  {
    title: 'a bitmap is in use and its table is too short for the disk',
    bases,
    damage: (image: ImageBytes): void => {
      image.setU64(24, BigInt(2 ** 29));
      for (const at of [directoryAt(image), secondAt(image)]) {
        image.fill(at + 17, 1, 9);
        image.setU32(at + 12, 3);
      }
    },
  },
  {
    title: 'a bitmap does not record',
    bases,
    damage: (image) => image.setU32(directoryAt(image) + 12, 0),
  },
  {
    title: 'a bitmap has no table',
    bases,
    refused: true,
    damage: (image) => image.setU64(directoryAt(image), 0n),
  },
  {
    title: 'a bitmap table does not start on a cluster',
    bases,
    refused: true,
    damage: (image) => image.setU64(directoryAt(image), BigInt(tableAt(image) + 512)),
  },
  {
    title: 'a bitmap table lies past the end of the file',
    bases,
    damage: (image) => image.setU64(directoryAt(image), BigInt((image.endCluster + 3) * image.clusterSize)),
  },
  {
    title: 'a bitmap table has no entries',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 8, 0),
  },
  {
    title: 'a bitmap table has more entries than the disk needs',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 8, 2),
  },
  {
    title: 'a bitmap table has more entries than any may have',
    bases,
    refused: true,
    damage: (image) => image.setU32(directoryAt(image) + 8, 0x800_0001),
  },
  {
    title: 'a bitmap table entry has a place and says that all bits are set',
    bases,
    refused: true,
    damage: (image) => image.setU64(tableAt(image), BigInt(dataAt(image)) | 1n),
  },
  {
    title: 'a bitmap table entry says that all bits are set, and its cluster leaks',
    bases,
    damage: (image) => image.setU64(tableAt(image), 1n),
  },
  {
    title: 'a bitmap table entry sets a low reserved bit',
    bases,
    refused: true,
    damage: (image) => image.setU64(tableAt(image), BigInt(dataAt(image)) | 4n),
  },
  {
    title: 'a bitmap table entry sets a high reserved bit',
    bases,
    refused: true,
    damage: (image) => image.setU64(tableAt(image), BigInt(dataAt(image)) | (1n << 60n)),
  },
  {
    title: 'two bitmaps have the same data',
    bases,
    damage: (image) => image.setU64(Number(image.u64(secondAt(image))), image.u64(tableAt(image))),
  },
  {
    title: 'two bitmaps have the same table',
    bases,
    damage: (image) => image.setU64(secondAt(image), BigInt(tableAt(image))),
  },
  {
    title: 'the data of a bitmap is the data of the guest',
    bases,
    damage: (image) => image.setU64(tableAt(image), BigInt(image.target(image.l2At(8)))),
  },
  {
    title: 'the data of a bitmap is the bitmap directory',
    bases,
    damage: (image) => image.setU64(tableAt(image), BigInt(directoryAt(image))),
  },
  {
    title: 'a bitmap has bits behind the end of the disk',
    bases,
    damage: (image) => image.fill(dataAt(image) + 40_000, 100, 0xff),
  },
  {
    title: 'the bitmaps are lost and the image is marked corrupt',
    bases,
    damage: (image: ImageBytes): void => {
      image.setU64(88, 0n);
      image.setU64(72, 2n);
    },
  },
  {
    title: 'the image is dirty and the refcounts of its bitmaps are zero',
    bases,
    damage: (image: ImageBytes): void => {
      for (const at of [directoryAt(image), tableAt(image), dataAt(image)]) image.setRefcount(image.cluster(at), 0);
      image.setU64(72, 1n);
    },
    difference: {
      row: 'BMP-07',
      reason:
        'QEMU writes all bitmaps to new places whenever it closes a writable image, and so mends them by the way.',
      afterLeaks: { corruptions: 3 },
    },
  },
];
