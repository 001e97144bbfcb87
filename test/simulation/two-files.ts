// Crashes at every moment of an image that keeps its data in an external file: what reached one file says nothing of the
// other.

import { crc32 } from 'node:zlib';

import { alignDown, alignUp } from '../../src/base/integers.ts';
import { sectorSize } from '../../src/base/units.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec, NewEncryption } from '../../src/engine/image.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { contentAfterCrash, FaultyFile, prefixSurvival, survivals } from '../support/faulty-file.ts';
import type { Epoch } from '../support/faulty-file.ts';
import { luksOf } from '../support/memory-chain.ts';
import { fileBytes } from '../support/memory-parts.ts';
import { smallSpec } from '../support/plain-spec.ts';
import { judgeContent, ModelDisk } from '../support/model-disk.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport } from './crash-judge.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

const actionsPerLife = 14;

/** From here on lives discard, too, and every second image is encrypted; earlier ones stay what they were. */
const widerFromSeed = 30;

interface Start {
  readonly spec: CreateSpec;
  readonly raw: boolean;
  readonly backing: Uint8Array | undefined;
  readonly key: NewEncryption | undefined;
}

interface Pair {
  readonly file: MemoryFile;
  readonly data: MemoryFile;
}

/** Lives the life of a seed. */
export function liveTwoFiles(seed: number, options: TrialOptions): TrialRecord {
  const life = new TwoFileLife(seed, options);
  try {
    life.run();
  } catch (error) {
    const failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { ...life.record, failure: life.record.failure ?? failure };
  }
  return life.record;
}

class TwoFileLife {
  readonly #start: Start;
  readonly #discards: boolean;
  readonly #options: TrialOptions;
  readonly #chance: Prng;
  readonly #crashes: Prng;
  readonly #file: FaultyFile;
  readonly #data: FaultyFile;
  readonly #model: ModelDisk;
  readonly #places = new Set<string>();
  readonly #seen = new Set<number>();
  #during = 'start';
  #isMerged = false;
  #failure: string | undefined;

  constructor(seed: number, options: TrialOptions) {
    this.#options = options;
    this.#chance = new Prng(seed);
    this.#crashes = new Prng(seed + 1);
    this.#discards = seed >= widerFromSeed;
    const key = this.#discards && seed % 2 === 0 ? luksOf(seed) : undefined;
    this.#start = { ...startOf(this.#chance), key };
    const { spec, raw, backing } = this.#start;
    const pair = { file: MemoryFile.empty(), data: MemoryFile.empty() };
    const dataFile = { fileName: 'd', path: '/nowhere', raw };
    runToEnd(createImage(pair.file, { ...spec, dataFile, encryption: key }, pair.data));
    this.#file = this.#faulty(pair.file);
    this.#data = this.#faulty(pair.data);
    this.#model = new ModelDisk(backing ?? new Uint8Array(spec.virtualSize), []);
  }

  get record(): TrialRecord {
    return { states: this.#seen.size, places: this.#places, failure: this.#failure };
  }

  run(): void {
    const image = openPair({ file: this.#file, data: this.#data }, this.#start);
    for (let index = 0; index < actionsPerLife && this.#failure === undefined; index += 1) this.#act(image);
    image.close();
    this.#model.flushed();
    this.#judgeAll();
  }

  #faulty(content: MemoryFile): FaultyFile {
    return new FaultyFile(content, {
      observer: { changed: () => this.#judgeAll(), flushing: () => undefined },
      ignoresFlush: (places) => {
        for (const place of places) this.#places.add(place);
        const isIgnored = this.#options.ignoresFlush(places);
        this.#isMerged ||= isIgnored;
        return isIgnored;
      },
    });
  }

  #act(image: Image): void {
    const chance = this.#chance;
    const model = this.#model;
    const size = model.bytes.length;
    const sort = chance.below(100);
    // Whole sectors: only they are old or new as a whole.
    const offset = sectorSize * chance.below(size / sectorSize);
    const lengthMax = (this.#start.spec.clusterSize * 4) / sectorSize;
    const length = Math.min(sectorSize * (1 + chance.below(lengthMax)), size - offset);
    this.#during = `${String(sort)} at ${String(offset)} +${String(length)} of ${String(size)}`;
    if (sort < 50) {
      const bytes = chance.bytes(length);
      model.announce(offset, bytes);
      image.write(guestOffset(offset), bytes, { detectZeroes: false });
      model.write(offset, bytes);
    } else if (this.#discards && sort < 65) {
      // Whole clusters, the rest of the last one, too.
      const { clusterSize } = this.#start.spec;
      const first = alignDown(offset, clusterSize);
      const whole = Math.min(alignUp(offset + length, clusterSize), size) - first;
      model.announce(first, new Uint8Array(whole));
      runToEnd(image.discard(guestOffset(first), whole));
      model.write(first, new Uint8Array(whole));
    } else if (sort < 75) {
      model.announce(offset, new Uint8Array(length));
      runToEnd(image.zero(guestOffset(offset), length, { unmap: sort % 2 === 0 }));
      model.write(offset, new Uint8Array(length));
    } else if (sort < 80) {
      this.#resize(image, alignUp(Math.ceil((size * (50 + chance.below(100))) / 100), sectorSize));
    } else {
      image.flush();
      model.flushed();
    }
    this.#judgeAll();
  }

  #resize(image: Image, virtualSize: number): void {
    const model = this.#model;
    const before = model.bytes;
    model.announceSize(virtualSize);
    const below = this.#start.backing?.subarray(virtualSize, before.length);
    if (below !== undefined) model.announce(virtualSize, below);
    runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation: 'off' }));
    const after = new Uint8Array(virtualSize);
    after.set(before.subarray(0, virtualSize));
    model.replace(after);
    image.flush();
    model.flushed();
  }

  /** Each file ends for itself: all of one and nothing of the other are the sharpest pairs. */
  #judgeAll(): void {
    if (this.#options.epochs === 'merged' && !this.#isMerged) return;
    if (!this.#crashes.chance(Math.min(this.#options.pointPercent, 50))) return;
    const pairs: (readonly [MemoryFile, MemoryFile])[] = [
      [newest(this.#file.epoch), oldest(this.#data.epoch)],
      [oldest(this.#file.epoch), newest(this.#data.epoch)],
    ];
    for (let sample = 0; sample < this.#options.samples; sample += 1) {
      pairs.push([this.#anyOf(this.#file.epoch), this.#anyOf(this.#data.epoch)]);
    }
    for (const [file, data] of pairs) this.#judge({ file, data });
  }

  #anyOf(epoch: Epoch): MemoryFile {
    const chance = this.#crashes;
    const count = epoch.changes.length;
    return contentAfterCrash(epoch, chance.pick(survivals(epoch, count, { samples: 3, chance })));
  }

  #judge(pair: Pair): void {
    const key = crc32(fileBytes(pair.data), crc32(fileBytes(pair.file)));
    if (this.#failure !== undefined || this.#seen.has(key)) return;
    this.#seen.add(key);
    const { expectation } = this.#model;
    const image = openPair(pair, this.#start);
    if (image.needsRecovery) runToEnd(image.recover());
    const wrong =
      judgeReport(runToEnd(image.check()), { mayLeak: true }) ?? judgeContent(contentOf(image), expectation);
    image.abandon();
    if (wrong !== undefined)
      this.#failure = `${wrong}\n  crash in ${this.#during} of ${JSON.stringify(this.#start.spec)}`;
  }
}

function startOf(chance: Prng): Omit<Start, 'key'> {
  const extendedL2 = chance.chance(25);
  const clusterSize = extendedL2 ? 16_384 : chance.pick([512, 1024, 4096]);
  const raw = chance.chance(40);
  const virtualSize = sectorSize * (1 + chance.below((clusterSize * 12) / sectorSize));
  const hasBacking = !raw && chance.chance(50);
  return {
    raw,
    backing: hasBacking ? chance.bytes(virtualSize) : undefined,
    spec: {
      ...smallSpec,
      virtualSize,
      clusterSize,
      extendedL2,
      lazyRefcounts: chance.chance(30),
      backing: hasBacking ? { fileName: 'base', format: 'raw' } : undefined,
    },
  };
}

function openPair(
  pair: { readonly file: MemoryFile | FaultyFile; readonly data: MemoryFile | FaultyFile },
  { backing, key }: Pick<Start, 'backing' | 'key'>,
): Image {
  const layer = backing === undefined ? undefined : new RawLayer(MemoryFile.of(backing));
  const image = Image.openFile(pair.file, { writable: true, backing: layer, dataFile: pair.data });
  if (key !== undefined) image.unlock(key.volumeKey);
  return image;
}

function newest(epoch: Epoch): MemoryFile {
  return contentAfterCrash(epoch, prefixSurvival(epoch.changes.length));
}

function oldest(epoch: Epoch): MemoryFile {
  return contentAfterCrash(epoch, prefixSurvival(0));
}
