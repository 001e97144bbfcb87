// Internal snapshots: of other sizes, of every cluster kind, under every refcount width that allows them.

import { MiB } from '../../src/base/units.ts';
import { create, createOver, img, io, recipe, snapshot, topFile } from './image-recipe.ts';
import type { ImageRecipe, RecipeBacking, RecipeStep } from './image-recipe.ts';

function taken(id: string, oddity: string, names: readonly string[], steps: readonly RecipeStep[]): ImageRecipe {
  return recipe(`snapshot-${id}`, oddity, steps, { snapshots: names });
}

function resize(size: string): RecipeStep {
  return img('resize', '-q', '--shrink', `./${topFile}`, size);
}

const first = io(topFile, 'write -P 1 0 192k', 'write -z 256k 64k', 'write -P 2 900k 100k');
const second = io(topFile, 'write -P 3 0 64k', 'discard 64k 64k', 'write -z 128k 64k', 'write -P 4 300k 70k');
const raw: RecipeBacking = { fileName: 'base.raw', format: 'raw' };
const rawBase: RecipeStep = {
  kind: 'raw',
  file: 'base.raw',
  length: 500_001,
  pieces: [{ offset: 0, length: 500_001, value: 0xa5 }],
};

/** Each with a story before and after the snapshot. */
function shared(id: string, options: readonly string[]): ImageRecipe {
  return taken(
    `shared-${id}`,
    options.join(' '),
    ['abc'],
    [create(topFile, MiB, options), first, snapshot('abc'), second],
  );
}

export const snapshotImages: readonly ImageRecipe[] = [
  shared('common', []),
  shared('v2', ['compat=0.10']),
  shared('512', ['cluster_size=512']),
  shared('2M', ['cluster_size=2M']),
  shared('2-bit', ['refcount_bits=2']),
  shared('64-bit', ['refcount_bits=64']),
  shared('extended', ['extended_l2=on']),
  shared('extended-16k', ['extended_l2=on', 'cluster_size=16k']),
  shared('lazy', ['lazy_refcounts=on']),
  taken('unchanged', 'nothing has changed since', ['abc'], [create(topFile, MiB, []), first, snapshot('abc')]),
  taken('of-nothing', 'taken before the first write', ['void'], [create(topFile, MiB, []), snapshot('void'), first]),
  taken(
    'size-0',
    'taken of a disk of size 0 that then grew',
    ['zero'],
    [create(topFile, 0, []), snapshot('zero'), resize('1M'), first],
  ),
  taken(
    'grown',
    'the disk has grown since, over more L1 entries',
    ['small'],
    [
      create(topFile, 100 * 1024, ['cluster_size=1k']),
      io(topFile, 'write -P 1 0 100k'),
      snapshot('small'),
      resize('700k'),
      io(topFile, 'write -P 2 90k 300k'),
    ],
  ),
  taken(
    'shrunk',
    'the disk has shrunk since',
    ['large'],
    [
      create(topFile, 700 * 1024, ['cluster_size=1k']),
      io(topFile, 'write -P 1 0 100k', 'write -P 2 600k 100k'),
      snapshot('large'),
      resize('50k'),
      io(topFile, 'write -P 3 10k 10k'),
    ],
  ),
  taken(
    'shrunk-unaligned',
    'the disk has shrunk since, to the inside of a cluster',
    ['large'],
    [create(topFile, MiB, []), first, snapshot('large'), resize('1000448')],
  ),
  taken(
    'three-sizes',
    'three snapshots of three sizes',
    ['one', 'two', 'three'],
    [
      create(topFile, 256 * 1024, ['cluster_size=4k']),
      io(topFile, 'write -P 1 0 200k'),
      snapshot('one'),
      resize('3M'),
      io(topFile, 'write -P 2 2M 600k', 'write -z 0 8k'),
      snapshot('two'),
      resize('1M'),
      io(topFile, 'write -P 3 100k 30k'),
      snapshot('three'),
      io(topFile, 'write -P 4 0 4k'),
    ],
  ),
  taken(
    'compressed',
    'blobs that the snapshot shares',
    ['abc'],
    [
      create(topFile, MiB, []),
      { kind: 'bytes', file: 'noise', seed: 5, random: 40_000, length: 65_536 },
      io(topFile, 'write -c -P 1 0 64k', 'write -c -s {folder}/noise 64k 64k', 'write -c -s {folder}/noise 128k 64k'),
      snapshot('abc'),
      io(topFile, 'write -P 2 70k 4k', 'discard 0 64k'),
    ],
  ),
  taken(
    'extended-states',
    'subclusters of every state, shared and then changed',
    ['abc'],
    [
      create(topFile, MiB, ['extended_l2=on']),
      io(topFile, 'write -P 1 4k 6k', 'write -z 20k 4k', 'write -P 2 64k 64k', 'write -z 66k 8k', 'write -z 130k 2k'),
      snapshot('abc'),
      io(topFile, 'write -P 3 6k 2k', 'write -z 64k 64k', 'write -P 4 129k 4k', 'discard 0 64k'),
    ],
  ),
  taken(
    'deleted-between',
    'the middle one of three is gone',
    ['one', 'three'],
    [
      create(topFile, MiB, []),
      io(topFile, 'write -P 1 0 128k'),
      snapshot('one'),
      io(topFile, 'write -P 2 64k 128k'),
      snapshot('two'),
      io(topFile, 'write -P 3 128k 128k'),
      snapshot('three'),
      img('snapshot', '-d', 'two', `./${topFile}`),
      io(topFile, 'write -P 4 0 64k'),
    ],
  ),
  taken(
    'reverted',
    'the present is a snapshot again',
    ['abc', 'def'],
    [
      create(topFile, MiB, []),
      first,
      snapshot('abc'),
      second,
      snapshot('def'),
      img('snapshot', '-a', 'abc', `./${topFile}`),
      io(topFile, 'write -P 5 500k 10k'),
    ],
  ),
  taken(
    'names',
    'names in other scripts, with spaces, and one that looks like an id',
    ['снимок', '雪 🎞', '17'],
    [
      create(topFile, MiB, []),
      first,
      snapshot('снимок'),
      second,
      snapshot('雪 🎞'),
      io(topFile, 'write -P 6 0 4k'),
      snapshot('17'),
    ],
  ),
  recipe(
    'snapshot-over-raw',
    'snapshots of an overlay',
    [
      rawBase,
      createOver(topFile, raw, { size: MiB, options: [] }),
      io(topFile, 'write -P 1 100k 10k', 'discard 0 64k'),
      snapshot('abc'),
      io(topFile, 'write -P 2 105k 10k', 'write -P 3 0 4k', 'write -z 480k 64k'),
    ],
    { backing: [raw], snapshots: ['abc'] },
  ),
  recipe(
    'snapshot-over-raw-grown',
    'the overlay has grown since the snapshot',
    [
      rawBase,
      createOver(topFile, raw, { size: 300 * 1024, options: ['cluster_size=16k'] }),
      io(topFile, 'write -P 1 100k 10k'),
      snapshot('abc'),
      resize('800k'),
      io(topFile, 'write -P 2 700k 10k'),
    ],
    { backing: [raw], snapshots: ['abc'] },
  ),
  taken(
    'many',
    'twenty snapshots',
    Array.from({ length: 20 }, (_, index) => `s${index}`),
    [
      create(topFile, MiB, ['cluster_size=4k', 'refcount_bits=8']),
      ...Array.from({ length: 20 }, (_, index) => [
        io(topFile, `write -P ${index + 1} ${index * 12}k 20k`),
        snapshot(`s${index}`),
      ]).flat(),
    ],
  ),
];
