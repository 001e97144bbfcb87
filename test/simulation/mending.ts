// Crashes at every moment of a repair, and of admitting a foreign file: what a repair can save, it saves after a crash too.

import { fileURLToPath } from 'node:url';

import { present } from '../../src/base/assert.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { admit } from '../../src/engine/operations/admit.ts';
import { check } from '../../src/engine/operations/check.ts';
import { repair } from '../../src/engine/operations/repair.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import {
  bytesOf,
  clusterSize,
  guestBytes,
  guestClusters,
  imageWithSnapshot,
  snapshotsOf,
  writeSnapshotEntry,
} from '../support/damaged-image.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { Prng } from '../support/prng.ts';
import { judgeReport } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

interface Damage {
  readonly name: string;
  readonly needsVersion3?: true;
  readonly inflict: (image: ImageBytes, chance: Prng) => void;
}

const owned = 0x8000_0000_0000_0000n;

const damages: readonly Damage[] = [
  {
    name: 'leaked clusters',
    inflict: (image, chance) => {
      for (let count = 1 + chance.below(3); count > 0; count -= 1) {
        const cluster = image.endCluster;
        image.fill(cluster * clusterSize, clusterSize, 0xee);
        image.setRefcount(cluster, 1);
      }
    },
  },
  {
    name: 'a cluster counted too low',
    inflict: (image, chance) => {
      const place = image.target(image.l2At(chance.below(guestClusters)));
      image.setRefcount(image.cluster(place), chance.below(2));
    },
  },
  { name: 'a lost refcount block', inflict: (image) => image.setU64(image.tableOffset, 0n) },
  {
    name: 'a refcount table entry that points into a cluster',
    inflict: (image) => image.setU64(image.tableOffset, image.u64(image.tableOffset) + 512n),
  },
  {
    name: 'flags that disagree with refcounts',
    inflict: (image, chance) => {
      const at = image.l2At(chance.below(guestClusters));
      image.setU64(at, image.u64(at) | owned);
    },
  },
  {
    name: 'a zero cluster that keeps a place inside a cluster',
    needsVersion3: true,
    inflict: (image, chance) => {
      const at = image.l2At(chance.below(guestClusters));
      image.setU64(at, (image.u64(at) + 512n) | 1n);
    },
  },
  {
    name: 'a snapshot entry that lacks sizes',
    inflict: (image) => {
      const at = image.snapshotAt(0);
      const l1Offset = Number(image.u64(at));
      image.fill(at, clusterSize, 0);
      writeSnapshotEntry(image, { at, l1Offset, l1Entries: 1, extraLength: 0 });
    },
  },
  {
    name: 'a snapshot entry beyond all limits',
    inflict: (image) => {
      image.setU32(60, 2);
      const at = image.snapshotAt(1);
      image.setU32(at + 12, 0x0001_0001);
      image.setU32(at + 36, 0x7fff_ffff);
    },
  },
];

/** Repairs the damaged image of a seed. */
export function liveMending(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const image = imageWithSnapshot();
  const first = present(damages[seed % damages.length], 'every remainder has its damage');
  const inflicted = [first, ...damages.filter((one) => one !== first && chance.chance(20))];
  for (const { inflict } of inflicted) inflict(image, chance);
  // Version 2 has no mark: the order of the writes alone keeps the data.
  if (chance.chance(40) && !inflicted.some(({ needsVersion3 }) => needsVersion3)) makeVersion2(image);
  const start = MemoryFile.of(image.bytes);
  const reference = start.fork();
  const report = runToEnd(repair(reference, 'all'));
  const wrong = judgeReport(report, { mayLeak: false });
  if (wrong !== undefined) throw new Error(`seed ${String(seed)}: a repair leaves ${wrong}`);
  const expected = contentsOf(reference);
  let isComplete = false;
  const trials: CrashTrials<boolean> = new CrashTrials<boolean>(start, {
    options,
    chance: new Prng(seed + 1),
    promised: () => isComplete,
    strength: () => (isComplete ? 1 : 0),
    during: () => `the repair of ${inflicted.map(({ name }) => name).join(', ')}`,
    judge: (file, complete) => judgeMended(file, { start, expected, isComplete: complete }),
  });
  runToEnd(repair(trials.file, 'all'));
  isComplete = true;
  trials.mark();
  trials.judgeEpoch();
  return trials.record;
}

/** The same image without features: the short header, and no extensions. */
function makeVersion2(image: ImageBytes): void {
  image.setU32(4, 2);
  image.fill(72, 512 - 72, 0);
}

function judgeMended(
  file: MemoryFile,
  mended: { readonly start: MemoryFile; readonly expected: string; readonly isComplete: boolean },
): string | undefined {
  const { isDirty, header } = HeaderArea.read(new TrackedFile(file), { forCheck: true });
  const isMarkMissing = header.version === 3 && !isDirty;
  if (mended.isComplete && isDirty) return 'the mark of the repair is still there';
  const isUntouched = Buffer.compare(bytesOf(file), bytesOf(mended.start)) === 0;
  if (mended.isComplete || (isMarkMissing && !isUntouched)) {
    // Nobody would mend it again.
    const wrong = judgeReport(runToEnd(check(file)), { mayLeak: false });
    if (wrong !== undefined) return `without a mark, ${wrong}`;
  }
  const wrong = judgeReport(runToEnd(repair(file, 'all')), { mayLeak: false });
  if (wrong !== undefined) return `after another repair, ${wrong}`;
  const found = contentsOf(file);
  return found === mended.expected ? undefined : `the repair has changed data: ${found}, not ${mended.expected}`;
}

/** What the guest reads, and how many snapshots there are. */
function contentsOf(file: MemoryFile): string {
  const image = ImageBytes.of(bytesOf(file));
  return `${guestBytes(image).join()} with ${String(snapshotsOf(image).length)} snapshots`;
}

/** Admits a file that names another backing file than the one it gets. */
export function liveAdmission(seed: number, options: TrialOptions): TrialRecord {
  const image = imageWithSnapshot();
  image.setU64(8, 600n);
  image.setU32(16, 5);
  image.fill(600, 5, 0x61);
  const chance = new Prng(seed);
  if (chance.chance(50)) damages[0]?.inflict(image, chance);
  const fileName = `${'n'.repeat(1 + chance.below(600))}.raw`;
  const backing = { fileName, path: fileURLToPath(import.meta.url), format: 'raw' } as const;
  let isComplete = false;
  const trials: CrashTrials<boolean> = new CrashTrials<boolean>(MemoryFile.of(image.bytes), {
    options,
    chance: new Prng(seed + 1),
    promised: () => isComplete,
    strength: () => (isComplete ? 1 : 0),
    during: () => 'admitting a file',
    judge: (file, complete) => (complete ? judgeAdmitted(file, fileName) : undefined),
  });
  runToEnd(admit(trials.file, { backing, below: [], repair: 'leaks', locks: 'none' }));
  isComplete = true;
  trials.mark();
  trials.judgeEpoch();
  return trials.record;
}

function judgeAdmitted(file: MemoryFile, fileName: string): string | undefined {
  const { backingName } = HeaderArea.read(new TrackedFile(file), { forCheck: false });
  if (backingName !== fileName) return `the backing name is ${String(backingName)}`;
  return judgeReport(runToEnd(check(file)), { mayLeak: false });
}
