// Crashes at every moment of what changes an overlay as a whole: afterwards it is as before or as after, nothing between.

import { alignDown } from '../../src/base/integers.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { CreateSpec, Image, NewEncryption } from '../../src/engine/image.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { rebase } from '../../src/engine/operations/rebase.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { useVolumeKey } from '../../src/engine/operations/unlock.ts';
import { layerOf, luksOf } from '../support/memory-chain.ts';
import { newFile, partsOver } from '../support/memory-parts.ts';
import { smallSpec } from '../support/plain-spec.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport, openOver } from './crash-judge.ts';
import { copyBlockOf, CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** The contents of which a crash leaves one, as a whole. */
type Contents = readonly Uint8Array[];

/** An overlay with data here and there, over a raw file. */
interface Start {
  readonly spec: CreateSpec;
  readonly backing: Uint8Array | undefined;
  readonly file: MemoryFile;
  readonly key: NewEncryption | undefined;
  readonly hasSnapshot: boolean;
}

/** Empties the overlay of a seed. */
export function liveEmptying(seed: number, options: TrialOptions): TrialRecord {
  const start = startOf(seed, { hasSnapshots: true, key: undefined });
  const { spec, backing, file } = start;
  const first = openOver(file.fork(), backing);
  const before = contentOf(first);
  const snapshot = snapshotOf(first);
  first.abandon();
  const after = new Uint8Array(spec.virtualSize);
  if (backing !== undefined) after.set(backing.subarray(0, spec.virtualSize));

  let contents: Contents = [before];
  const trials: CrashTrials<Contents> = new CrashTrials<Contents>(file, {
    options,
    chance: new Prng(seed + 2),
    promised: () => contents,
    strength: () => (contents.length === 1 ? 1 : 0),
    during: () => `emptying ${JSON.stringify(spec)}`,
    judge: (crashed, possible) => judge(crashed, { backing, possible, snapshot }),
  });
  const image = openOver(trials.file, backing);
  contents = [before, after];
  runToEnd(image.empty());
  image.flush();
  contents = [after];
  trials.mark();
  trials.judgeEpoch();
  image.close();
  const wrong = judgeAfter(openOver(trials.file.content.fork(), backing), after);
  return { ...trials.record, failure: trials.record.failure ?? wrong };
}

function startOf(
  seed: number,
  use: { readonly hasSnapshots: boolean; readonly key: NewEncryption | undefined },
): Start {
  const chance = new Prng(seed);
  // Its refcount blocks lie in a row, so that one counts the others.
  const preallocation = chance.chance(25) ? 'metadata' : 'off';
  const extendedL2 = chance.chance(20);
  const compat = !extendedL2 && chance.chance(20) ? '0.10' : '1.1';
  const clusterSize = extendedL2 ? 16_384 : chance.pick([512, 512, 1_024, 4_096]);
  const clusters = clusterSize === 512 ? 300 : 40;
  const spec: CreateSpec = {
    ...smallSpec,
    virtualSize: clusters * clusterSize,
    clusterSize,
    compat,
    extendedL2,
    refcountBits: compat === '1.1' ? chance.pick([2, 64, 64]) : 16,
    lazyRefcounts: compat === '1.1' && chance.chance(25),
    preallocation,
    backing: preallocation === 'off' ? { fileName: 'below.raw', format: 'raw' } : undefined,
  };
  const backingLength = Math.floor(clusters * chance.pick([0.5, 1, 1.5])) * clusterSize;
  const backing = spec.backing === undefined ? undefined : chance.bytes(backingLength);
  const { key } = use;
  const file = newFile({ ...spec, encryption: key });
  const image = unlocked(file, { backing, key });
  const fill = (): void => {
    for (let round = 0; round < 12; round += 1) {
      const offset = chance.below(spec.virtualSize - clusterSize);
      const length = Math.min(spec.virtualSize - offset, 1 + chance.below(12 * clusterSize));
      image.write(guestOffset(offset), chance.bytes(length), { detectZeroes: false });
    }
    runToEnd(image.zero(guestOffset(clusterSize), 4 * clusterSize, { unmap: chance.chance(50) }));
  };
  fill();
  const hasSnapshot = use.hasSnapshots && chance.chance(40);
  if (hasSnapshot) {
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    fill();
  }
  image.close();
  return { spec, backing, file, key, hasSnapshot };
}

function unlocked(
  file: ByteFile,
  use: { readonly backing: Uint8Array | Layer | undefined; readonly key: NewEncryption | undefined },
): Image {
  const image = openOver(file, use.backing);
  if (use.key !== undefined) image.unlock(use.key.volumeKey);
  return image;
}

function snapshotOf(image: Image): Uint8Array | undefined {
  const [snapshot] = image.snapshots({ from: 0, limit: 1 });
  if (snapshot === undefined) return undefined;
  const bytes = new Uint8Array(snapshot.virtualSize);
  image.readSnapshot(snapshot.id, guestOffset(0), bytes);
  return bytes;
}

/** No repair comes before, but the recovery of an image with lazy refcounts. */
function judge(
  file: MemoryFile,
  crash: {
    readonly backing: Uint8Array | Layer | undefined;
    readonly key?: NewEncryption | undefined;
    readonly possible: Contents;
    readonly snapshot: Uint8Array | undefined;
  },
): string | undefined {
  const { backing, key, possible, snapshot } = crash;
  try {
    const image = unlocked(file, { backing, key });
    const isRecovered = image.needsRecovery;
    if (isRecovered) runToEnd(image.recover());
    const wrong = judgeReport(runToEnd(image.check()), { mayLeak: !isRecovered });
    const found = contentOf(image);
    const isPossible = possible.some((content) => Buffer.compare(content, found) === 0);
    const kept = snapshotOf(image);
    image.abandon();
    if (wrong !== undefined) return wrong;
    if (!isPossible) return 'the content is neither the old nor the new one';
    if (snapshot === undefined || kept === undefined) return snapshot === kept ? undefined : 'the snapshot is gone';
    return Buffer.compare(snapshot, kept) === 0 ? undefined : 'the snapshot has changed';
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** The image goes on: it takes writes and ends sound. */
function judgeAfter(image: Image, content: Uint8Array): string | undefined {
  const report = runToEnd(image.check());
  if (report.leaks > 0) return `${String(report.leaks)} leaks are left at the end`;
  const model = content.slice();
  const bytes = new Prng(content.length).bytes(Math.floor(content.length / 3));
  model.set(bytes, 100);
  image.write(guestOffset(100), bytes, { detectZeroes: false });
  const wrong = judgeReport(runToEnd(image.check()), { mayLeak: false });
  const isSame = Buffer.compare(contentOf(image), model) === 0;
  image.close();
  return wrong ?? (isSame ? undefined : 'afterwards writes do not read back');
}

const names = { old: 'below.raw', next: 'another-base.raw' } as const;

/** Which files are encrypted, each with a key of its own: the overlay, its old base and its new one. */
const ciphers = [
  { top: false, old: false, next: false },
  { top: true, old: false, next: false },
  { top: false, old: true, next: false },
  { top: true, old: false, next: true },
  { top: true, old: true, next: true },
] as const;

/** Puts the overlay of a seed on another base, or on none, safely: whatever the header names, the guest sees the same. */
export function liveRebase(seed: number, options: TrialOptions): TrialRecord {
  const cipher = ciphers[seed % ciphers.length];
  const keyIf = (isEncrypted: boolean | undefined, place: number): NewEncryption | undefined =>
    isEncrypted === true ? luksOf(3 * seed + place) : undefined;
  const key = keyIf(cipher?.top, 0);
  const start = startOf(seed, { hasSnapshots: false, key });
  const { spec, file } = start;
  const chance = new Prng(seed + 3);
  const oldBytes = start.backing;
  const nextBytes = chance.chance(25) ? undefined : nextBase(oldBytes ?? new Uint8Array(spec.virtualSize), chance);
  const old = oldBytes === undefined ? undefined : layerOf(oldBytes, keyIf(cipher?.old, 1));
  const next = nextBytes === undefined ? undefined : layerOf(nextBytes, keyIf(cipher?.next, 2));
  const backings: Readonly<Record<string, Layer | undefined>> = { [names.old]: old, [names.next]: next };
  const first = unlocked(file.fork(), { backing: old, key });
  const content = contentOf(first);
  first.abandon();
  let possible = [spec.backing?.fileName];
  const trials: CrashTrials<typeof possible> = new CrashTrials<typeof possible>(file, {
    options,
    chance: new Prng(seed + 2),
    promised: () => possible,
    strength: () => (possible.length === 1 ? 1 : 0),
    copyBlock: copyBlockOf(Math.floor(seed / ciphers.length)),
    during: () => `a rebase (${JSON.stringify(cipher)}) of ${JSON.stringify(spec)}`,
    judge: (crashed, allowed) => {
      const name = backingNameOf(crashed);
      if (!allowed.includes(name)) return `the header names ${String(name)}`;
      const backing = name === undefined ? undefined : backings[name];
      return judge(crashed, { backing, key, possible: [content], snapshot: undefined });
    },
  });
  const parts = partsOver(trials.file, old);
  if (key !== undefined) useVolumeKey(parts, key.volumeKey);
  const after = next === undefined ? undefined : names.next;
  possible = [spec.backing?.fileName, after];
  runToEnd(
    rebase(parts, {
      backing: after === undefined ? undefined : { fileName: after, format: 'raw' },
      ...{ layer: next, mode: 'safe', shared: { old: 1, new: 1 } },
      switched: () => undefined,
    }),
  );
  possible = [after];
  trials.mark();
  trials.judgeEpoch();
  const wrong = judgeAfter(unlocked(trials.file.content.fork(), { backing: next, key }), content);
  return { ...trials.record, failure: trials.record.failure ?? wrong };
}

/** Like the old base here and there, and of another length. */
function nextBase(old: Uint8Array, chance: Prng): Uint8Array {
  const next = chance.bytes(alignDown(Math.floor(old.length * chance.pick([0.4, 1, 1.3])), 512));
  for (let at = 0; at < Math.min(old.length, next.length); at += 4096) {
    if (chance.chance(60)) next.set(old.subarray(at, Math.min(at + 4096, next.length)), at);
  }
  return next;
}

function backingNameOf(file: MemoryFile): string | undefined {
  return HeaderArea.read(new TrackedFile(file), { forCheck: false }).backingName;
}
