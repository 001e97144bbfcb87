// Crashes at every moment of making an image: nobody takes the file for an image before it is one.

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import type { CreateSpec, NewEncryption } from '../../src/engine/operations/create-spec.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { quickLuks, usualLuks } from '../support/luks-image.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport, openOver } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** Makes the image of a seed. */
export function liveCreation(seed: number, options: TrialOptions): TrialRecord {
  const spec = specOf(new Prng(seed));
  const backing = spec.backing === undefined ? undefined : new Prng(seed + 1).bytes(spec.virtualSize);
  let isComplete = false;
  const trials: CrashTrials<boolean> = new CrashTrials<boolean>(MemoryFile.empty(), {
    options,
    chance: new Prng(seed + 2),
    promised: () => isComplete,
    strength: () => (isComplete ? 1 : 0),
    during: () => `the making of ${JSON.stringify({ ...spec, encryption: spec.encryption?.format })}`,
    judge: (file, complete) => judge(file, { spec, backing, isComplete: complete }),
  });
  runToEnd(createImage(trials.file, spec));
  isComplete = true;
  trials.mark();
  trials.judgeEpoch();
  return trials.record;
}

function specOf(chance: Prng): CreateSpec {
  const clusterSize = chance.pick([512, 1_024, 4_096, 16_384, 65_536]);
  const compat = chance.chance(20) ? '0.10' : '1.1';
  const extendedL2 = compat === '1.1' && clusterSize >= 16_384 && chance.chance(50);
  const hasBacking = chance.chance(40);
  const nameLengthMax = Math.min(1_023, clusterSize / 2 - 112);
  return {
    virtualSize: (1 + chance.below(40)) * clusterSize,
    clusterSize,
    compat,
    refcountBits: compat === '1.1' ? chance.pick([1, 8, 16, 64]) : 16,
    lazyRefcounts: compat === '1.1' && chance.chance(30),
    extendedL2,
    compressionType: compat === '1.1' && chance.chance(30) ? 'zstd' : 'zlib',
    preallocation: hasBacking ? 'off' : chance.pick(['off', 'metadata', 'falloc', 'full']),
    backing: hasBacking ? { fileName: 'b'.repeat(1 + chance.below(nameLengthMax)), format: 'raw' } : undefined,
    encryption: chance.chance(15) ? secret() : undefined,
  };
}

let luks: NewEncryption | undefined;

/** The smallest LUKS area that there is, made once: it takes a while. */
function secret(): NewEncryption {
  const cipher = { algorithm: 'aes-128', mode: 'cbc' } as const;
  luks ??= { format: 'luks', ...quickLuks({ ...usualLuks, cipher }) };
  return luks;
}

function judge(
  file: MemoryFile,
  made: { readonly spec: CreateSpec; readonly backing: Uint8Array | undefined; readonly isComplete: boolean },
): string | undefined {
  const { spec, backing } = made;
  if (!hasMagic(file)) return made.isComplete ? 'the image is gone' : undefined;
  try {
    const name = HeaderArea.read(new TrackedFile(file), { forCheck: false }).backingName;
    if (name !== spec.backing?.fileName) return `the backing name is ${String(name)}`;
    const image = openOver(file, backing);
    if (spec.encryption !== undefined) image.unlock(spec.encryption.volumeKey);
    const wrong = judgeReport(runToEnd(image.check()), { mayLeak: false });
    const expected = backing ?? new Uint8Array(spec.virtualSize);
    const isSame = image.virtualSize === spec.virtualSize && Buffer.compare(contentOf(image), expected) === 0;
    image.abandon();
    return wrong ?? (isSame ? undefined : 'the new disk has a content');
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

function hasMagic(file: MemoryFile): boolean {
  const magic = new Uint8Array(4);
  file.readAt(hostOffset(0), magic);
  return Buffer.compare(magic, Buffer.from('QFI\xfb', 'latin1')) === 0;
}
