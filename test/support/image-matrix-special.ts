// One oddity each: compressed by convert, sizes from nothing to almost 8 PiB, preallocation, ends of files, headers.

import { GiB, KiB, MiB, PiB, TiB } from '../../src/base/units.ts';
import { create, img, io, recipe, snapshot, topFile } from './image-recipe.ts';
import type { ImageRecipe, RecipeStep } from './image-recipe.ts';

const onDisk = `./${topFile}`;

/** A disk of mixed content: text-like, random, zero, and an end inside a cluster. */
const mixedDisk: readonly RecipeStep[] = [
  { kind: 'bytes', file: 'noise', seed: 3, random: 300_000, length: 1_400_320 },
  img('convert', '-q', '-f', 'raw', '-O', 'qcow2', './noise', './source.qcow2'),
  io('source.qcow2', 'write -P 0x41 400k 500k', 'write -s {folder}/noise 950k 100k', 'write -P 0x42 1300k 60k'),
];

function converted(id: string, options: readonly string[], after: readonly RecipeStep[] = []): ImageRecipe {
  const convert = img(
    'convert',
    '-q',
    '-c',
    '-f',
    'qcow2',
    '-O',
    'qcow2',
    '-o',
    options.join(','),
    './source.qcow2',
    onDisk,
  );
  return recipe(`compressed-${id}`, `compressed by convert: ${options.join(' ')}`, [...mixedDisk, convert, ...after]);
}

const compressedImages: readonly ImageRecipe[] = [
  ...['512', '1k', '4k', '16k', '64k', '512k', '2M'].flatMap((cluster) => [
    converted(`zlib-${cluster}`, [`cluster_size=${cluster}`, 'compression_type=zlib']),
    converted(`zstd-${cluster}`, [`cluster_size=${cluster}`, 'compression_type=zstd']),
  ]),
  converted('v2', ['compat=0.10']),
  converted('1-bit', ['refcount_bits=1', 'cluster_size=4k']),
  converted('extended', ['extended_l2=on', 'cluster_size=32k']),
  converted('extended-zstd', ['extended_l2=on', 'compression_type=zstd']),
  converted(
    'overwritten',
    ['cluster_size=8k'],
    [io(topFile, 'write -P 9 401k 3k', 'discard 0 64k', 'write -z 950k 20k')],
  ),
  recipe('compressed-two-runs', 'the second blob starts in a cluster of its own (B12)', [
    create(topFile, MiB, []),
    io(topFile, 'write -c -P 1 0 64k'),
    io(topFile, 'write -c -P 2 64k 64k', 'write -c -P 3 128k 64k'),
  ]),
  recipe('compressed-last-partial', 'the last cluster is compressed and not whole', [
    create(topFile, 100 * KiB, []),
    io(topFile, 'write -c -P 1 64k 36k'),
  ]),
];

/** A large disk: judged at a few spans around what was written. */
function large(id: string, size: number, options: readonly string[], at: readonly number[]): ImageRecipe {
  const span = 128 * KiB;
  const commands = at.map((offset, index) => `write -P ${index + 1} ${offset} 4096`);
  const spans = at.map((offset) => ({
    offset: Math.max(0, offset - span),
    length: Math.min(2 * span, size - Math.max(0, offset - span)),
  }));
  return recipe(`size-${id}`, `${size} bytes`, [create(topFile, size, options), io(topFile, ...commands)], {
    judge: { kind: 'spans', spans },
  });
}

function ofSize(size: number, options: readonly string[]): ImageRecipe {
  const commands =
    size === 0 ? [] : [io(topFile, `write -P 1 0 ${Math.min(size, 512)}`, `write -P 2 ${Math.max(0, size - 512)} 512`)];
  return recipe(`size-${size}-${options.join('-') || 'plain'}`, 'a small disk', [
    create(topFile, size, options),
    ...commands,
  ]);
}

const sizeImages: readonly ImageRecipe[] = [
  ...[0, 512, 1024, 64 * KiB - 512, 64 * KiB, 64 * KiB + 512].map((size) => ofSize(size, [])),
  ...[0, 512, 32 * KiB, 32 * KiB + 512].map((size) => ofSize(size, ['cluster_size=512'])),
  ofSize(0, ['compat=0.10']),
  ofSize(512, ['cluster_size=2M']),
  ofSize(2 * MiB + 512, ['cluster_size=2M', 'extended_l2=on']),
  large('512M-and-a-sector', 512 * MiB + 512, [], [0, 512 * MiB - 4096, 512 * MiB - 3584]),
  large('1G-small-clusters', GiB, ['cluster_size=512'], [0, 32 * KiB - 2048, GiB / 2 + 1024, GiB - 4096]),
  large('100G-4k', 100 * GiB, ['cluster_size=4k'], [0, 50 * GiB - 2048, 100 * GiB - 4096]),
  large('1T-v2', TiB, ['compat=0.10'], [0, TiB / 2 + 100 * KiB, TiB - 4096]),
  large('256T', 256 * TiB, [], [4096, 100 * TiB + 7 * KiB, 256 * TiB - 4096]),
  large('1P-2M', PiB, ['cluster_size=2M'], [0, PiB / 2 - 2048, PiB - 4096]),
  large('4P-2M-extended', 4 * PiB, ['cluster_size=2M', 'extended_l2=on'], [0, 3 * PiB + 2048, 4 * PiB - 4096]),
  large('8P-2M', 8 * PiB - 512, ['cluster_size=2M'], [0, 5 * PiB - 2048, 8 * PiB - 4608]),
];

function preallocated(id: string, options: readonly string[]): ImageRecipe {
  return recipe(`prealloc-${id}`, options.join(' '), [
    create(topFile, 4 * MiB + 512, options),
    io(
      topFile,
      'write -P 1 100k 10k',
      'write -z 1M 128k',
      'discard 2M 128k',
      'write -z -u 3M 128k',
      'write -P 2 4M 512',
    ),
  ]);
}

const preallocatedImages: readonly ImageRecipe[] = [
  recipe('prealloc-metadata-untouched', 'places without content', [
    create(topFile, 4 * MiB, ['preallocation=metadata']),
  ]),
  preallocated('metadata', ['preallocation=metadata']),
  preallocated('metadata-v2', ['preallocation=metadata', 'compat=0.10']),
  preallocated('metadata-4k', ['preallocation=metadata', 'cluster_size=4k']),
  preallocated('metadata-512', ['preallocation=metadata', 'cluster_size=512']),
  preallocated('metadata-2M', ['preallocation=metadata', 'cluster_size=2M']),
  preallocated('metadata-extended', ['preallocation=metadata', 'extended_l2=on']),
  preallocated('falloc', ['preallocation=falloc']),
  preallocated('falloc-extended', ['preallocation=falloc', 'extended_l2=on', 'cluster_size=16k']),
  preallocated('full', ['preallocation=full']),
  recipe('prealloc-grown', 'grown with metadata preallocation', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 64k'),
    img('resize', '-q', '--preallocation=metadata', onDisk, '3M'),
  ]),
];

/** Bytes of the header that QEMU would not write, in an image that it reads all the same. */
const headerImages: readonly ImageRecipe[] = [
  recipe('header-unaligned-size', 'a size of 1,000,001 bytes is cut to whole sectors (FMT-06)', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 900k 124k'),
    { kind: 'patch', file: topFile, offset: 24, hex: (1_000_001).toString(16).padStart(16, '0') },
  ]),
  recipe('header-unknown-bits', 'unknown compatible and autoclear bits', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 100k'),
    { kind: 'patch', file: topFile, offset: 80, hex: '8000000000000002' },
    { kind: 'patch', file: topFile, offset: 88, hex: '4000000000000004' },
  ]),
  recipe('header-corrupt-bit', 'marked as corrupt: can be read', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 100k'),
    { kind: 'patch', file: topFile, offset: 79, hex: '02' },
  ]),
  recipe('header-vm-state', 'more L1 entries than the disk needs (B18)', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 100k', 'write -b -P 2 0 64k'),
  ]),
  recipe('header-bitmap', 'a persistent bitmap', [
    create(topFile, MiB, []),
    img('bitmap', '--add', '-f', 'qcow2', onDisk, 'one'),
    io(topFile, 'write -P 1 0 100k'),
  ]),
  recipe(
    'header-bitmap-and-snapshot',
    'a bitmap and a snapshot',
    [
      create(topFile, MiB, []),
      io(topFile, 'write -P 1 0 100k'),
      snapshot('abc'),
      img('bitmap', '--add', '-f', 'qcow2', '-g', '4k', onDisk, 'two'),
      io(topFile, 'write -P 2 50k 100k'),
    ],
    { snapshots: ['abc'] },
  ),
  recipe('header-dirty', 'lazy refcounts and a crash: dirty, refcounts stale (B24)', [
    create(topFile, MiB, ['lazy_refcounts=on']),
    { kind: 'io', file: topFile, commands: ['write -P 1 0 100k', 'write -P 2 700k 64k', 'flush'], abort: true },
  ]),
];

const fileEndImages: readonly ImageRecipe[] = [
  recipe('end-empty', 'the file ends after 8 bytes of L1 table (FMT-14)', [create(topFile, MiB, [])]),
  recipe('end-inside-data', 'the file ends inside the last data cluster', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 192k'),
    { kind: 'truncate', file: topFile, length: 0x50000 + 2 * 65_536 + 1000 },
  ]),
  recipe('end-inside-blob', 'the file ends inside the last sector of a blob (T33)', [
    create(topFile, MiB, []),
    io(topFile, 'write -c -P 1 0 64k', 'write -c -P 2 64k 64k', 'write -c -P 3 128k 64k'),
  ]),
  recipe('end-before-data', 'data clusters beyond the end of the file read as zeroes', [
    create(topFile, MiB, []),
    io(topFile, 'write -P 1 0 192k'),
    { kind: 'truncate', file: topFile, length: 0x60000 },
  ]),
];

export const specialImages: readonly ImageRecipe[] = [
  ...compressedImages,
  ...sizeImages,
  ...preallocatedImages,
  ...headerImages,
  ...fileEndImages,
];
