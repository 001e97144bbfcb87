// Crashes at every moment of amending an image: it is as it was or as it is to be, and reads the same in any case.

import { Fault } from '../../src/base/fault.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../src/engine/format/offsets.ts';
import type { AmendWish, Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { newFile } from '../support/memory-parts.ts';
import type { ModelSnapshot } from '../support/model-disk.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeCrash, openOver } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

const amendments = 5;
const clusters = 40;

interface Layout {
  readonly clusterSize: number;
  readonly compat: '0.10' | '1.1';
  readonly refcountBits: number;
  readonly hasBacking: boolean;
  readonly hasSnapshots: boolean;
}

/** Amends the image of a seed again and again. */
export function liveAmendment(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const layout = layoutOf(seed, chance);
  const backing = layout.hasBacking ? chance.bytes((clusters - 5) * layout.clusterSize) : undefined;
  const start = startOf(layout, { backing, chance });
  const { content, snapshots } = readAll(start.fork(), backing);
  let possible: readonly string[] = [];
  let strength = 0;
  let during = 'the start';
  const trials: CrashTrials<readonly string[]> = new CrashTrials<readonly string[]>(start, {
    options,
    chance: new Prng(seed + 1),
    promised: () => possible,
    strength: () => strength,
    during: () => `${during} of ${JSON.stringify(layout)}`,
    judge: (file, promised) => judge(file, { content, snapshots, backing, possible: promised }),
  });
  const image = openOver(trials.file, backing);
  possible = [shapeOf(image)];
  for (let count = 0; count < amendments; count += 1) {
    const wish = someWish(chance);
    const before = shapeOf(image);
    during = `amendment ${String(count)} ${JSON.stringify(wish)}`;
    possible = [before, shapeAfter(image, wish)];
    if (!succeeds(image, wish)) possible = [before];
    possible = [shapeOf(image)];
    strength += 1;
    trials.mark();
  }
  trials.judgeEpoch();
  image.abandon();
  return trials.record;
}

function layoutOf(seed: number, chance: Prng): Layout {
  const compat = seed % 3 === 0 ? '0.10' : '1.1';
  const refcountBits = compat === '0.10' ? 16 : chance.pick([1, 2, 8, 16, 16, 64]);
  return {
    clusterSize: chance.pick([512, 512, 1_024, 8_192]),
    compat,
    refcountBits,
    hasBacking: chance.chance(50),
    hasSnapshots: refcountBits > 2 && chance.chance(60),
  };
}

/** Clusters of every sort, and L2 tables that a snapshot shares; a bit that nobody knows may have to go. */
function startOf(
  layout: Layout,
  made: { readonly backing: Uint8Array | undefined; readonly chance: Prng },
): MemoryFile {
  const { clusterSize, compat, refcountBits, hasSnapshots } = layout;
  const { backing, chance } = made;
  const file = newFile({
    clusterSize,
    compat,
    refcountBits,
    virtualSize: clusters * clusterSize,
    backing: backing === undefined ? undefined : { fileName: 'below.raw', format: 'raw' },
  });
  const image = openOver(file, backing);
  const cluster = (index: number) => guestOffset(index * clusterSize);
  const write = (first: number, count: number): void => {
    image.write(cluster(first), chance.bytes(count * clusterSize), { detectZeroes: false });
  };
  const zero = (first: number, count: number, unmap: boolean): void => {
    runToEnd(image.zero(cluster(first), count * clusterSize, { unmap }));
  };
  const snapshot = (name: string): void => {
    if (!hasSnapshots) return;
    runToEnd(image.createSnapshot({ name, seconds: 1, nanoseconds: 0, idFloor: 1 }));
  };
  write(0, 12);
  zero(2, 2, false);
  zero(4, 2, true);
  zero(20, 3, true);
  snapshot('a');
  // Zero clusters whose place the snapshot reads, and others that both trees have.
  zero(0, 1, false);
  write(6, 1);
  snapshot('b');
  if (chance.chance(50)) write(8, 3);
  image.close();
  if (compat === '1.1' && chance.chance(30)) file.writeAt(hostOffset(88), Uint8Array.of(0x40));
  file.flush();
  return file;
}

function someWish(chance: Prng): AmendWish {
  return {
    compat: chance.chance(75) ? chance.pick(['0.10', '1.1', '1.1'] as const) : undefined,
    refcountBits: chance.chance(60) ? chance.pick([2, 4, 8, 16, 16, 16, 32, 64]) : undefined,
    lazyRefcounts: chance.chance(40) ? chance.chance(50) : undefined,
    dataFileRaw: undefined,
  };
}

function succeeds(image: Image, wish: AmendWish): boolean {
  try {
    runToEnd(image.amend(wish));
    return true;
  } catch (error) {
    if (error instanceof Fault && (error.code === 'unsupported-option' || error.code === 'refcount-overflow')) {
      return false;
    }
    throw error;
  }
}

function shapeOf(image: Image): string {
  const { compat, refcountBits, lazyRefcounts } = image.describe();
  return [compat, refcountBits, lazyRefcounts].join();
}

function shapeAfter(image: Image, wish: AmendWish): string {
  const before = image.describe();
  const compat = wish.compat ?? before.compat;
  const lazyRefcounts = compat === '1.1' && (wish.lazyRefcounts ?? before.lazyRefcounts);
  return [compat, wish.refcountBits ?? before.refcountBits, lazyRefcounts].join();
}

function readAll(
  file: MemoryFile,
  backing: Uint8Array | undefined,
): { readonly content: Uint8Array; readonly snapshots: readonly ModelSnapshot[] } {
  const image = openOver(file, backing);
  const snapshots = image.snapshots({ from: 0, limit: 10 }).map(({ id, name, virtualSize }) => {
    const bytes = new Uint8Array(virtualSize);
    image.readSnapshot(id, guestOffset(0), bytes);
    return { name, bytes, vmState: new Uint8Array(0) };
  });
  const content = contentOf(image);
  image.abandon();
  return { content, snapshots };
}

function judge(
  file: MemoryFile,
  made: {
    readonly content: Uint8Array;
    readonly snapshots: readonly ModelSnapshot[];
    readonly backing: Uint8Array | undefined;
    readonly possible: readonly string[];
  },
): string | undefined {
  const { content, snapshots, backing, possible } = made;
  const image = openOver(file.fork(), backing);
  const shape = shapeOf(image);
  image.abandon();
  if (!possible.includes(shape)) return `the image is ${shape}, not ${possible.join(' or ')}`;
  const expectation = {
    durable: content,
    candidates: [],
    candidateCount: 0,
    sizes: [content.length],
    snapshotLists: [snapshots],
    isStructural: false,
  };
  return judgeCrash(file, { expectation, backing, goesOn: 3, again: undefined });
}
