// Damages to L1 and L2 entries.

import type { ImageBytes } from '../../support/image-bytes.ts';
import { compressed, owned } from './damage.ts';
import type { Damage } from './damage.ts';

const change = (image: ImageBytes, at: number, to: (entry: bigint) => bigint): void =>
  image.setU64(at, to(image.u64(at)));

export const entryDamages: readonly Damage[] = [
  {
    title: 'an owned flag is missing in an L2 entry (CHK-08)',
    bases: ['v3', 'v2', 'small', 'bits1', 'bits4', 'extended', 'allocated'],
    damage: (image) => change(image, image.l2At(12), (entry) => entry & ~owned),
  },
  {
    title: 'an owned flag is set on a shared cluster',
    bases: ['v3', 'v2', 'small', 'bits8', 'extended'],
    damage: (image) => change(image, image.l2At(1), (entry) => entry | owned),
  },
  {
    title: 'the owned flag of an L1 entry is missing',
    bases: ['v3', 'small', 'extended'],
    damage: (image) => change(image, image.l1At(0), (entry) => entry & ~owned),
  },
  {
    title: 'the owned flag is set nowhere',
    bases: ['v3', 'bits8', 'extended'],
    damage: (image: ImageBytes): void => {
      change(image, image.l1At(0), (entry) => entry & ~owned);
      for (let guest = 0; guest < 16; guest += 1) change(image, image.l2At(guest), (entry) => entry & ~owned);
    },
  },
  {
    title: 'an L2 entry sets reserved bits (CHK-10, T23)',
    bases: ['v3', 'small', 'extended'],
    damage: (image) => change(image, image.l2At(12), (entry) => entry | 0x2000_0000_0000_0010n),
  },
  {
    title: 'an entry without a place sets reserved bits',
    bases: ['v3', 'extended'],
    damage: (image) => change(image, image.l2At(15), (entry) => entry | 0x0100_0000_0000_0000n),
  },
  {
    title: 'an L1 entry sets reserved bits (CHK-10, T23)',
    bases: ['v3', 'small'],
    damage: (image) => change(image, image.l1At(0), (entry) => entry | 0x0200_0000_0000_0040n),
  },
  {
    title: 'a data cluster does not start on a cluster (CHK-10)',
    bases: ['v3', 'v2', 'bits8', 'extended'],
    damage: (image) => change(image, image.l2At(12), (entry) => entry + 512n),
  },
  {
    title: 'a zero cluster with a place does not start on a cluster (CHK-09)',
    bases: ['v3', 'bits8', 'bits64'],
    damage: (image: ImageBytes): void => {
      if (image.clusterSize > 512) change(image, image.l2At(5), (entry) => entry + 512n);
      else change(image, image.l2At(5), (entry) => entry | 2n);
    },
  },
  {
    title: 'the zero cluster of a table shared with a snapshot does not start on a cluster',
    bases: ['allocated'],
    damage: (image) => change(image, image.l2At(5), (entry) => (entry + 512n) | 1n),
  },
  {
    title: 'two guest clusters share a host cluster that is counted once',
    bases: ['v3', 'v2', 'small', 'bits1', 'bits8', 'extended'],
    damage: (image: ImageBytes): void => {
      image.setU64(image.l2At(4), image.u64(image.l2At(12)));
      if (image.extended) image.setU64(image.l2At(4) + 8, image.u64(image.l2At(12) + 8));
    },
    difference: {
      row: 'REF-05',
      reason: 'nothing differs; with 1-bit refcounts the second reference cannot be counted and stays a corruption.',
    },
  },
  {
    title: 'an L2 entry points past the end of the file (CHK-03, CHK-10)',
    bases: ['v3', 'small', 'bits8', 'extended'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt((image.endCluster + 9) * image.clusterSize)),
  },
  {
    title: 'an L2 entry points just past the end of the file (T77)',
    bases: ['v3', 'bits8'],
    damage: (image: ImageBytes): void => {
      image.resize(image.endCluster * image.clusterSize);
      image.setU64(image.l2At(12), owned | BigInt(image.endCluster * image.clusterSize));
    },
  },
  {
    title: 'an L2 entry has the largest offset',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.l2At(12), owned | 0x00ff_ffff_ffff_0000n),
  },
  {
    title: 'the file ends in the middle of the last cluster (T77)',
    bases: ['v3', 'small'],
    damage: (image) => image.resize((image.endCluster - 1) * image.clusterSize + 100),
  },
  {
    title: 'an L2 entry points into the header',
    bases: ['v3', 'extended'],
    damage: (image) => image.setU64(image.l2At(12), owned | 0x200n),
  },
  {
    title: 'an L2 entry points to its own table',
    bases: ['v3', 'small', 'bits8'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt(image.target(image.l1At(0)))),
    showsMetadata: true,
  },
  {
    title: 'an L2 entry points to the active L1 table',
    bases: ['v3', 'extended'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt(image.l1Offset)),
  },
  {
    title: 'an L2 entry points to a refcount block',
    bases: ['v3', 'bits8'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt(image.blockOf(0))),
  },
  {
    title: 'an L2 entry points to the refcount table',
    bases: ['v3'],
    damage: (image) => image.setU64(image.l2At(12), owned | BigInt(image.tableOffset)),
  },
  {
    title: 'an L1 entry points past the end of the file',
    bases: ['v3', 'small'],
    damage: (image) => image.setU64(image.l1At(0), owned | BigInt((image.endCluster + 3) * image.clusterSize)),
  },
  {
    title: 'an L1 entry points to a data cluster',
    bases: ['v3', 'bits8'],
    damage: (image: ImageBytes): void => {
      image.fill(image.target(image.l2At(12)), image.clusterSize, 0);
      image.setU64(image.l1At(0), owned | BigInt(image.target(image.l2At(12))));
    },
  },
  {
    title: 'an L1 entry does not start on a cluster',
    bases: ['v3', 'bits8'],
    damage: (image) => change(image, image.l1At(0), (entry) => entry + 512n),
  },
  {
    title: 'an L1 entry is owned and has no place',
    bases: ['v3'],
    damage: (image) => image.setU64(image.l1At(0), owned),
    difference: {
      row: 'CHK-17',
      reason: 'The header becomes an L2 table; QEMU gives up when it would write there, we leave that place alone.',
      all: {},
      afterAll: { corruptions: 42, leaks: 0 },
    },
  },
  {
    title: 'an L1 entry is zero and its table leaks',
    bases: ['v3', 'small', 'extended'],
    damage: (image) => image.setU64(image.l1At(0), 0n),
  },
  {
    title: 'two L1 entries name the same L2 table',
    bases: ['bits8'],
    damage: (image: ImageBytes): void => {
      image.setU32(36, 2);
      image.setU64(image.l1At(1), image.u64(image.l1At(0)));
    },
  },
  {
    title: 'a compressed entry is marked as owned (CHK-10, T38)',
    bases: ['v3', 'v2', 'small', 'extended'],
    damage: (image) => change(image, image.l2At(8), (entry) => entry | owned),
  },
  {
    title: 'a compressed entry points past the end of the file',
    bases: ['v3', 'small', 'extended'],
    damage: (image) =>
      image.setU64(image.l2At(8), compressed | BigInt((image.endCluster + 40) * image.clusterSize + 77)),
  },
  {
    title: 'a compressed entry starts just past the end of the file',
    bases: ['v3'],
    damage: (image: ImageBytes): void => {
      image.resize(image.endCluster * image.clusterSize);
      image.setU64(image.l2At(8), compressed | BigInt(image.endCluster * image.clusterSize));
    },
  },
  {
    title: 'a compressed entry has the largest offset',
    bases: ['v3', 'small'],
    damage: (image) => image.setU64(image.l2At(8), 0x7fff_ffff_ffff_ffffn),
  },
  {
    title: 'a subcluster is allocated and zero at once (CHK-10, SUB-04)',
    bases: ['extended'],
    damage: (image) => image.setU64(image.l2At(12) + 8, 0x0000_0001_ffff_ffffn),
  },
  {
    title: 'subclusters are allocated without a place',
    bases: ['extended'],
    damage: (image: ImageBytes): void => {
      image.setU64(image.l2At(15), 0n);
      image.setU64(image.l2At(15) + 8, 5n);
    },
  },
  {
    title: 'a compressed entry has subcluster bits (CHK-10, SUB-05)',
    bases: ['extended'],
    damage: (image) => image.setU64(image.l2At(8) + 8, 1n),
    difference: {
      row: 'T78',
      reason: 'QEMU does not count the blob, so its repair frees clusters that the guest still reads; we count them.',
      none: { leaks: 0 },
      leaks: { leaksFixed: 0, leaks: 0 },
      all: { leaksFixed: 0 },
      afterLeaks: { leaks: 1 },
      afterAll: { leaks: 1 },
    },
  },
  {
    title: 'an extended entry without data does not start on a cluster (CHK-09)',
    bases: ['extended'],
    damage: (image: ImageBytes): void => {
      change(image, image.l2At(12), (entry) => entry + 512n);
      image.setU64(image.l2At(12) + 8, 0xffff_0000_0000_0000n);
    },
  },
  {
    title: 'an extended entry sets the zero flag of a plain one (T25)',
    bases: ['extended'],
    damage: (image) => change(image, image.l2At(12), (entry) => entry | 1n),
  },
  {
    title: 'a version 2 entry sets the zero flag (CHK-11)',
    bases: ['v2'],
    damage: (image) => change(image, image.l2At(12), (entry) => entry | 1n),
  },
];
