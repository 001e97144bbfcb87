// Backing chains: raw and QCOW2 below; shorter, longer and unaligned; other cluster sizes on every floor.

import { MiB } from '../../src/base/units.ts';
import { create, createOver, img, io, recipe, topFile } from './image-recipe.ts';
import type { ImageRecipe, RecipeBacking, RecipeStep } from './image-recipe.ts';

const raw: RecipeBacking = { fileName: 'base.raw', format: 'raw' };
const base: RecipeBacking = { fileName: 'base.qcow2', format: 'qcow2' };
const middle: RecipeBacking = { fileName: 'middle.qcow2', format: 'qcow2' };

/** A raw disk with data at its start, in its middle and up to its very last byte. */
function rawDisk(length: number): RecipeStep {
  const pieces = [
    { offset: 0, length: Math.min(length, 70_000), value: 0xa1 },
    { offset: Math.floor(length / 2), length: Math.min(length - Math.floor(length / 2), 5000), value: 0xa2 },
    { offset: Math.max(0, length - 3000), length: Math.min(length, 3000), value: 0xa3 },
  ];
  return { kind: 'raw', file: 'base.raw', length, pieces };
}

/** A QCOW2 base that holds one of each. */
function qcow2Base(size: number, options: readonly string[]): readonly RecipeStep[] {
  return [
    create('base.qcow2', size, options),
    io(
      'base.qcow2',
      'write -P 0xb1 0 200k',
      'write -z 64k 64k',
      'write -P 0xb2 512k 64k',
      `write -P 0xb3 ${size - 1024} 1024`,
    ),
  ];
}

function overRaw(id: string, oddity: string, facts: OverlayFacts & { readonly rawLength: number }): ImageRecipe {
  const steps = [rawDisk(facts.rawLength), createOver(topFile, raw, facts), ...contents(facts.commands)];
  return recipe(`chain-${id}`, oddity, steps, { backing: [raw] });
}

interface OverlayFacts {
  readonly size: number | undefined;
  readonly options: readonly string[];
  readonly commands: readonly string[];
}

function contents(commands: readonly string[]): readonly RecipeStep[] {
  return commands.length === 0 ? [] : [io(topFile, ...commands)];
}

function overBase(id: string, oddity: string, below: readonly RecipeStep[], facts: OverlayFacts): ImageRecipe {
  const steps = [...below, createOver(topFile, base, facts), ...contents(facts.commands)];
  return recipe(`chain-${id}`, oddity, steps, { backing: [base] });
}

const some = ['write -P 1 100k 30k', 'write -z 300k 128k', 'discard 0 64k'];
const extended = ['extended_l2=on'];

export const chainImages: readonly ImageRecipe[] = [
  overRaw('raw-same', 'raw below, of the same size', { rawLength: MiB, size: undefined, options: [], commands: some }),
  overRaw('raw-short', 'raw below, shorter, ends between sectors', {
    rawLength: 100_300,
    size: MiB,
    options: [],
    commands: some,
  }),
  overRaw('raw-short-empty', 'nothing above a raw end between sectors', {
    rawLength: 333_333,
    size: MiB,
    options: [],
    commands: [],
  }),
  overRaw('raw-long', 'raw below, longer', { rawLength: 2 * MiB, size: MiB, options: [], commands: some }),
  overRaw('raw-long-unaligned', 'raw below, longer, ends between sectors', {
    rawLength: 700_001,
    size: 600 * 1024,
    options: [],
    commands: ['write -P 1 590k 10k'],
  }),
  overRaw('raw-nothing', 'an empty raw file below', { rawLength: 0, size: MiB, options: [], commands: some }),
  overRaw('raw-one-byte', 'a raw file of one byte below', {
    rawLength: 1,
    size: MiB,
    options: ['cluster_size=512'],
    commands: ['write -P 1 1k 1k'],
  }),
  overRaw('raw-cow-at-end', 'copy-on-write over the unaligned end of raw', {
    rawLength: 100_300,
    size: MiB,
    options: [],
    commands: ['write -P 1 98k 1k', 'write -P 2 70k 512'],
  }),
  overRaw('raw-v2', 'version 2 over raw; zeroes are written, discards do nothing', {
    rawLength: MiB,
    size: undefined,
    options: ['compat=0.10'],
    commands: some,
  }),
  overRaw('raw-extended', 'single subclusters over raw', {
    rawLength: MiB,
    size: undefined,
    options: extended,
    commands: [
      'write -P 1 4k 2k',
      'write -z 130k 4k',
      'write -P 2 191k 3k',
      'write -z 256k 64k',
      'discard 512k 64k',
      'write -P 3 640k 1k',
    ],
  }),
  overRaw('raw-extended-short', 'subclusters across the unaligned end of raw', {
    rawLength: 100_300,
    size: MiB,
    options: extended,
    commands: ['write -P 1 97k 512', 'write -z 66k 2k'],
  }),
  overRaw('raw-extended-prealloc', 'clusters with a place and no content over raw', {
    rawLength: MiB,
    size: undefined,
    options: [...extended, 'preallocation=metadata'],
    commands: ['write -P 1 66k 2k', 'write -z 192k 2k', 'discard 256k 64k'],
  }),
  overRaw('raw-small-clusters', 'clusters of 512 bytes over raw', {
    rawLength: 99_999,
    size: 120 * 1024,
    options: ['cluster_size=512'],
    commands: ['write -P 1 10k 700', 'write -z 20k 3k', 'write -P 2 97k 1k'],
  }),
  overRaw('raw-large-clusters', 'clusters of 2 MiB over raw', {
    rawLength: 5 * MiB + 77,
    size: 9 * MiB,
    options: ['cluster_size=2M'],
    commands: ['write -P 1 1M 1k', 'write -z 2M 2M', 'write -P 2 7M 1k'],
  }),
  overBase('qcow2-same', 'QCOW2 below, of the same size', qcow2Base(MiB, []), {
    size: undefined,
    options: [],
    commands: some,
  }),
  overBase('qcow2-short', 'QCOW2 below, shorter', qcow2Base(600 * 1024, []), {
    size: MiB,
    options: [],
    commands: [...some],
  }),
  overBase(
    'qcow2-short-inside',
    'QCOW2 below, ends inside a cluster of the overlay',
    qcow2Base(600 * 1024 + 512, ['cluster_size=4k']),
    { size: MiB, options: ['cluster_size=256k'], commands: ['write -P 1 900k 8k'] },
  ),
  overBase('qcow2-long', 'QCOW2 below, longer', qcow2Base(3 * MiB, []), { size: MiB, options: [], commands: some }),
  overBase('qcow2-nothing', 'a QCOW2 disk of size 0 below', [create('base.qcow2', 0, [])], {
    size: MiB,
    options: [],
    commands: some,
  }),
  overBase('qcow2-empty-overlay', 'nothing of its own', qcow2Base(MiB, []), {
    size: undefined,
    options: [],
    commands: [],
  }),
  overBase('qcow2-hidden', 'zeroes and discards hide what is below', qcow2Base(MiB, []), {
    size: undefined,
    options: [],
    commands: ['write -z 0 64k', 'discard 128k 64k', 'write -z -u 512k 64k', 'write -P 1 512k 4k'],
  }),
  overBase('qcow2-v2-v2', 'version 2 on both floors', qcow2Base(MiB, ['compat=0.10']), {
    size: undefined,
    options: ['compat=0.10'],
    commands: some,
  }),
  overBase(
    'qcow2-extended-below',
    'subclusters below',
    [
      create('base.qcow2', MiB, extended),
      io('base.qcow2', 'write -P 9 10k 3k', 'write -z 66k 2k', 'write -P 8 200k 100k'),
    ],
    { size: undefined, options: [], commands: ['write -P 1 12k 2k'] },
  ),
  overBase(
    'qcow2-compressed-below',
    'compressed clusters below',
    [
      create('base.qcow2', MiB, []),
      io('base.qcow2', 'write -c -P 7 0 64k', 'write -c -P 6 64k 64k', 'write -c -P 5 960k 64k'),
    ],
    { size: undefined, options: ['cluster_size=8k'], commands: ['write -P 1 63k 2k'] },
  ),
  overBase('qcow2-compressed-above', 'compressed clusters above', qcow2Base(MiB, []), {
    size: undefined,
    options: ['compression_type=zstd'],
    commands: ['write -c -P 1 0 64k', 'write -c -P 2 448k 64k'],
  }),
  overBase(
    'qcow2-snapshot-below',
    'the one below has a snapshot that is not its present',
    [...qcow2Base(MiB, []), img('snapshot', '-c', 'old', './base.qcow2'), io('base.qcow2', 'write -P 0xbb 0 100k')],
    { size: undefined, options: [], commands: some },
  ),
  recipe(
    'chain-grown-overlay',
    'an overlay grown over a longer base is zero there',
    [
      ...qcow2Base(3 * MiB, []),
      createOver(topFile, base, { size: 600 * 1024 + 512, options: [] }),
      io(topFile, 'write -P 1 590k 4k'),
      img('resize', '-q', `./${topFile}`, '4M'),
    ],
    { backing: [base] },
  ),
  recipe(
    'chain-shrunk-overlay',
    'an overlay shrunk inside a cluster',
    [
      ...qcow2Base(3 * MiB, []),
      createOver(topFile, base, { size: undefined, options: [] }),
      io(topFile, 'write -P 1 590k 400k'),
      img('resize', '-q', '--shrink', `./${topFile}`, '700k'),
    ],
    { backing: [base] },
  ),
  recipe(
    'chain-three-cluster-sizes',
    'clusters of 512 bytes over 2 MiB over 4 KiB',
    [
      ...qcow2Base(2 * MiB + 512, ['cluster_size=4k']),
      createOver('middle.qcow2', base, { size: 3 * MiB, options: ['cluster_size=2M'] }),
      io('middle.qcow2', 'write -P 2 2500k 10k', 'write -z 0 2M'),
      createOver(topFile, middle, { size: 4 * MiB, options: ['cluster_size=512'] }),
      io(topFile, 'write -P 1 700 600', 'write -z 2501k 1k', 'write -P 3 4095k 1k'),
    ],
    { backing: [middle, base] },
  ),
  recipe(
    'chain-four-floors',
    'four files, the lowest raw and unaligned, each longer than the one below',
    [
      rawDisk(150_001),
      createOver('base.qcow2', raw, { size: 400 * 1024, options: extended }),
      io('base.qcow2', 'write -P 2 20k 2k', 'write -P 3 300k 50k', 'write -z 146k 2k'),
      createOver('middle.qcow2', base, { size: 700 * 1024, options: ['compat=0.10'] }),
      io('middle.qcow2', 'write -P 4 350k 300k', 'write -c -P 5 64k 64k'),
      createOver(topFile, middle, { size: MiB, options: ['cluster_size=16k'] }),
      io(topFile, 'write -P 6 500k 10k', 'discard 352k 32k'),
    ],
    { backing: [middle, base, raw] },
  ),
];
