// Crashes at every moment of a commit: the image above reads as ever, and the target is sound.

import { alignDown } from '../../src/base/integers.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec } from '../../src/engine/image.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { check } from '../../src/engine/operations/check.ts';
import { copyDown, SessionLayer } from '../../src/engine/operations/commit.ts';
import { ImageSession } from '../../src/engine/operations/image-session.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { newFile, plainSpec } from '../support/memory-parts.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** What the target shows: anything, or all of the image. */
type Promised = 'anything' | 'everything';

/** Commits the overlay of a seed into its target, which may be shorter and has a raw file below it. */
export function liveCommit(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const clusterSize = chance.pick([512, 512, 1_024]);
  const size = 300 * clusterSize;
  const compat = chance.chance(20) ? '0.10' : '1.1';
  const targetSize = compat === '0.10' ? size : alignDown(Math.floor(size * chance.pick([0.6, 1, 1.2])), 512);
  const backing = chance.bytes(alignDown(Math.floor(targetSize * chance.pick([0.5, 1])), 512));
  const spec: CreateSpec = {
    ...plainSpec,
    virtualSize: targetSize,
    clusterSize,
    compat,
    refcountBits: compat === '1.1' ? chance.pick([2, 64]) : 16,
    lazyRefcounts: compat === '1.1' && chance.chance(25),
    backing: { fileName: 'below.raw', format: 'raw' },
  };
  const target = newFile(spec);
  const targetImage = Image.openFile(target, { writable: true, backing: new RawLayer(MemoryFile.of(backing)) });
  fill(targetImage, chance, clusterSize);
  targetImage.close();
  const topSpec = { ...plainSpec, virtualSize: size, clusterSize: 512, compat: '1.1' as const };
  const top = newFile({ ...topSpec, backing: { fileName: 'target', format: 'qcow2' } });
  const topImage = Image.openFile(top, {
    writable: true,
    backing: new SessionLayer(sessionOver(target.fork(), backing)),
  });
  fill(topImage, chance, clusterSize);
  const content = contentOf(topImage);
  topImage.close();

  let promised: Promised = 'anything';
  const trials: CrashTrials<Promised> = new CrashTrials<Promised>(target, {
    options,
    chance: new Prng(seed + 2),
    promised: () => promised,
    strength: () => (promised === 'everything' ? 1 : 0),
    during: () => `a commit into ${JSON.stringify(spec)}`,
    judge: (crashed, promise) => judge(crashed, { top, backing, content, promise }),
  });
  const session = sessionOver(trials.file, backing);
  const above = ImageSession.open(top.fork(), {
    ...{ writable: true, layer: new SessionLayer(session) },
    openDataFile: undefined,
  });
  runToEnd(copyDown(above, session, 1));
  promised = 'everything';
  trials.mark();
  trials.judgeEpoch();
  above.close();
  const end = { top, backing, content, promise: promised };
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

function sessionOver(file: ByteFile, backing: Uint8Array): ImageSession {
  const layer = new RawLayer(MemoryFile.of(backing));
  return ImageSession.open(file, { writable: true, layer, openDataFile: undefined });
}

function judge(
  crashed: MemoryFile,
  facts: {
    readonly top: MemoryFile;
    readonly backing: Uint8Array;
    readonly content: Uint8Array;
    readonly promise: Promised;
  },
): string | undefined {
  const { top, backing, content, promise } = facts;
  try {
    const session = sessionOver(crashed, backing);
    const isRecovered = session.header.isDirty;
    if (isRecovered) runToEnd(session.repairWith('all'));
    const wrong = judgeReport(runToEnd(session.checkWith(check)), { mayLeak: !isRecovered });
    if (wrong !== undefined) return wrong;
    const layer = new SessionLayer(session);
    const above = Image.openFile(top.fork(), { writable: false, backing: layer });
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
