// Damages to images whose guest data lies in another file, is encrypted or packed.

import type { ImageBytes } from '../../support/image-bytes.ts';
import { compressed, owned } from './damage.ts';
import type { Damage, Difference } from './damage.ts';

const encryptionExtension = 0x0537_be77;
const dataFileExtension = 0x4441_5441;

const areaAt = (image: ImageBytes): number => Number(image.u64(image.extensionAt(encryptionExtension)));
const blobBits = 0x3fff_ffff_ffff_ffffn;

/** What only we see of an entry that does not name its own place. */
function anotherPlace(corruptions: number): Difference {
  const reason = 'QEMU looks at the place of an entry only when the guest reads it, and that is an I/O error.';
  return { row: 'DAT-01', reason, none: { corruptions }, leaks: { corruptions }, all: { corruptions } };
}

export const layoutDamages: readonly Damage[] = [
  { title: 'nothing is wrong', bases: ['luks', 'aes', 'data', 'raw', 'zstd'], damage: () => undefined },
  // Encrypted images.
  {
    title: 'the encryption header has the refcount zero',
    bases: ['luks'],
    damage: (image) => image.setRefcount(image.cluster(areaAt(image)), 0),
  },
  {
    title: 'the encryption header has a refcount that is too high',
    bases: ['luks'],
    damage: (image) => image.setRefcount(image.cluster(areaAt(image)) + 1, 4),
  },
  {
    title: 'an L2 entry points into the encryption header',
    bases: ['luks'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt(areaAt(image) + 2 * image.clusterSize)),
  },
  {
    title: 'the encryption header reaches past the end of the file',
    bases: ['luks'],
    damage: (image) => image.setU64(image.extensionAt(encryptionExtension) + 8, BigInt(image.length)),
    difference: {
      row: 'CHK-03',
      reason: 'QEMU does not count an area that reaches past the end, so its repair frees all key material; we stop.',
      none: { checkErrors: 1, leaks: 0, imageEndOffset: 0 },
      leaks: { checkErrors: 1, leaksFixed: 0, allocatedClusters: 0, fragmentedClusters: 0 },
      all: { checkErrors: 1, leaksFixed: 0, allocatedClusters: 0, fragmentedClusters: 0 },
      afterLeaks: { leaks: 32 },
      afterAll: { leaks: 32 },
    },
  },
  {
    title: 'the encryption header lies past the end of the file',
    bases: ['luks'],
    refused: true,
    damage: (image) =>
      image.setU64(image.extensionAt(encryptionExtension), BigInt((image.endCluster + 2) * image.clusterSize)),
  },
  {
    title: 'the encryption header does not start on a cluster',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU64(image.extensionAt(encryptionExtension), BigInt(areaAt(image) + 512)),
  },
  {
    title: 'the encryption header is shorter than it was',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU64(image.extensionAt(encryptionExtension) + 8, BigInt(image.clusterSize)),
  },
  {
    title: 'the pointer to the encryption header has another length',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU32(image.extensionAt(encryptionExtension) - 4, 8),
  },
  {
    title: 'nothing points to the encryption header',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU32(image.extensionAt(encryptionExtension) - 8, 0x7777_7777),
  },
  {
    title: 'the key material of a slot is said to lie behind the encryption header',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU32(areaAt(image) + 208 + 7 * 48 + 40, 0x0010_0000),
  },
  {
    title: 'the encryption header holds garbage',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.fill(areaAt(image), 64, 0xa7),
  },
  {
    title: 'the encryption header is there and the method is none',
    bases: ['luks'],
    refused: true,
    damage: (image) => image.setU32(32, 0),
  },
  {
    title: 'the encryption method is unknown',
    bases: ['aes'],
    refused: true,
    damage: (image) => image.setU32(32, 3),
  },
  {
    title: 'refcounts are wrong both ways in an encrypted image',
    bases: ['luks', 'aes'],
    damage: (image: ImageBytes): void => {
      image.setRefcount(image.cluster(image.target(image.l2At(0))), 1);
      image.setRefcount(image.cluster(image.target(image.l2At(12))), 2);
    },
  },
  {
    title: 'an encrypted image has a compressed entry',
    bases: ['luks'],
    damage: (image) => image.setU64(image.l2At(12), compressed | BigInt(image.target(image.l2At(12)))),
  },
  // Images with a data file.
  {
    title: 'an owned flag is missing in an image with a data file',
    bases: ['data', 'raw'],
    damage: (image) => image.setU64(image.l2At(2), image.u64(image.l2At(2)) & ~owned),
  },
  {
    title: 'the entry for the start of a data file has lost its owned flag',
    bases: ['data', 'raw'],
    damage: (image) => image.setU64(image.l2At(0), 0n),
  },
  {
    title: 'an entry of an image with a data file names another place',
    bases: ['data', 'raw'],
    damage: (image) => image.setU64(image.l2At(2), image.u64(image.l2At(3))),
    difference: anotherPlace(1),
  },
  {
    title: 'an entry of an image with a data file does not start on a cluster',
    bases: ['data'],
    damage: (image) => image.setU64(image.l2At(2), image.u64(image.l2At(2)) + 512n),
    difference: anotherPlace(2),
  },
  {
    title: 'an entry of an image with a data file names a place behind its end',
    bases: ['data'],
    damage: (image) => image.setU64(image.l2At(2), owned | (1n << 40n)),
    difference: anotherPlace(1),
  },
  {
    title: 'a zero entry of an image with a data file names another place',
    bases: ['data'],
    damage: (image) => image.setU64(image.l2At(5), owned | 0x1_0001n),
    difference: anotherPlace(1),
  },
  {
    title: 'an entry of an image with a data file sets reserved bits',
    bases: ['data'],
    damage: (image) => image.setU64(image.l2At(2), image.u64(image.l2At(2)) | (1n << 57n)),
  },
  {
    title: 'an image with a data file has a compressed entry',
    bases: ['data'],
    damage: (image) => image.setU64(image.l2At(2), compressed | BigInt(image.l1Offset)),
  },
  {
    title: 'an image with a data file has a leak',
    bases: ['data'],
    damage: (image: ImageBytes): void => {
      image.resize((image.endCluster + 1) * image.clusterSize);
      image.setRefcount(image.endCluster - 1, 1);
    },
  },
  {
    title: 'the refcount of an L2 table is zero in an image with a data file',
    bases: ['data', 'raw'],
    damage: (image) => image.setRefcount(image.cluster(image.target(image.l1At(0))), 0),
  },
  {
    title: 'an image with a data file counts a snapshot (CHK-10)',
    bases: ['data'],
    damage: (image: ImageBytes): void => {
      const table = image.endCluster * image.clusterSize;
      image.resize(table + 2 * image.clusterSize);
      const l2Table = image.target(image.l1At(0));
      image.setU64(table, BigInt(table + image.clusterSize));
      image.setU32(table + 8, 1);
      image.setU32(table + 12, 0x0001_0001);
      image.setU32(table + 36, 16);
      image.setU64(table + 48, image.u64(24));
      image.fill(table + 56, 2, 0x31);
      image.setRefcount(image.cluster(table), 1);
      image.setRefcount(image.cluster(table) + 1, 1);
      for (const at of [image.l1At(0), table + image.clusterSize]) image.setU64(at, BigInt(l2Table));
      image.setRefcount(image.cluster(l2Table), 2);
      image.setU32(60, 1);
      image.setU64(64, BigInt(table));
    },
  },
  {
    title: 'the name of the data file is not in the header',
    bases: ['data'],
    damage: (image) => image.setU32(image.extensionAt(dataFileExtension) - 8, 0x7777_7777),
    difference: {
      row: 'DAT-03',
      reason: 'A check counts nothing in the data file, so it does not matter which it is.',
      none: {},
      leaks: {},
      all: {},
    },
  },
  {
    title: 'the raw flag stands without a data file',
    bases: ['v3'],
    refused: true,
    damage: (image) => image.setU64(88, 2n),
  },
  {
    title: 'an image with a data file has lost the bit that says so',
    bases: ['data'],
    damage: (image) => image.setU64(72, 0n),
  },
  // Packed clusters.
  {
    title: 'two compressed entries name the same blob',
    bases: ['v3', 'zstd'],
    damage: (image) => image.setU64(image.l2At(9), image.u64(image.l2At(8))),
  },
  {
    title: 'a compressed entry says that its blob is much longer than it is (CHK-11)',
    bases: ['v3', 'zstd', 'extended'],
    damage: (image) =>
      image.setU64(
        image.l2At(8),
        image.u64(image.l2At(8)) | (BigInt(image.clusterSize / 256 - 1) << countShift(image)),
      ),
  },
  {
    title: 'a compressed entry says that its blob is shorter than it is (CHK-11)',
    bases: ['v3'],
    damage: (image) => image.setU64(image.l2At(9), image.u64(image.l2At(9)) & ~(0xffn << countShift(image))),
  },
  {
    title: 'a blob lies over an L2 table',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.l2At(8), compressed | BigInt(image.target(image.l1At(0)) + 17)),
  },
  {
    title: 'a blob lies over a data cluster',
    bases: ['zstd'],
    damage: (image) => image.setU64(image.l2At(8), compressed | BigInt(image.target(image.l2At(12)) + 3)),
  },
  {
    title: 'a blob begins in the last sector of its cluster and goes on in the next',
    bases: ['v3'],
    damage: (image) =>
      image.setU64(
        image.l2At(8),
        compressed | (1n << countShift(image)) | BigInt(blobAt(image) + image.clusterSize - 5),
      ),
  },
  {
    title: 'the refcount of a cluster with two zstd blobs is one too high',
    bases: ['zstd'],
    damage: (image: ImageBytes): void => {
      const blob = image.cluster(blobAt(image));
      image.setRefcount(blob, image.refcount(blob) + 1);
    },
  },
  {
    title: 'the compression type is not what the features say (BIT-I3)',
    bases: ['zstd'],
    refused: true,
    damage: (image) => image.fill(104, 1, 0),
  },
];

/** Where the additional sectors of a compressed entry begin (CMP-01). */
function countShift(image: ImageBytes): bigint {
  return BigInt(70 - Math.log2(image.clusterSize));
}

/** Where the blob of guest cluster 8 begins, rounded down to its cluster. */
function blobAt(image: ImageBytes): number {
  const place = Number(image.u64(image.l2At(8)) & blobBits & ((1n << countShift(image)) - 1n));
  return place - (place % image.clusterSize);
}
