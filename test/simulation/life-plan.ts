// What happens in one simulated life of an image, made from a seed.

import { present } from '../../src/base/assert.ts';
import { sectorSize } from '../../src/base/units.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import type { CreateSpec } from '../../src/engine/operations/create-spec.ts';
import type { RuntimeOptions } from '../../src/engine/operations/runtime-options.ts';
import { Prng } from '../support/prng.ts';
import type { BitmapVerb } from './bitmap-model.ts';
import type { Foreign } from './foreign-content.ts';

/** One thing that is done to the image. Offsets and lengths in bytes, whole sectors. */
export type Action =
  | { readonly kind: 'write'; readonly offset: number; readonly length: number; readonly detectZeroes: boolean }
  /** A packed write; whole clusters come of the span. */
  | { readonly kind: 'pack'; readonly offset: number; readonly length: number; readonly detectZeroes: boolean }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' | 'settle' }
  | { readonly kind: 'compact' }
  | { readonly kind: 'createSnapshot' }
  /** Of the snapshots there are, the one at this index modulo their number. */
  | { readonly kind: 'deleteSnapshot' | 'revertSnapshot'; readonly index: number }
  /** Of the snapshots likewise; so many bytes of VM state. */
  | { readonly kind: 'vmState'; readonly index: number; readonly length: number }
  /** The preallocation is that of a disk that grows. */
  | {
      readonly kind: 'resize';
      readonly virtualSize: number;
      readonly preallocation: CreateSpec['preallocation'];
    }
  | { readonly kind: 'runtime'; readonly options: RuntimeOptions }
  /** Of the bitmaps there are, the one at this index modulo their number. */
  | { readonly kind: 'bitmap'; readonly verb: BitmapVerb; readonly index: number }
  | { readonly kind: 'reopen' };

/** How an action ends before its time. */
export type Mishap =
  /** A call of the file fails, after so many others of its kind. */
  | { readonly kind: 'write' | 'flush'; readonly after: number }
  /** A run is cancelled after so many steps. */
  | { readonly kind: 'cancel'; readonly after: number };

export interface Event {
  readonly action: Action;
  readonly mishap: Mishap | undefined;
}

export interface LifePlan {
  readonly seed: number;
  readonly spec: CreateSpec;
  /** The content of a raw file below. */
  readonly backing: Uint8Array | undefined;
  /** A layer with that content, in the place of the raw file. */
  readonly below?: Layer | undefined;
  /** So much of the disk is written before the simulation begins, from its start. */
  readonly prefilledLength: number;
  /** What another tool has left in the image. */
  readonly foreign: Foreign | undefined;
  readonly events: readonly Event[];
}

interface Kind {
  readonly name: string;
  readonly clusterSize: number;
  readonly clusters: number;
  readonly compat?: '0.10';
  readonly refcountBits?: number;
  readonly lazyRefcounts?: true;
  readonly extendedL2?: true;
  readonly backing?: true;
  /** Almost full from the start, so that the refcount table has to grow. */
  readonly prefilledClusters?: number;
  readonly foreign?: Foreign;
}

/** Small disks over many tables, so that a short life meets every kind of metadata. */
const kinds: readonly Kind[] = [
  { name: 'small clusters', clusterSize: 512, clusters: 200 },
  { name: 'wide refcounts', clusterSize: 512, clusters: 300, refcountBits: 64 },
  { name: 'small clusters over a raw file', clusterSize: 512, clusters: 150, backing: true },
  { name: 'lazy refcounts', clusterSize: 512, clusters: 200, lazyRefcounts: true },
  { name: 'version 2', clusterSize: 1_024, clusters: 150, compat: '0.10' },
  {
    name: 'narrow lazy refcounts over a raw file',
    clusterSize: 1_024,
    clusters: 150,
    refcountBits: 2,
    lazyRefcounts: true,
    backing: true,
  },
  { name: 'refcounts of a byte', clusterSize: 2_048, clusters: 70, refcountBits: 8 },
  { name: 'refcounts of a bit', clusterSize: 4_096, clusters: 40, refcountBits: 1 },
  { name: 'subclusters', clusterSize: 16_384, clusters: 16, extendedL2: true },
  { name: 'subclusters over a raw file', clusterSize: 16_384, clusters: 16, extendedL2: true, backing: true },
  {
    name: 'subclusters and lazy refcounts',
    clusterSize: 16_384,
    clusters: 12,
    extendedL2: true,
    lazyRefcounts: true,
    refcountBits: 32,
  },
  { name: 'clusters of 64 KiB', clusterSize: 65_536, clusters: 5 },
  { name: 'a full refcount table', clusterSize: 512, clusters: 4_100, refcountBits: 64, prefilledClusters: 3_780 },
  { name: 'compressed clusters', clusterSize: 2_048, clusters: 60, foreign: 'blobs' },
  { name: 'a snapshot with VM state', clusterSize: 512, clusters: 150, foreign: 'vm-state' },
  { name: 'bitmaps', clusterSize: 4_096, clusters: 30, foreign: 'bitmaps' },
];

/** The sorts of images that are simulated: the life of a seed is of the sort at its remainder. */
export const kindNames: readonly string[] = kinds.map(({ name }) => name);

/** The life of a seed. */
export function planLife(seed: number): LifePlan {
  const chance = new Prng(seed);
  const kind = present(kinds[seed % kinds.length], 'every remainder has its kind');
  const rest = kind.clusters > 10 ? chance.below(kind.clusterSize / sectorSize) * sectorSize : 0;
  const virtualSize = kind.clusters * kind.clusterSize + rest;
  const backingLength = Math.floor(virtualSize * chance.pick([0.5, 0.9, 1.2]));
  const length = kind.prefilledClusters === undefined ? 25 : 40;
  const hasMishaps = chance.chance(35);
  return {
    seed,
    spec: {
      virtualSize,
      clusterSize: kind.clusterSize,
      compat: kind.compat ?? '1.1',
      refcountBits: kind.refcountBits ?? 16,
      lazyRefcounts: kind.lazyRefcounts ?? false,
      extendedL2: kind.extendedL2 ?? false,
      compressionType: 'zlib',
      preallocation: 'off',
      backing: kind.backing ? { fileName: 'below.raw', format: 'raw' } : undefined,
    },
    backing: kind.backing ? chance.bytes(backingLength - (backingLength % sectorSize)) : undefined,
    foreign: kind.foreign,
    prefilledLength: (kind.prefilledClusters ?? 0) * kind.clusterSize,
    events: Array.from({ length }, () => {
      const action = someAction(chance, { virtualSize, kind, packs: seed >= packsFromSeed });
      return { action, mishap: hasMishaps && chance.chance(12) ? someMishap(chance) : undefined };
    }),
  };
}

const bitmapVerbs = ['create', 'create', 'clear', 'merge', 'disable', 'delete'] as const;

/** The lives of smaller seeds stay what they were: docs/durability.md names them as witnesses. */
const packsFromSeed = 48;

function someAction(
  chance: Prng,
  disk: { readonly virtualSize: number; readonly kind: Kind; readonly packs: boolean },
): Action {
  const { virtualSize, kind } = disk;
  const isGrowing = kind.prefilledClusters !== undefined;
  if (kind.foreign === 'bitmaps' && chance.chance(25)) {
    return { kind: 'bitmap', verb: chance.pick(bitmapVerbs), index: chance.below(12) };
  }
  const draw = chance.below(100);
  if (draw < 40) {
    const span = someSpan(chance, disk);
    // New clusters make the tables grow: behind what is filled there is still nothing.
    const offset = isGrowing ? Math.max(span.offset, virtualSize - chance.below(320) * kind.clusterSize) : span.offset;
    const length = Math.min(span.length, virtualSize - offset);
    if (length > 0 && disk.packs && chance.chance(kind.foreign === 'blobs' ? 40 : 15)) {
      return { kind: 'pack', offset, length, detectZeroes: chance.chance(30) };
    }
    if (length > 0) return { kind: 'write', offset, length, detectZeroes: chance.chance(10) };
    return { kind: 'flush' };
  }
  if (draw < 48) return { kind: 'zero', ...someSpan(chance, disk), unmap: chance.chance(50) };
  if (draw < 58) return { kind: 'discard', ...someSpan(chance, disk) };
  if (draw < 74) return disk.packs && chance.chance(25) ? { kind: 'compact' } : { kind: 'flush' };
  if (draw < 80) return { kind: 'createSnapshot' };
  if (draw < 84) return { kind: 'deleteSnapshot', index: chance.below(8) };
  if (draw < 86) return { kind: 'vmState', index: chance.below(8), length: chance.below(8 * kind.clusterSize) };
  if (draw < 89) return { kind: 'revertSnapshot', index: chance.below(8) };
  if (draw < 95 && !isGrowing)
    return { kind: 'resize', virtualSize: someSize(chance, virtualSize), preallocation: 'off' };
  return { kind: 'reopen' };
}

/** Mostly a few clusters, sometimes one sector, sometimes a quarter of the disk. */
function someSpan(
  chance: Prng,
  disk: { readonly virtualSize: number; readonly kind: Kind },
): { readonly offset: number; readonly length: number } {
  const sectors = disk.virtualSize / sectorSize;
  const clusterSectors = disk.kind.clusterSize / sectorSize;
  const lengthMax = chance.pick([
    1,
    4 * clusterSectors,
    4 * clusterSectors,
    12 * clusterSectors,
    Math.ceil(sectors / 4),
  ]);
  const offset = chance.below(sectors);
  const aligned = chance.chance(50) ? offset - (offset % clusterSectors) : offset;
  const length = Math.min(1 + chance.below(Math.min(lengthMax, 400)), sectors - aligned);
  return { offset: aligned * sectorSize, length: length * sectorSize };
}

function someSize(chance: Prng, virtualSize: number): number {
  const sectors = virtualSize / sectorSize;
  return (Math.ceil(sectors / 2) + chance.below(sectors)) * sectorSize;
}

function someMishap(chance: Prng): Mishap {
  const draw = chance.below(10);
  if (draw < 5) return { kind: 'write', after: chance.below(12) };
  if (draw < 6) return { kind: 'flush', after: chance.below(3) };
  return { kind: 'cancel', after: chance.below(3) };
}
