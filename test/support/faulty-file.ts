// A file in memory that remembers what a crash could take away, counts and ignores flushes, and fails on request.

import { assert, present } from '../../src/base/assert.ts';
import type { ByteSpan } from '../../src/base/byte-span.ts';
import type { Fault } from '../../src/base/fault.ts';
import { sectorSize } from '../../src/base/units.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { lostWrites } from '../../src/engine/file/file-faults.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { HostOffset } from '../../src/engine/format/offsets.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import type { Prng } from './prng.ts';

/** One change of the file since its last flush. */
export type Change =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'punch'; readonly offset: number; readonly length: number }
  | { readonly kind: 'resize'; readonly size: number };

/** What a crash would find: the content at the last flush, and the changes that may or may not have reached it. */
export interface Epoch {
  readonly base: MemoryFile;
  readonly changes: readonly Change[];
}

/** Which changes of an epoch a crash leaves. */
export interface Survival {
  /** Indexes into the changes, rising. */
  readonly kept: readonly number[];
  /** Lost writes whose growth of the file was not lost: the new end reads as zeroes. */
  readonly grown: readonly number[];
  /** So many whole sectors of the last kept write were written; undefined when all of it was. */
  readonly tornAfterSectors: number | undefined;
}

export interface FaultyFileOptions {
  /** Told after every change, and before a flush ends an epoch. */
  readonly observer: { changed(): void; flushing(): void } | undefined;
  /**
   * Whether a flush is left out; asked only where there is something to flush. `places` asked for it, the innermost first:
   * `metadata/write-order.ts:104` in the engine, `name.ts:17` elsewhere.
   */
  readonly ignoresFlush: (places: readonly string[]) => boolean;
  /** It takes bytes of other files in blocks of so many, as a write that nobody made; left out when it does not. */
  readonly copyBlock?: number | undefined;
}

/** A fault to come: after `after` more calls of this kind, the next one fails. Punches and new sizes count as writes. */
export interface PlannedFailure {
  readonly call: 'read' | 'write' | 'flush';
  readonly after: number;
  readonly fault: Fault;
}

export class FaultyFile implements ByteFile {
  /** Bytes that came from other files. */
  copiedLength = 0;
  readonly #options: FaultyFileOptions;
  readonly #content: MemoryFile;
  #base: MemoryFile;
  #changes: Change[] = [];
  #failure: { call: PlannedFailure['call']; after: number; fault: Fault } | undefined;
  #writesLost = false;
  #isClosed = false;
  #flushCount = 0;

  /** Starts with a content that is durable. */
  constructor(content: MemoryFile, options: FaultyFileOptions) {
    this.#options = options;
    this.#content = content.fork();
    this.#base = content.fork();
  }

  get size(): number {
    return this.#content.size;
  }

  get allocatedSize(): number {
    return this.#content.allocatedSize;
  }

  /** The changes that no flush has covered yet, over the content that is durable. */
  get epoch(): Epoch {
    return { base: this.#base, changes: [...this.#changes] };
  }

  /** What a reader of the file finds now, flushed or not; not to be changed. */
  get content(): MemoryFile {
    return this.#content;
  }

  /** How many flushes had something to make durable. */
  get flushCount(): number {
    return this.#flushCount;
  }

  failLater(failure: PlannedFailure): void {
    this.#failure = { ...failure };
  }

  /** Takes a planned failure back; whether it had come true. */
  takeFailureBack(): boolean {
    const hasFailed = this.#failure === undefined;
    this.#failure = undefined;
    return hasFailed;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    assert(!this.#isClosed, 'the file is open');
    if (this.#failsNow('read')) throw this.#takeFault();
    this.#content.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#change({ kind: 'write', offset, bytes: source.slice() });
  }

  get copyBlock(): number | undefined {
    return this.#options.copyBlock;
  }

  copyFrom(offset: HostOffset, source: ByteFile, span: ByteSpan): number {
    if (this.copyBlock === undefined) return 0;
    const bytes = new Uint8Array(Math.max(0, Math.min(span.length, source.size - span.offset)));
    source.readAt(hostOffset(span.offset), bytes);
    this.#change({ kind: 'write', offset, bytes });
    this.copiedLength += bytes.length;
    return bytes.length;
  }

  punch(offset: HostOffset, length: number): void {
    this.#change({ kind: 'punch', offset, length });
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#change({ kind: 'resize', size: Math.max(this.size, offset + length) });
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#content.nextData(offset);
  }

  resize(size: number): void {
    this.#change({ kind: 'resize', size });
  }

  startWriteBack(_offset: HostOffset, _length: number): void {
    assert(!this.#isClosed, 'the file is open');
  }

  flush(): void {
    this.#admitChange();
    if (this.#failsNow('flush')) {
      this.#writesLost = true;
      throw this.#takeFault();
    }
    if (this.#changes.length === 0) return;
    this.#flushCount += 1;
    if (this.#options.ignoresFlush(callPlaces())) return;
    this.#options.observer?.flushing();
    this.#base = this.#content.fork();
    this.#changes = [];
  }

  close(): void {
    this.#isClosed = true;
  }

  /** The same file, opened once more. */
  reopen(): void {
    assert(this.#isClosed, 'the file was closed');
    this.#isClosed = false;
  }

  #change(change: Change): void {
    this.#admitChange();
    if (this.#failsNow('write')) {
      // Half of it has happened, as with a disk that fills up.
      if (change.kind === 'write') this.#record(torn(change, Math.floor(change.bytes.length / 2 / sectorSize)));
      throw this.#takeFault();
    }
    this.#record(change);
  }

  #record(change: Change): void {
    if (change.kind === 'write' && change.bytes.length === 0) return;
    this.#changes.push(change);
    apply(change, this.#content);
    this.#options.observer?.changed();
  }

  #admitChange(): void {
    assert(!this.#isClosed, 'the file is open');
    if (this.#writesLost) throw lostWrites('/nowhere');
  }

  #failsNow(call: PlannedFailure['call']): boolean {
    if (this.#failure?.call !== call) return false;
    if (this.#failure.after === 0) return true;
    this.#failure.after -= 1;
    return false;
  }

  #takeFault(): Fault {
    const { fault } = present(this.#failure, 'a failure was planned');
    this.#failure = undefined;
    return fault;
  }
}

/** The content that a crash leaves, cheap: it shares its pages with the epoch's base. */
export function contentAfterCrash(epoch: Epoch, survival: Survival): MemoryFile {
  const content = epoch.base.fork();
  const grown = new Set(survival.grown);
  const kept = new Set(survival.kept);
  const last = survival.kept.at(-1);
  for (const [index, change] of epoch.changes.entries()) {
    if (kept.has(index)) {
      const isTorn = index === last && survival.tornAfterSectors !== undefined;
      apply(isTorn ? torn(change, survival.tornAfterSectors) : change, content);
    }
    if (grown.has(index) && change.kind === 'write') {
      content.resize(Math.max(content.size, change.offset + change.bytes.length));
    }
  }
  return content;
}

/** Everything that was changed before the crash point survives. */
export function prefixSurvival(count: number): Survival {
  return { kept: Array.from({ length: count }, (_, index) => index), grown: [], tornAfterSectors: undefined };
}

/**
 * Ways a crash after the first `count` changes of an epoch may end: all changes, all but torn, and `samples` others in
 * which some got lost: few or many, the newest or any, with or without the growth of the file.
 */
export function survivals(epoch: Epoch, count: number, choice: { samples: number; chance: Prng }): readonly Survival[] {
  const { samples, chance } = choice;
  const all = prefixSurvival(count);
  const found: Survival[] = [all];
  if (count === 0) return found;
  found.push(...tearings(epoch, all, chance));
  for (let sample = 0; sample < samples; sample += 1) {
    const keepPercent = chance.pick([10, 50, 90]);
    const kept = all.kept.filter((index) =>
      // Half of the samples lose exactly one: the sharpest question to ask of a write order.
      sample % 2 === 0 ? chance.chance(keepPercent) : index !== sample % count,
    );
    const lost = all.kept.filter((index) => !kept.includes(index));
    const survival = { kept, grown: chance.chance(50) ? lost : [], tornAfterSectors: undefined };
    found.push(chance.chance(30) ? (tearings(epoch, survival, chance)[0] ?? survival) : survival);
  }
  return found;
}

/** The same survival with its last write torn at a sector, if it is long enough for that. */
function tearings(epoch: Epoch, survival: Survival, chance: Prng): readonly Survival[] {
  const last = epoch.changes[survival.kept.at(-1) ?? -1];
  if (last?.kind !== 'write') return [];
  const sectors = sectorsTouched(last);
  return sectors < 2 ? [] : [{ ...survival, tornAfterSectors: 1 + chance.below(sectors - 1) }];
}

function sectorsTouched(write: { readonly offset: number; readonly bytes: Uint8Array }): number {
  return Math.ceil((write.offset + write.bytes.length) / sectorSize) - Math.floor(write.offset / sectorSize);
}

/** A write cut at a sector of the file. */
function torn(change: Change, sectors: number): Change {
  assert(change.kind === 'write', 'only writes are torn');
  const firstSector = Math.floor(change.offset / sectorSize);
  const end = (firstSector + sectors) * sectorSize;
  return { ...change, bytes: change.bytes.subarray(0, Math.max(0, end - change.offset)) };
}

function apply(change: Change, content: MemoryFile): void {
  switch (change.kind) {
    case 'write':
      content.writeAt(hostOffset(change.offset), change.bytes);
      return;
    case 'punch':
      content.punch(hostOffset(change.offset), change.length);
      return;
    case 'resize':
      content.resize(change.size);
      return;
  }
}

/** The places that are being run, the innermost first; wrappers of files pass calls on and do not count. */
function callPlaces(): readonly string[] {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = stackDepth;
  const stack = present(new Error().stack, 'errors have stacks');
  Error.stackTraceLimit = stackTraceLimit;
  return [...stack.matchAll(/([^/\s(]+(?:\/[^/\s]+)*)\.ts:(\d+):\d+\)?$/gm)]
    .map(([, path = '', line = '']) => `${placeName(path)}.ts:${line}`)
    .filter((place) => !passingOn.test(place));
}

function placeName(path: string): string {
  const [, inEngine] = /\/src\/engine\/(.+)$/.exec(path) ?? [];
  return inEngine ?? path.slice(path.lastIndexOf('/') + 1);
}

const stackDepth = 60;
const passingOn = /(?:^|\/)(?:faulty-file|tracked-file)\.ts:/;
