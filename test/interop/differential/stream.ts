// A seeded life of an image: its options, and what happens to it. The same life is lived by our engine and by QEMU.

import { Prng } from '../../support/prng.ts';

export interface StreamOptions {
  readonly compat: '0.10' | '1.1';
  readonly clusterSize: number;
  readonly refcountBits: number;
  readonly extendedL2: boolean;
  readonly lazyRefcounts: boolean;
  readonly virtualSize: number;
  /** Bytes of the layer below, or none. */
  readonly backingSize: number | undefined;
  /** Whether the data lies in an external file, and whether that reads as the disk by itself. */
  readonly dataFile: 'none' | 'mapped' | 'raw';
}

export type Operation =
  | { readonly kind: 'write'; readonly offset: number; readonly length: number; readonly pattern: number }
  /** Packed: whole clusters, or to the end of the disk. */
  | { readonly kind: 'pack'; readonly offset: number; readonly length: number; readonly pattern: number }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'resize'; readonly virtualSize: number }
  | { readonly kind: 'snapshot'; readonly name: string }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'revert'; readonly name: string };

export interface Stream {
  readonly seed: number;
  readonly options: StreamOptions;
  readonly operations: readonly Operation[];
}

const sector = 512;

export function makeStream(seed: number): Stream {
  const prng = new Prng(seed);
  const options = withDataFile(chooseOptions(prng), new Prng(seed + dataFileSeed));
  return { seed, options, operations: chooseOperations(prng, options) };
}

/** A chance of its own, so that the lives without a data file stay what they were. */
const dataFileSeed = 1_000_000;

function withDataFile(options: StreamOptions, prng: Prng): StreamOptions {
  if (options.compat === '0.10' || prng.below(5) > 0) return options;
  const dataFile = options.backingSize === undefined && prng.below(2) === 0 ? 'raw' : 'mapped';
  return { ...options, dataFile };
}

function chooseOptions(prng: Prng): StreamOptions {
  const version2 = prng.below(5) === 0;
  const extendedL2 = !version2 && prng.below(4) === 0;
  const clusterBits = extendedL2 ? 14 + prng.below(4) : 9 + prng.below(9);
  const clusterSize = 2 ** clusterBits;
  const refcountBits = version2 ? 16 : 2 ** prng.below(7);
  const virtualSize = sector * (1 + prng.below(Math.min(16_384, (clusterSize * 40) / sector)));
  const backed = prng.below(3) === 0;
  return {
    compat: version2 ? '0.10' : '1.1',
    clusterSize,
    refcountBits,
    extendedL2,
    lazyRefcounts: !version2 && prng.below(4) === 0,
    virtualSize,
    backingSize: backed ? sector * (1 + prng.below((virtualSize * 2) / sector)) : undefined,
    dataFile: 'none',
  };
}

function chooseOperations(prng: Prng, options: StreamOptions): readonly Operation[] {
  const count = Math.ceil((12 + prng.below(28)) * 0.7);
  const operations: Operation[] = [];
  const life = { virtualSize: options.virtualSize, snapshots: new Map<string, number>(), made: 0 };
  for (let index = 0; index < count; index += 1) operations.push(chooseOperation(prng, options, life));
  return operations;
}

interface Life {
  virtualSize: number;
  /** By name: the size of the disk then. */
  readonly snapshots: Map<string, number>;
  made: number;
}

function chooseOperation(prng: Prng, options: StreamOptions, life: Life): Operation {
  const dice = prng.below(100);
  const snapshotsAllowed = options.refcountBits > 1 && options.dataFile === 'none';
  if (dice < 15 && mayPack(options)) return choosePacked(prng, options, life);
  if (dice < 45) return { kind: 'write', ...chooseSpan(prng, options, life), pattern: 1 + prng.below(255) };
  if (dice < 62) return { kind: 'zero', ...chooseSpan(prng, options, life), unmap: prng.below(2) === 0 };
  if (dice < 72) return { kind: 'discard', ...chooseSpan(prng, options, life) };
  if (dice < 76) return { kind: 'flush' };
  if (dice < 80) return { kind: 'reopen' };
  if (dice < 86) return chooseResize(prng, options, life);
  if (!snapshotsAllowed || life.snapshots.size >= snapshotsMax(options.refcountBits)) return { kind: 'flush' };
  return chooseSnapshot(prng, life, dice);
}

/**
 * QEMU packs only where nothing is (T39), so its life discards first, which a version 2 overlay cannot. Narrow counts would
 * be used up by blobs that share a cluster, in one life earlier than in the other. With subclusters QEMU cannot zero a part
 * of a packed cluster: it writes zeroes, or does not grow the disk (SUB-08).
 */
function mayPack({ compat, backingSize, refcountBits, dataFile, extendedL2 }: StreamOptions): boolean {
  if (dataFile !== 'none' || refcountBits < 16 || extendedL2) return false;
  return backingSize === undefined || compat === '1.1';
}

function choosePacked(prng: Prng, { clusterSize }: StreamOptions, life: Life): Operation {
  const offset = clusterSize * prng.below(Math.ceil(life.virtualSize / clusterSize));
  const length = Math.min(clusterSize * (1 + prng.below(6)), life.virtualSize - offset);
  return { kind: 'pack', offset, length, pattern: prng.below(256) };
}

function chooseSnapshot(prng: Prng, life: Life, dice: number): Operation {
  const names = [...life.snapshots.keys()];
  const name = names[prng.below(Math.max(1, names.length))];
  if (dice < 92 || name === undefined) {
    life.made += 1;
    const taken = `s${String(life.made)}`;
    life.snapshots.set(taken, life.virtualSize);
    return { kind: 'snapshot', name: taken };
  }
  if (dice < 96) {
    life.snapshots.delete(name);
    return { kind: 'delete', name };
  }
  life.virtualSize = life.snapshots.get(name) ?? life.virtualSize;
  return { kind: 'revert', name };
}

/** A revert raises everything once more, so narrow refcounts hold one snapshot less (REF-05). */
function snapshotsMax(refcountBits: number): number {
  return refcountBits === 2 ? 1 : 4;
}

function chooseResize(prng: Prng, options: StreamOptions, life: Life): Operation {
  // Version 2 images with snapshots keep their size, and version 2 overlays cannot grow over a longer base (OPS-18, OPS-20).
  if (options.compat === '0.10' && (life.snapshots.size > 0 || options.backingSize !== undefined)) {
    return { kind: 'flush' };
  }
  // When a raw data file grows, QEMU maps the cluster that the old end cuts anew; here it stays a zero cluster.
  if (options.dataFile === 'raw' && life.virtualSize % options.clusterSize !== 0) return { kind: 'flush' };
  const factor = prng.below(4) === 0 ? prng.below(100) / 100 : 1 + prng.below(80) / 100;
  const virtualSize = Math.max(sector, sector * Math.ceil((life.virtualSize * factor) / sector));
  life.virtualSize = virtualSize;
  return { kind: 'resize', virtualSize };
}

function chooseSpan(
  prng: Prng,
  options: StreamOptions,
  life: Life,
): { readonly offset: number; readonly length: number } {
  const { virtualSize } = life;
  const unit =
    [1, sector, options.clusterSize / (options.extendedL2 ? 32 : 1), options.clusterSize][prng.below(4)] ?? 1;
  const offset = Math.min(virtualSize - 1, unit * prng.below(Math.ceil(virtualSize / unit)));
  const lengthMax = Math.max(1, prng.below(options.clusterSize * (prng.below(4) === 0 ? 12 : 2)));
  const length = Math.max(unit, unit * Math.floor(lengthMax / unit));
  if (prng.below(12) === 0) return { offset, length: virtualSize - offset };
  return { offset, length: Math.min(length, virtualSize - offset) };
}
