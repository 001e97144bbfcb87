// Damages to refcounts, refcount blocks and the refcount table.

import type { ImageBytes } from '../../support/image-bytes.ts';
import { owned } from './damage.ts';
import type { Damage } from './damage.ts';

const dataCluster = (image: ImageBytes, guest: number): number => image.cluster(image.target(image.l2At(guest)));

export const refcountDamages: readonly Damage[] = [
  {
    title: 'the refcount of a data cluster is one too high (CHK-04, B22)',
    bases: ['v3', 'v2', 'small', 'bits8', 'bits32', 'bits64', 'extended'],
    damage: (image) => image.setRefcount(dataCluster(image, 12), 2),
  },
  {
    title: 'the refcount of a shared cluster is one too high',
    bases: ['v3', 'bits2', 'bits4'],
    damage: (image) => image.setRefcount(dataCluster(image, 1), 3),
  },
  {
    title: 'the refcount of a shared cluster is one too low (CHK-05)',
    bases: ['v3', 'v2', 'small', 'bits2', 'bits8', 'bits32', 'bits64'],
    damage: (image) => image.setRefcount(dataCluster(image, 1), 1),
  },
  {
    title: 'the refcount of a data cluster is zero (CHK-05, CHK-06, CHK-07)',
    bases: ['v3', 'v2', 'small', 'bits1', 'bits64', 'extended'],
    damage: (image) => image.setRefcount(dataCluster(image, 12), 0),
  },
  {
    title: 'the refcounts of an L2 table and of its data are zero (B23)',
    bases: ['v3'],
    damage: (image: ImageBytes): void => {
      image.setRefcount(image.cluster(image.target(image.l1At(0))), 0);
      image.setRefcount(dataCluster(image, 12), 0);
    },
  },
  {
    title: 'a cluster that nobody uses has a refcount',
    bases: ['v3', 'bits1', 'extended'],
    damage: (image: ImageBytes): void => {
      image.resize((image.endCluster + 3) * image.clusterSize);
      image.setRefcount(image.endCluster - 2, 1);
      image.fill((image.endCluster - 2) * image.clusterSize, image.clusterSize, 0xab);
    },
  },
  {
    title: 'the refcounts of all used clusters are zero and the image is dirty',
    bases: ['lazy', 'v3', 'bits8'],
    damage: (image: ImageBytes): void => {
      for (let cluster = 1; cluster < image.endCluster; cluster += 1) image.setRefcount(cluster, 0);
      image.setU64(72, image.u64(72) | 1n);
    },
  },
  {
    title: 'the refcount of the header is zero',
    bases: ['v3', 'small'],
    damage: (image) => image.setRefcount(0, 0),
  },
  {
    title: 'the refcount of the active L1 table is zero',
    bases: ['v3'],
    damage: (image) => image.setRefcount(image.cluster(image.l1Offset), 0),
  },
  {
    title: 'the refcount of an L2 table is too high',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setRefcount(image.cluster(image.target(image.l1At(0))), 2),
  },
  {
    title: 'the refcount of the snapshot table is zero',
    bases: ['v3'],
    damage: (image) => image.setRefcount(image.cluster(image.snapshotAt(0)), 0),
  },
  {
    title: 'the refcount of a cluster with two compressed clusters is one too low',
    bases: ['v3', 'extended', 'bits8'],
    damage: (image: ImageBytes): void => {
      const blob = image.cluster(Number(image.u64(image.l2At(8)) & 0x0000_ffff_ffff_ffffn));
      image.setRefcount(blob, image.refcount(blob) - 1);
    },
  },
  {
    title: 'refcounts are wrong both ways',
    bases: ['v3', 'v2', 'bits8', 'bits64'],
    damage: (image: ImageBytes): void => {
      image.setRefcount(dataCluster(image, 1), 1);
      image.setRefcount(dataCluster(image, 2), 3);
      image.setRefcount(dataCluster(image, 12), 3);
    },
  },
  {
    title: 'wrong refcounts and a wrong owned flag come together (CHK-02, CHK-08)',
    bases: ['v3', 'extended'],
    damage: (image: ImageBytes): void => {
      image.setRefcount(dataCluster(image, 2), 4);
      image.setU64(image.l2At(12), image.u64(image.l2At(12)) & ~owned);
    },
  },
  {
    title: 'a refcount has its largest value',
    bases: ['v3', 'bits32', 'bits2', 'bits4'],
    damage: (image: ImageBytes): void => {
      const bits = image.version === 3 ? 2 ** image.u32(96) : 16;
      image.setRefcount(dataCluster(image, 12), 2 ** bits - 1);
    },
  },
  {
    title: 'the refcount table entry is zero',
    bases: ['v3', 'v2', 'small', 'bits1'],
    damage: (image) => image.setU64(image.tableOffset, 0n),
  },
  {
    title: 'the refcount table entry sets a reserved bit',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.tableOffset, image.u64(image.tableOffset) | 4n),
    difference: {
      row: 'CHK-06',
      reason: 'QEMU makes the node unusable while it repairs and cannot finish; we build the refcounts anew.',
      all: {},
      afterAll: { corruptions: 0, leaks: 0 },
    },
  },
  {
    title: 'the refcount table entry points into the middle of a cluster',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.tableOffset, image.u64(image.tableOffset) + 512n),
    difference: {
      row: 'CHK-06',
      reason: 'QEMU makes the node unusable while it repairs and cannot finish; we build the refcounts anew.',
      all: {},
      afterAll: { checkErrors: 0, corruptions: 0 },
    },
  },
  {
    title: 'the refcount table entry points past the end of the file',
    bases: ['v3', 'small'],
    damage: (image) => image.setU64(image.tableOffset, BigInt((image.endCluster + 5) * image.clusterSize)),
    difference: {
      row: 'CHK-06',
      reason:
        'QEMU makes the file longer for the block and counts that block as one corruption more; we rebuild at once.',
      all: { corruptionsFixed: 20 },
    },
  },
  {
    title: 'the refcount table entry points to nowhere',
    bases: ['v3'],
    damage: (image) => image.setU64(image.tableOffset, 0xffff_ffff_ffff_0000n),
  },
  {
    title: 'a second refcount table entry names the same block',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.tableOffset + 8, image.u64(image.tableOffset)),
  },
  {
    title: 'a second refcount table entry points far past the end of the file',
    bases: ['v3'],
    damage: (image) => image.setU64(image.tableOffset + 8, BigInt(image.clusterSize) * 100_000n),
    difference: {
      row: 'CHK-06',
      reason: 'QEMU makes the file as long as the entry says; we build the refcounts anew and leave the length alone.',
      all: { corruptionsFixed: 1 },
    },
  },
  {
    title: 'a refcount block lies where data lies',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.tableOffset, BigInt(image.target(image.l2At(12)))),
  },
  {
    title: 'the refcount block is the active L1 table',
    bases: ['v3'],
    damage: (image) => image.setU64(image.tableOffset, BigInt(image.l1Offset)),
  },
  {
    title: 'the refcount block holds garbage',
    bases: ['v3', 'bits8', 'bits1'],
    damage: (image) => image.fill(image.blockOf(0), 64, 0xa7),
  },
  {
    title: 'the header has no refcount table',
    bases: ['v3', 'small'],
    damage: (image) => image.setU32(56, 0),
  },
  {
    title: 'the refcount table lies past the end of the file',
    bases: ['v3'],
    damage: (image) => image.setU64(48, BigInt((image.endCluster + 7) * image.clusterSize)),
  },
  {
    title: 'the image is marked corrupt and nothing is wrong',
    bases: ['v3'],
    damage: (image) => image.setU64(72, image.u64(72) | 2n),
  },
  {
    title: 'the image is marked corrupt and has a leak',
    bases: ['v3', 'bits8'],
    damage: (image: ImageBytes): void => {
      image.setU64(72, image.u64(72) | 2n);
      image.setRefcount(dataCluster(image, 12), 2);
    },
  },
  {
    title: 'the image is marked dirty and nothing is wrong',
    bases: ['lazy', 'v3'],
    damage: (image) => image.setU64(72, image.u64(72) | 1n),
  },
];
