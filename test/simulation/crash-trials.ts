// Tries crashes at every moment of what is done to a file, and keeps the first that breaks a promise.

import { crc32 } from 'node:zlib';

import { sectorSize } from '../../src/base/units.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { contentAfterCrash, FaultyFile, survivals } from '../support/faulty-file.ts';
import type { Epoch, Survival } from '../support/faulty-file.ts';
import type { Prng } from '../support/prng.ts';

export interface TrialOptions {
  /** Ways to end that are tried at each crash point, besides "all survives" and "all survives, torn". */
  readonly samples: number;
  /** So many of a hundred crash points are tried. */
  readonly pointPercent: number;
  /** `merged`: crashes are tried only where a flush was left out; all else is as ever. */
  readonly epochs: 'all' | 'merged';
  /** Whether a flush is left out; given the places that asked for it, the innermost first. */
  readonly ignoresFlush: (places: readonly string[]) => boolean;
}

export interface TrialRecord {
  /** How many different files were judged. */
  readonly states: number;
  /** The places that flushed something. */
  readonly places: ReadonlySet<string>;
  /** What went wrong first, with all that is needed to see it again. */
  readonly failure: string | undefined;
}

export interface TrialParts<Promised> {
  readonly options: TrialOptions;
  readonly chance: Prng;
  /** What a crash at this moment must leave; the value stays true however things go on. */
  readonly promised: () => Promised;
  /** Rises whenever more is promised of the same bytes: they are judged again then. */
  readonly strength: () => number;
  /** What is being done, in words. */
  readonly during: () => string;
  /** What is wrong with a file that a crash has left, its own to change: a sentence, or undefined. */
  readonly judge: (file: MemoryFile, promised: Promised) => string | undefined;
  /** How the file takes bytes of other files; left out when it does not. */
  readonly copyBlock?: number | undefined;
}

/** Half of all seeds have a file that takes bytes of other files itself, in blocks that are as small as any cluster. */
export function copyBlockOf(seed: number): number | undefined {
  return seed % 2 === 0 ? undefined : sectorSize;
}

/** A moment at which a crash is tried: after so many changes of the epoch. */
interface CrashPoint<Promised> {
  readonly count: number;
  readonly promised: Promised;
  readonly strength: number;
  readonly during: string;
}

export class CrashTrials<Promised> {
  readonly file: FaultyFile;
  readonly #parts: TrialParts<Promised>;
  /** By the bytes: the strongest promise by which they were judged. */
  readonly #seen = new Map<string, number>();
  readonly #places = new Set<string>();
  #points: CrashPoint<Promised>[] = [];
  #changeCount = 0;
  #isMerged = false;
  #failure: string | undefined;

  /** Starts with a durable content. */
  constructor(start: MemoryFile, parts: TrialParts<Promised>) {
    this.#parts = parts;
    this.file = new FaultyFile(start, {
      observer: {
        changed: () => {
          this.#changeCount += 1;
          this.mark();
        },
        flushing: () => {
          this.judgeEpoch();
          this.#changeCount = 0;
          this.#isMerged = false;
        },
      },
      ignoresFlush: (places) => {
        this.flushedAt(places);
        const isIgnored = parts.options.ignoresFlush(places);
        this.#isMerged ||= isIgnored;
        return isIgnored;
      },
      copyBlock: parts.copyBlock,
    });
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  get record(): TrialRecord {
    return { states: this.#seen.size, places: this.#places, failure: this.#failure };
  }

  /** Notes places that have flushed something. */
  flushedAt(places: readonly string[]): void {
    for (const place of places) this.#places.add(place);
  }

  /** A crash at this moment is tried, with what is promised now. */
  mark(): void {
    const { promised, strength, during } = this.#parts;
    const count = this.#changeCount;
    this.#points.push({ count, promised: promised(), strength: strength(), during: during() });
  }

  /** Tries crashes at the moments since the last flush. */
  judgeEpoch(): void {
    const { chance, options } = this.#parts;
    const points = this.#points;
    this.#points = [];
    if (options.epochs === 'merged' && !this.#isMerged) return;
    const { epoch } = this.file;
    for (const point of points) {
      if (this.#failure !== undefined) return;
      if (!chance.chance(options.pointPercent)) continue;
      const choice = { samples: options.samples, chance };
      for (const survival of survivals(epoch, point.count, choice)) this.#judge(epoch, point, survival);
    }
  }

  #judge(epoch: Epoch, point: CrashPoint<Promised>, survival: Survival): void {
    const file = contentAfterCrash(epoch, survival);
    const key = `${String(file.size)}:${String(crcOf(file))}`;
    if (this.#failure !== undefined || (this.#seen.get(key) ?? -1) >= point.strength) return;
    this.#seen.set(key, point.strength);
    const wrong = this.#parts.judge(file, point.promised);
    if (wrong !== undefined)
      this.#failure = `${wrong}\n  crash in ${point.during}${storyOf(epoch, point.count, survival)}`;
  }
}

function storyOf(epoch: Epoch, count: number, survival: Survival): string {
  const changes = epoch.changes.slice(0, count).map((change, index) => {
    const fate = survival.kept.includes(index) ? 'kept' : 'lost';
    const end = change.kind === 'write' ? ` +${String(change.bytes.length)}` : '';
    const text = change.kind === 'resize' ? `to ${String(change.size)}` : `at ${String(change.offset)}${end}`;
    return `    ${fate} ${change.kind} ${text}`;
  });
  const { tornAfterSectors } = survival;
  const torn = tornAfterSectors === undefined ? '' : `, torn after ${String(tornAfterSectors)} sectors`;
  return `${torn}; changes since the last flush:\n${changes.join('\n')}`;
}

function crcOf(file: MemoryFile): number {
  const bytes = new Uint8Array(file.size);
  file.readAt(hostOffset(0), bytes);
  return crc32(bytes);
}
