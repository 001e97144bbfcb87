// Crashes at every moment of a copy: the new file is sound all the time, and whole once the copy has ended.

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../src/engine/image.ts';
import { layerOver } from '../../src/engine/data/image-layer.ts';
import { fill } from '../../src/engine/operations/copy-fill.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { ImageSession } from '../../src/engine/operations/image-session.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { smallSpec } from '../support/plain-spec.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport, openOver } from './crash-judge.ts';
import { copyBlockOf, CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** Copies the image of a seed. */
export function liveCopy(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const spec = specOf(chance);
  const { file: source, content } = sourceOf(chance, spec);
  const form = { compress: chance.chance(75), keepsZeroes: chance.chance(30) };
  const target = { ...spec, ...(chance.chance(30) ? specOf(chance) : {}), virtualSize: spec.virtualSize };
  const empty = MemoryFile.empty();
  runToEnd(createImage(empty, target));
  let isComplete = false;
  const trials: CrashTrials<boolean> = new CrashTrials<boolean>(empty, {
    options,
    chance: new Prng(seed + 1),
    promised: () => isComplete,
    strength: () => (isComplete ? 1 : 0),
    copyBlock: copyBlockOf(seed),
    during: () => `a copy (${JSON.stringify(form)}) of ${JSON.stringify(spec)} to ${JSON.stringify(target)}`,
    judge: (file, complete) => judge(file, complete ? content : undefined),
  });
  const opened = { writable: true, layer: undefined, openDataFile: undefined } as const;
  const from = ImageSession.open(source, opened);
  const session = ImageSession.open(trials.file, opened);
  const layer = layerOver(from.parts, spec.virtualSize);
  runToEnd(session.changeInSteps((parts) => fill(parts, layer, form)));
  session.close();
  isComplete = true;
  trials.mark();
  trials.judgeEpoch();
  return trials.record;
}

function specOf(chance: Prng): CreateSpec {
  const clusterSize = chance.pick([512, 1_024, 4_096, 16_384]);
  const compat = chance.chance(20) ? '0.10' : '1.1';
  return {
    ...smallSpec,
    virtualSize: (1 + chance.below(60)) * clusterSize + (chance.chance(30) ? 512 : 0),
    clusterSize,
    compat,
    refcountBits: compat === '1.1' ? chance.pick([1, 8, 16, 64]) : 16,
    lazyRefcounts: compat === '1.1' && chance.chance(30),
    extendedL2: compat === '1.1' && clusterSize >= 16_384 && chance.chance(50),
    compressionType: compat === '1.1' && chance.chance(30) ? 'zstd' : 'zlib',
  };
}

/** An image with data, zeroes and packed clusters. */
function sourceOf(chance: Prng, spec: CreateSpec): { readonly file: MemoryFile; readonly content: Uint8Array } {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, spec));
  const image = openOver(file, undefined);
  for (let round = 0; round < 6; round += 1) change(image, chance, spec);
  const content = contentOf(image);
  image.close();
  return { file, content };
}

function change(image: Image, chance: Prng, { clusterSize, virtualSize }: CreateSpec): void {
  const first = chance.below(Math.ceil(virtualSize / clusterSize));
  const offset = guestOffset(first * clusterSize);
  const length = Math.min(virtualSize - offset, (1 + chance.below(12)) * clusterSize);
  const kind = chance.below(4);
  if (kind === 0) runToEnd(image.zero(offset, length, { unmap: chance.chance(50) }));
  else if (kind === 1) image.write(offset, chance.bytes(length), { detectZeroes: false });
  else runToEnd(image.writeCompressed(offset, half(chance, length), { detectZeroes: false }));
}

/** Bytes that shrink, or nothing but zeroes. */
function half(chance: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  if (chance.chance(80)) for (let at = 0; at < length; at += 64) bytes.set(chance.bytes(Math.min(24, length - at)), at);
  return bytes;
}

/** `content`: that of a copy that has ended. */
function judge(file: MemoryFile, content: Uint8Array | undefined): string | undefined {
  try {
    const image = openOver(file, undefined);
    if (image.needsRecovery) runToEnd(image.recover());
    const wrong = judgeReport(runToEnd(image.check()), { mayLeak: content === undefined });
    const isSame = content === undefined || Buffer.compare(contentOf(image), content) === 0;
    image.abandon();
    return wrong ?? (isSame ? undefined : 'the copy shows something else');
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
