// Crashes at every moment of a commit, encrypted images among them: the image above reads as ever, and the target is
// sound.

import { alignDown } from '../../src/base/integers.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec, NewEncryption } from '../../src/engine/image.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { check } from '../../src/engine/operations/check.ts';
import { copyDown, SessionLayer } from '../../src/engine/operations/commit.ts';
import type { ImageSession } from '../../src/engine/operations/image-session.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { luksOf, sessionOver } from '../support/memory-chain.ts';
import { newFile } from '../support/memory-parts.ts';
import { smallSpec } from '../support/plain-spec.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport } from './crash-judge.ts';
import { copyBlockOf, CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** What the target shows: anything, or all of the image. */
type Promised = 'anything' | 'everything';

/** Which of the two are encrypted, each with a key of its own. */
const ciphers = [
  { top: true, target: true },
  { top: false, target: false },
  { top: false, target: true },
  { top: true, target: false },
] as const;

/** The two files of a chain. */
interface Chain {
  readonly top: MemoryFile;
  readonly topKey: NewEncryption | undefined;
  readonly targetKey: NewEncryption | undefined;
  /** What the raw file below holds. */
  readonly backing: Uint8Array;
}

/** Commits the overlay of a seed into its target, which may be shorter and has a raw file below it. */
export function liveCommit(seed: number, options: TrialOptions): TrialRecord {
  const cipher = ciphers[seed % ciphers.length];
  const topKey = cipher?.top === true ? luksOf(2 * seed) : undefined;
  const targetKey = cipher?.target === true ? luksOf(2 * seed + 1) : undefined;
  const chance = new Prng(seed);
  const clusterSize = chance.pick([512, 512, 1_024]);
  const size = 300 * clusterSize;
  const compat = chance.chance(20) ? '0.10' : '1.1';
  const targetSize = compat === '0.10' ? size : alignDown(Math.floor(size * chance.pick([0.6, 1, 1.2])), 512);
  const backing = chance.bytes(alignDown(Math.floor(targetSize * chance.pick([0.5, 1])), 512));
  const spec: CreateSpec = {
    ...smallSpec,
    virtualSize: targetSize,
    clusterSize,
    compat,
    refcountBits: compat === '1.1' ? chance.pick([2, 64]) : 16,
    lazyRefcounts: compat === '1.1' && chance.chance(25),
    backing: { fileName: 'below.raw', format: 'raw' },
  };
  const target = newFile({ ...spec, encryption: targetKey });
  const targetImage = unlocked(target, { backing: new RawLayer(MemoryFile.of(backing)), key: targetKey });
  fill(targetImage, chance, clusterSize);
  targetImage.close();
  const topSpec = { ...smallSpec, virtualSize: size, clusterSize: 512, compat: '1.1' as const };
  const top = newFile({ ...topSpec, backing: { fileName: 'target', format: 'qcow2' }, encryption: topKey });
  const chain: Chain = { top, topKey, targetKey, backing };
  const below = new SessionLayer(targetOver(target.fork(), chain));
  const topImage = unlocked(top, { backing: below, key: topKey });
  fill(topImage, chance, clusterSize);
  const content = contentOf(topImage);
  topImage.close();

  let promised: Promised = 'anything';
  const trials: CrashTrials<Promised> = new CrashTrials<Promised>(target, {
    options,
    chance: new Prng(seed + 2),
    promised: () => promised,
    strength: () => (promised === 'everything' ? 1 : 0),
    copyBlock: copyBlockOf(Math.floor(seed / ciphers.length)),
    during: () => `a commit (${JSON.stringify(cipher)}) into ${JSON.stringify(spec)}`,
    judge: (crashed, promise) => judge(crashed, { chain, content, promise }),
  });
  const session = targetOver(trials.file, chain);
  const above = sessionOver(top.fork(), { layer: new SessionLayer(session), encryption: topKey });
  runToEnd(copyDown(above, session, 1));
  promised = 'everything';
  trials.mark();
  trials.judgeEpoch();
  above.close();
  const end = { chain, content, promise: promised };
  return { ...trials.record, failure: trials.record.failure ?? judge(trials.file.content.fork(), end) };
}

function fill(image: Image, chance: Prng, clusterSize: number): void {
  for (let round = 0; round < 8; round += 1) {
    const offset = chance.below(image.virtualSize - clusterSize);
    const length = Math.min(image.virtualSize - offset, 1 + chance.below(12 * clusterSize));
    image.write(guestOffset(offset), chance.bytes(length), { detectZeroes: false });
  }
  for (let round = 0; round < 3; round += 1) {
    const offset = chance.below(image.virtualSize - 20 * clusterSize);
    runToEnd(image.zero(guestOffset(offset), 5 * clusterSize, { unmap: chance.chance(50) }));
  }
}

function targetOver(file: ByteFile, { backing, targetKey }: Chain): ImageSession {
  return sessionOver(file, { layer: new RawLayer(MemoryFile.of(backing)), encryption: targetKey });
}

function unlocked(file: ByteFile, use: { readonly backing: Layer; readonly key: NewEncryption | undefined }): Image {
  const image = Image.openFile(file, { writable: true, backing: use.backing });
  if (use.key !== undefined) image.unlock(use.key.volumeKey);
  return image;
}

function judge(
  crashed: MemoryFile,
  facts: {
    readonly chain: Chain;
    readonly content: Uint8Array;
    readonly promise: Promised;
  },
): string | undefined {
  const { chain, content, promise } = facts;
  try {
    const session = targetOver(crashed, chain);
    const isRecovered = session.header.isDirty;
    if (isRecovered) runToEnd(session.repairWith('all'));
    const wrong = judgeReport(runToEnd(session.checkWith(check)), { mayLeak: !isRecovered });
    if (wrong !== undefined) return wrong;
    const layer = new SessionLayer(session);
    const above = unlocked(chain.top.fork(), { backing: layer, key: chain.topKey });
    if (Buffer.compare(contentOf(above), content) !== 0) return 'the image above has changed';
    if (promise === 'everything') {
      const shown = new Uint8Array(content.length);
      if (layer.size < shown.length) return 'the target is too short';
      layer.read(guestOffset(0), shown);
      if (Buffer.compare(shown, content) !== 0) return 'the target has not got everything';
    }
    above.abandon();
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
