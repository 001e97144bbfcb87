// What happens in a life, chosen by chance among what both engines can do with the image as it is by then.

import { present } from '../../../src/base/assert.ts';
import { Prng } from '../../support/prng.ts';
import { chooseForm, chooseOptions } from './forms.ts';
import { layerNames, sector } from './stream.ts';
import type { BitmapChange, Form, LayerName, Operation, Preallocation, Stream, StreamOptions } from './stream.ts';

/** The stream of a seed. */
export function makeStream(seed: number): Stream {
  const prng = new Prng(seed);
  const options = chooseOptions(prng);
  return { seed, options, operations: chooseOperations(prng, options) };
}

/** What is known of the image at a moment of its life. */
interface Life {
  form: Form;
  virtualSize: number;
  below: LayerName | undefined;
  dataFile: StreamOptions['dataFile'];
  encryption: StreamOptions['encryption'];
  /** By name: the size of the disk then. */
  readonly snapshots: Map<string, number>;
  readonly bitmaps: Set<string>;
  /** Slots with the second passphrase. */
  readonly keySlots: Set<number>;
  /** How many things with a name were made. */
  made: number;
  hasPacked: boolean;
  /** QEMU leaves it behind the disk, where a growing disk would show it (T16). */
  hasVmState: boolean;
  /** Zeroes were written that ours looks for: what holds clusters differs, and what is read does not. */
  hasBlanks: boolean;
}

type Chooser = (prng: Prng, life: Life) => Operation | undefined;

/** Each with its weight. */
const choosers: readonly (readonly [number, Chooser])[] = [
  [24, (prng, life) => ({ kind: 'write', ...chooseSpan(prng, life), pattern: 1 + prng.below(255) })],
  [12, choosePacked],
  [13, (prng, life) => ({ kind: 'zero', ...chooseSpan(prng, life), unmap: prng.chance(50) })],
  [8, (prng, life) => ({ kind: 'discard', ...chooseSpan(prng, life) })],
  [2, chooseBlank],
  [2, () => ({ kind: 'flush' })],
  [3, () => ({ kind: 'reopen' })],
  [3, () => ({ kind: 'check' })],
  [3, chooseCompacting],
  [7, chooseResize],
  [5, chooseSnapshot],
  [3, (prng, life) => chooseOld(prng, life, 'delete')],
  [5, (prng, life) => chooseOld(prng, life, 'revert')],
  [4, chooseBitmap],
  [4, chooseAmendment],
  [3, chooseRebase],
  [9, chooseCommit],
  [2, (_prng, life) => (life.dataFile === 'raw' || life.bitmaps.size > 0 ? undefined : { kind: 'empty' })],
  [2, chooseCopy],
  [3, chooseKey],
];
const weightSum = choosers.reduce((sum, [weight]) => sum + weight, 0);

function chooseOperations(prng: Prng, options: StreamOptions): readonly Operation[] {
  const life: Life = {
    ...{ form: options, virtualSize: options.virtualSize, below: options.below },
    ...{ dataFile: options.dataFile, encryption: options.encryption },
    ...{ snapshots: new Map(), bitmaps: new Set(), keySlots: new Set() },
    ...{ made: 0, hasPacked: false, hasVmState: false, hasBlanks: false },
  };
  const count = 3 + prng.below(6);
  return Array.from({ length: count }, () => chooseOperation(prng, life));
}

function chooseOperation(prng: Prng, life: Life): Operation {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const operation = chooseOne(prng)(prng, life);
    if (operation !== undefined) return operation;
  }
  return { kind: 'flush' };
}

/** What is impossible at the moment leaves its place to another. */
const triesMax = 4;

function chooseOne(prng: Prng): Chooser {
  let left = prng.below(weightSum);
  const row = choosers.find(([weight]) => (left -= weight) < 0);
  return present(row, 'the weights add up')[1];
}

/**
 * QEMU packs only where nothing is (T39), so its life discards first, which a version 2 overlay cannot. Narrow counts would
 * be used up by blobs that share a cluster, in one life earlier than in the other. With subclusters QEMU cannot zero a part
 * of a packed cluster: it writes zeroes, or does not grow the disk (SUB-08).
 */
function choosePacked(prng: Prng, life: Life): Operation | undefined {
  const { compat, refcountBits, extendedL2, clusterSize } = life.form;
  if (life.dataFile !== 'none' || life.encryption !== 'none' || refcountBits < 16 || extendedL2) return undefined;
  if (life.below !== undefined && compat === '0.10') return undefined;
  life.hasPacked = true;
  const offset = clusterSize * prng.below(Math.ceil(life.virtualSize / clusterSize));
  const length = Math.min(clusterSize * (1 + prng.below(6)), life.virtualSize - offset);
  return { kind: 'pack', offset, length, pattern: prng.below(256) };
}

function chooseCompacting(_prng: Prng, life: Life): Operation | undefined {
  return life.dataFile === 'none' ? { kind: 'compact' } : undefined;
}

function chooseSnapshot(prng: Prng, life: Life): Operation | undefined {
  const { refcountBits } = life.form;
  if (refcountBits === 1 || life.dataFile !== 'none' || life.snapshots.size >= snapshotsMax(refcountBits)) {
    return undefined;
  }
  life.made += 1;
  const name = `s${String(life.made)}`;
  life.snapshots.set(name, life.virtualSize);
  if (!prng.chance(15)) return { kind: 'snapshot', name, vmState: undefined };
  life.hasVmState = true;
  const length = sector * (1 + prng.below((3 * life.form.clusterSize) / sector));
  const vmState = { length, pattern: 1 + prng.below(255) };
  return { kind: 'snapshot', name, vmState };
}

/** A revert raises everything once more, so narrow refcounts hold one snapshot less (REF-05). */
function snapshotsMax(refcountBits: number): number {
  return refcountBits === 2 ? 1 : 4;
}

function chooseOld(prng: Prng, life: Life, kind: 'delete' | 'revert'): Operation | undefined {
  const names = [...life.snapshots.keys()];
  if (names.length === 0) return undefined;
  const name = prng.pick(names);
  // BMP-10.
  if (kind === 'revert' && life.bitmaps.size > 0) return undefined;
  if (kind === 'revert') life.virtualSize = life.snapshots.get(name) ?? life.virtualSize;
  else life.snapshots.delete(name);
  return { kind, name };
}

function chooseResize(prng: Prng, life: Life): Operation | undefined {
  const { compat, clusterSize } = life.form;
  // Version 2 images with snapshots keep their size, and version 2 overlays cannot grow over a longer base (OPS-18, OPS-20).
  if (compat === '0.10' && (life.snapshots.size > 0 || life.below !== undefined)) return undefined;
  const isAligned = life.virtualSize % clusterSize === 0;
  // When a raw data file grows, QEMU maps the cluster that the old end cuts anew; here it stays a zero cluster.
  if (life.dataFile === 'raw' && !isAligned) return undefined;
  // What is written in the twin to hide its stale tail (T15) would be dirty in its bitmaps.
  if (life.bitmaps.size > 0 && !isAligned) return undefined;
  const factor = life.hasVmState || prng.chance(25) ? prng.below(100) / 100 : 1 + prng.below(80) / 100;
  const unit = life.bitmaps.size > 0 ? clusterSize : sector;
  const virtualSize = Math.max(unit, unit * Math.ceil((life.virtualSize * factor) / unit));
  if (life.hasVmState && virtualSize > life.virtualSize) return undefined;
  // What QEMU reserves in an encrypted image reads as noise (CRE-05). Elsewhere it may show what freed clusters held; what
  // hides that in the twin would be dirty in its bitmaps.
  const mayReserve = life.encryption === 'none' && life.bitmaps.size === 0;
  const preallocates = virtualSize > life.virtualSize && mayReserve && prng.chance(25);
  // There QEMU copies from below: see `copiedHead` in differences.ts.
  const isCut = life.form.extendedL2 && life.below !== undefined && !isAligned;
  const modes: readonly Preallocation[] = isCut ? ['metadata'] : ['metadata', 'falloc', 'full'];
  life.virtualSize = virtualSize;
  return { kind: 'resize', virtualSize, preallocation: preallocates ? prng.pick(modes) : 'off' };
}

const bitmapsMax = 3;

function chooseBitmap(prng: Prng, life: Life): Operation | undefined {
  if (life.form.compat === '0.10') return undefined;
  const names = [...life.bitmaps];
  if (names.length === 0 || (names.length < bitmapsMax && prng.chance(30))) {
    life.made += 1;
    const name = `b${String(life.made)}`;
    life.bitmaps.add(name);
    return {
      kind: 'bitmap',
      name,
      change: { verb: 'add', granularity: 512 << prng.below(8), enabled: prng.chance(75) },
    };
  }
  const name = prng.pick(names);
  const verb = prng.pick(['clear', 'enable', 'disable', 'delete', 'merge', 'merge'] as const);
  if (verb === 'delete') life.bitmaps.delete(name);
  const change: BitmapChange = verb === 'merge' ? { verb, from: prng.pick(names) } : { verb };
  return change.verb === 'merge' && change.from === name ? undefined : { kind: 'bitmap', name, change };
}

function chooseAmendment(prng: Prng, life: Life): Operation | undefined {
  const { form } = life;
  const refcountBits = chooseRefcountBits(prng, life);
  if (form.compat === '0.10') {
    life.form = { ...form, compat: '1.1', refcountBits: refcountBits ?? 16 };
    return { kind: 'amend', amendment: { compat: '1.1', ...(refcountBits === undefined ? {} : { refcountBits }) } };
  }
  if (mayGoDown(life) && prng.chance(50)) {
    life.form = { ...form, compat: '0.10', refcountBits: 16, lazyRefcounts: false };
    return { kind: 'amend', amendment: { compat: '0.10', ...(form.refcountBits === 16 ? {} : { refcountBits: 16 }) } };
  }
  if (life.dataFile === 'raw' && prng.chance(50)) {
    life.dataFile = 'mapped';
    return { kind: 'amend', amendment: { dataFileRaw: false } };
  }
  const lazyRefcounts = prng.chance(50);
  life.form = { ...form, lazyRefcounts, refcountBits: refcountBits ?? form.refcountBits };
  return { kind: 'amend', amendment: { lazyRefcounts, ...(refcountBits === undefined ? {} : { refcountBits }) } };
}

/** QEMU visits every refcount of every block, used or not: half a minute for one block of 128 KiB. */
const clusterSizeForWidths = 8_192;

/** A width that holds what the image counts in either life. */
function chooseRefcountBits(prng: Prng, life: Life): number | undefined {
  if (life.form.clusterSize > clusterSizeForWidths) return undefined;
  const narrowest = life.hasPacked ? 4 : life.snapshots.size > 0 ? 3 : 0;
  const refcountBits = 2 ** (narrowest + prng.below(7 - narrowest));
  return prng.chance(50) ? refcountBits : undefined;
}

/** With snapshots QEMU writes over what they read (T04), and to an encrypted image it writes zeroes as they are (AMD-02). */
function mayGoDown({ form, snapshots, bitmaps, dataFile, encryption }: Life): boolean {
  const hasWidth = form.refcountBits === 16 || form.clusterSize <= clusterSizeForWidths;
  const isPlain = dataFile === 'none' && encryption === 'none' && form.compressionType === 'zlib' && !form.extendedL2;
  return isPlain && hasWidth && snapshots.size === 0 && bitmaps.size === 0;
}

function chooseBlank(prng: Prng, life: Life): Operation {
  life.hasBlanks = true;
  return { kind: 'blank', ...chooseSpan(prng, life) };
}

function chooseRebase(prng: Prng, life: Life): Operation | undefined {
  if (life.dataFile === 'raw') return undefined;
  // QEMU finds no relative name below an image that is given by its options, as encrypted ones are.
  const isPlain = life.snapshots.size === 0 && life.bitmaps.size === 0 && life.encryption === 'none';
  // There QEMU shows the base where the disk had nothing: see `shownBase` in differences.ts.
  const isBare = life.below === undefined && life.form.compat === '0.10';
  const mayBeSafe = isPlain && !isBare;
  // Where one side has stored zeroes and the other has nothing, another base shows other bytes.
  if (life.hasBlanks && !mayBeSafe) return undefined;
  const mode = mayBeSafe && (prng.chance(75) || life.hasBlanks) ? 'safe' : 'unsafe';
  const below = prng.chance(25) ? undefined : prng.pick(layerNames);
  life.below = below;
  return { kind: 'rebase', mode, below };
}

function chooseCommit(_prng: Prng, life: Life): Operation | undefined {
  if (life.below === undefined || life.below === 'base.raw' || life.encryption !== 'none') return undefined;
  return life.snapshots.size > 0 || life.bitmaps.size > 0 ? undefined : { kind: 'commit' };
}

function chooseCopy(prng: Prng, life: Life): Operation {
  const form = chooseForm(prng);
  const compress = form.refcountBits >= 16 && prng.chance(50);
  life.snapshots.clear();
  life.bitmaps.clear();
  life.keySlots.clear();
  Object.assign(life, { form, below: undefined, dataFile: 'none', encryption: 'none' });
  Object.assign(life, { hasPacked: compress, hasVmState: false, hasBlanks: false });
  return { kind: 'copy', form, compress };
}

function chooseKey(prng: Prng, life: Life): Operation | undefined {
  if (life.encryption !== 'luks') return undefined;
  const [first] = life.keySlots;
  if (first !== undefined && prng.chance(50)) {
    life.keySlots.delete(first);
    return { kind: 'key', state: 'inactive', slot: first };
  }
  const slot = 1 + prng.below(7);
  if (life.keySlots.has(slot)) return undefined;
  life.keySlots.add(slot);
  return { kind: 'key', state: 'active', slot };
}

function chooseSpan(prng: Prng, life: Life): { readonly offset: number; readonly length: number } {
  const { virtualSize } = life;
  const { clusterSize, extendedL2 } = life.form;
  // QEMU reads and writes whole sectors of an encrypted disk, so that what it zeroes in one becomes data.
  const smallest = life.encryption === 'none' ? 1 : sector;
  const unit = prng.pick([smallest, sector, clusterSize / (extendedL2 ? 32 : 1), clusterSize]);
  const offset = Math.min(virtualSize - 1, unit * prng.below(Math.ceil(virtualSize / unit)));
  const lengthMax = Math.max(1, prng.below(clusterSize * (prng.chance(25) ? 12 : 2)));
  const length = Math.max(unit, unit * Math.floor(lengthMax / unit));
  if (prng.below(12) === 0) return { offset, length: virtualSize - offset };
  return { offset, length: Math.min(length, virtualSize - offset) };
}
