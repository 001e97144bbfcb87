// The options of the format that may meet in one image, and a small set of images in which every two of them do.
//
//   GRID=all npm run test:qemu -- matrix    with more cluster sizes, and each refcount width

import { usually } from '../../support/every-second.ts';
import { pairwise } from '../../support/pairwise.ts';

/** One image of the matrix. */
export interface MatrixCase {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountBits: number;
  readonly extended: boolean;
  readonly compression: 'none' | 'zlib' | 'zstd';
  readonly backing: 'none' | 'qcow2' | 'raw';
  readonly snapshot: boolean;
  readonly bitmap: boolean;
  readonly encryption: 'none' | 'luks' | 'aes';
  /** Where the guest's bytes lie: `raw` reads as the disk by itself. */
  readonly dataFile: 'none' | 'plain' | 'raw';
}

/** Every two options that QEMU lets meet are in one of these. */
export const matrixCases: readonly MatrixCase[] = pairwise<MatrixCase>(
  {
    version: [2, 3],
    clusterBits: usually([9, 14, 16], [9, 12, 14, 16, 21]),
    refcountBits: usually([1, 16, 64], [1, 2, 4, 8, 16, 32, 64]),
    extended: [false, true],
    compression: ['none', 'zlib', 'zstd'],
    backing: ['none', 'qcow2', 'raw'],
    snapshot: [false, true],
    bitmap: [false, true],
    encryption: ['none', 'luks', 'aes'],
    dataFile: ['none', 'plain', 'raw'],
  },
  isAllowed,
);

/** In bytes; the last cluster is not whole. */
export function sizeOf({ clusterBits }: MatrixCase): number {
  const cluster = 2 ** clusterBits;
  return clustersOf * cluster + (cluster > 512 ? cluster - 512 : 0);
}

/** What `qemu-img create -o` is told beside encryption. */
export function createOptions(choice: MatrixCase): string {
  const { version, clusterBits, refcountBits, extended, compression } = choice;
  const always = [`compat=${version === 2 ? '0.10' : '1.1'}`, `cluster_size=${2 ** clusterBits}`];
  if (version === 2) return always.join(',');
  const type = compression === 'zstd' ? 'zstd' : 'zlib';
  return [
    ...always,
    `refcount_bits=${refcountBits}`,
    `extended_l2=${onOff(extended)}`,
    `compression_type=${type}`,
  ].join(',');
}

/** A name for people: what is not usual about it. */
export function nameOf(choice: MatrixCase): string {
  const { version, clusterBits, refcountBits, extended, compression, backing, snapshot, bitmap } = choice;
  const { encryption, dataFile } = choice;
  return [
    `v${version}`,
    `clusters of ${2 ** clusterBits}`,
    `refcounts of ${refcountBits}`,
    extended ? 'extended L2' : '',
    compression === 'none' ? '' : `${compression} clusters`,
    backing === 'none' ? '' : `over ${backing}`,
    snapshot ? 'a snapshot' : '',
    bitmap ? 'a bitmap' : '',
    encryption === 'none' ? '' : encryption,
    dataFile === 'none' ? '' : `a ${dataFile} data file`,
  ]
    .filter((word) => word !== '')
    .join(', ');
}

/** One piece of a story; offsets and lengths in bytes, `value` fills the whole span. */
export interface StoryStep {
  readonly kind: 'write' | 'compress' | 'zero' | 'unmap';
  readonly offset: number;
  readonly length: number;
  readonly value: number;
}

/** What leaves clusters of every kind that the options allow. */
export function storyOf(choice: MatrixCase): readonly StoryStep[] {
  const cluster = 2 ** choice.clusterBits;
  const step = (kind: StoryStep['kind'], value: number, start: number, count: number): StoryStep => ({
    kind,
    offset: start * cluster,
    length: count * cluster,
    value,
  });
  const compressed = [
    step('compress', 5, 9, 1),
    step('compress', 6, 10, 1),
    step('compress', 7, 11, 1),
    step('write', 8, 11.5, 0.5),
  ];
  return [
    step('write', 1, 0, 1),
    step('write', 2, 1.5, 0.5),
    step('write', 3, 3, 3),
    step('zero', 0, 3, 1),
    step('unmap', 0, 4, 1),
    step('write', 4, 6, 2.5),
    ...(choice.compression === 'none' ? [] : compressed),
    step('zero', 0, 21, 1),
    { kind: 'write', offset: sizeOf(choice) - 512, length: 512, value: 9 },
  ];
}

/** The story in qemu-io's words. */
export function commandsOf(story: readonly StoryStep[]): readonly string[] {
  const words = { write: 'write -P', compress: 'write -c -P', zero: 'write -z', unmap: 'write -z -u' };
  return story.map(({ kind, offset, length, value }) => {
    const filled = kind === 'write' || kind === 'compress' ? ` ${value}` : '';
    return `${words[kind]}${filled} ${offset} ${length}`;
  });
}

const clustersOf = 24;

function isAllowed(choice: MatrixCase): boolean {
  const { version, clusterBits, refcountBits, extended, compression, backing, snapshot, bitmap } = choice;
  const { encryption, dataFile } = choice;
  if (version === 2 && (refcountBits !== 16 || extended || compression === 'zstd' || bitmap)) return false;
  // QEMU: subclusters have at least a sector.
  if (extended && clusterBits < 14) return false;
  // A count of one bit has no room for a snapshot's reference, and narrow ones have little for blobs that share a cluster.
  if (refcountBits === 1 && snapshot) return false;
  if (refcountBits < 8 && compression !== 'none') return false;
  // QEMU: neither snapshots nor blobs in a data file, and one that reads as the disk by itself has nothing below.
  if (dataFile !== 'none' && (version === 2 || snapshot || compression !== 'none')) return false;
  if (dataFile === 'raw' && backing !== 'none') return false;
  return compression === 'none' || encryption === 'none';
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}
