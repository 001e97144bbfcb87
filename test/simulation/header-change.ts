// Crashes at every moment of replacing the first cluster: it says all of what it said before, or all of what it says then.

import { Fault } from '../../src/base/fault.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { emptyMask } from '../../src/engine/format/features.ts';
import type { HeaderContent } from '../../src/engine/format/header-cluster.ts';
import { headerLengthV2, headerLengthV3 } from '../../src/engine/format/header.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { newFile } from '../support/memory-parts.ts';
import { Prng } from '../support/prng.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** Changes of one header, one after the other. */
const changesMax = 6;
/** No new header reaches so far. */
const unusedFrom = 600;

/** Replaces the header of a seed again and again. */
export function liveHeaderChange(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const clusterSize = [65_536, 4_096, 1_024, 65_536, 512][seed % 5] ?? 512;
  const start = startOf(clusterSize, chance);
  let possible: readonly string[] = [wordsOf(start)];
  let strength = 0;
  const trials: CrashTrials<readonly string[]> = new CrashTrials<readonly string[]>(start, {
    options,
    chance: new Prng(seed + 1),
    promised: () => possible,
    strength: () => strength,
    during: () => `change ${String(strength)} of a header of seed ${String(seed)}`,
    judge: (file, promised) => judge(file, promised),
  });
  const area = HeaderArea.read(new TrackedFile(trials.file), { forCheck: false });
  for (let change = 0; change < changesMax; change += 1) {
    const before = wordsOfArea(area);
    const to = someContent(area, chance);
    possible = [before, wordsOfContent(to)];
    try {
      area.rewrite(to);
      possible = [wordsOfArea(area)];
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'header-full') throw error;
      possible = [before];
    }
    strength += 1;
    trials.mark();
  }
  trials.judgeEpoch();
  return trials.record;
}

function startOf(clusterSize: number, chance: Prng): MemoryFile {
  const backing = chance.chance(50) ? { fileName: 'first', format: 'raw' as const } : undefined;
  const compat = chance.chance(30) ? '0.10' : '1.1';
  const file = newFile({ virtualSize: 40 * 512, clusterSize, compat, backing });
  // Old bytes stand where nothing is named.
  if (clusterSize > unusedFrom) file.writeAt(hostOffset(unusedFrom), chance.bytes(clusterSize - unusedFrom));
  const area = HeaderArea.read(new TrackedFile(file), { forCheck: false });
  area.rewrite(someContent(area, chance));
  file.flush();
  return file;
}

/** Another version, other extensions, another name: each or all of it. */
function someContent(area: HeaderArea, chance: Prng): HeaderContent {
  const version = chance.chance(70) ? area.header.version : chance.pick([2, 3] as const);
  const isOld = version === 2;
  const kept = area.header.version === 3 && !isOld && chance.chance(60);
  const unknownFields = kept ? area.header.unknownFields : new Uint8Array(0);
  const header = {
    ...area.header,
    version,
    length: isOld ? headerLengthV2 : headerLengthV3 + unknownFields.length,
    unknownFields,
    autoclear: emptyMask,
    incompatible: emptyMask,
    compatible: emptyMask,
  };
  const unknown = Array.from({ length: chance.below(3) }, () => ({
    type: 0x1234_5678,
    data: chance.bytes(chance.pick([3, 30, 250])),
  }));
  const backingName = chance.chance(70) ? 'n'.repeat(1 + chance.below(chance.pick([40, 40, 700]))) : undefined;
  const backingFormat = backingName === undefined ? undefined : chance.pick(['raw', 'qcow2']);
  const extensions = {
    ...area.extensions,
    unknown: chance.chance(50) ? area.extensions.unknown : unknown,
    backingFormat,
  };
  return { header, extensions, backingName };
}

function judge(file: MemoryFile, possible: readonly string[]): string | undefined {
  try {
    const words = wordsOf(file);
    return possible.includes(words) ? undefined : `the header says ${words}, not ${possible.join(' or ')}`;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

function wordsOf(file: MemoryFile): string {
  return wordsOfArea(HeaderArea.read(new TrackedFile(file), { forCheck: false }));
}

function wordsOfArea({ header, extensions, backingName }: HeaderArea): string {
  return wordsOfContent({ header, extensions, backingName });
}

/** All that it says; where it stands is its own affair. */
function wordsOfContent({ header, extensions, backingName }: HeaderContent): string {
  const { version, clusterBits, size, l1TableOffset, refcountTableOffset, refcountOrder } = header;
  const unknown = extensions.unknown.map(({ type, data }) => [type, Buffer.from(data).toString('hex')]);
  const words = [version, clusterBits, size, l1TableOffset, refcountTableOffset, refcountOrder];
  return JSON.stringify([words, extensions.backingFormat, unknown, backingName]);
}
