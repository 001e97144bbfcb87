// Lives one planned life of an image over a simulated file and judges what crashes at every moment of it would leave.

import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';
import { alignDown, alignUp } from '../../src/base/integers.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../src/engine/format/offsets.ts';
import type { Image, Steps } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { contentAfterCrash, FaultyFile, survivals } from '../support/faulty-file.ts';
import type { Epoch, Survival } from '../support/faulty-file.ts';
import { judgeContent, ModelDisk } from '../support/model-disk.ts';
import type { Expectation } from '../support/model-disk.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeCrash, judgeReport, openOver } from './crash-judge.ts';
import type { SecondCrash } from './crash-judge.ts';
import { firstContent } from './first-content.ts';
import type { Action, Event, LifePlan, Mishap } from './life-plan.ts';

export interface LifeOptions {
  /** Ways to end that are tried at each crash point, besides "all survives" and "all survives, torn". */
  readonly samples: number;
  /** So many of a hundred crash points are tried. */
  readonly pointPercent: number;
  readonly ignoresFlush: (site: string) => boolean;
  /** Told every state before it is judged; the file is the listener's own. */
  readonly onState: ((file: () => MemoryFile, expectation: Expectation) => void) | undefined;
}

export interface LifeRecord {
  /** How many different files were judged. */
  readonly states: number;
  /** The places that flushed something, with how often. */
  readonly flushes: ReadonlyMap<string, number>;
  /** What went wrong first, with all that is needed to see it again. */
  readonly failure: string | undefined;
}

export function live(plan: LifePlan, options: LifeOptions): LifeRecord {
  const life = new Life(plan, options);
  let failure: string | undefined;
  try {
    life.run();
  } catch (error) {
    failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  return { states: life.states, flushes: life.flushes, failure: life.failure ?? failure };
}

/** A moment at which a crash is tried: after so many changes of the epoch. */
interface CrashPoint {
  readonly count: number;
  readonly expectation: Expectation;
  readonly during: string;
}

class Life {
  readonly #plan: LifePlan;
  readonly #options: LifeOptions;
  readonly #file: FaultyFile;
  readonly #model: ModelDisk;
  readonly #contents: Prng;
  readonly #crashes: Prng;
  #image: Image;
  #points: CrashPoint[] = [];
  #changeCount = 0;
  readonly #seen = new Set<string>();
  readonly #mendingFlushes = new Map<string, number>();
  #during = 'start';
  #snapshotCount = 0;
  /** Something failed on the way, so leaks are allowed even where all has ended well. */
  #hasFailed = false;
  /** A structural operation failed: the catalog keeps its mark, and the next open repairs. */
  #isUnsettled = false;
  failure: string | undefined;

  constructor(plan: LifePlan, options: LifeOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#contents = new Prng(plan.seed + 1);
    this.#crashes = new Prng(plan.seed + 2);
    const start = firstContent(plan, this.#contents);
    this.#model = new ModelDisk(start.guest);
    this.#file = new FaultyFile(start.file, {
      observer: {
        changed: () => {
          this.#changeCount += 1;
          this.#mark();
        },
        flushing: () => {
          this.#judgeEpoch();
          this.#changeCount = 0;
        },
      },
      ignoresFlush: options.ignoresFlush,
    });
    this.#image = openOver(this.#file, plan.backing);
  }

  get states(): number {
    return this.#seen.size;
  }

  get flushes(): ReadonlyMap<string, number> {
    const flushes = new Map(this.#file.flushes);
    for (const [site, count] of this.#mendingFlushes) flushes.set(site, (flushes.get(site) ?? 0) + count);
    return flushes;
  }

  run(): void {
    for (const [index, event] of this.#plan.events.entries()) {
      this.#during = `event ${String(index)} ${JSON.stringify(event)}`;
      const goesOn = this.#live(event);
      this.#mark();
      if (this.failure !== undefined) return;
      assert.ok(Buffer.compare(contentOf(this.#image), this.#model.bytes) === 0, `${this.#during}: reads differ`);
      if (!goesOn) break;
    }
    this.#judgeEpoch();
    this.#image.abandon();
  }

  /** Does one thing; false when the image takes no more changes. */
  #live(event: Event): boolean {
    if (event.action.kind === 'reopen') {
      this.#reopen();
      return true;
    }
    const { mishap } = event;
    if (mishap !== undefined && mishap.kind !== 'cancel') {
      this.#file.failLater({ call: mishap.kind, after: mishap.after, fault: faultOf(mishap) });
    }
    const ended = this.#attempt(event.action, mishap);
    const failed = mishap !== undefined && mishap.kind !== 'cancel' && this.#file.takeFailureBack();
    if (ended) assert.ok(!failed, `${this.#during}: a failure of the file was not told`);
    this.#hasFailed ||= failed;
    if (failed && this.#model.expectation.isStructural) this.#isUnsettled = true;
    return !failed || mishap.kind !== 'flush';
  }

  /** Does it and keeps the model in step; false when it ended with a fault or was cancelled. */
  #attempt(action: Action, mishap: Mishap | undefined): boolean {
    try {
      const cancelAfter = mishap?.kind === 'cancel' ? mishap.after : undefined;
      if (this.#act(action, cancelAfter)) return true;
    } catch (error) {
      const isExpected =
        error instanceof Fault && (refusals.has(error.code) || (mishap !== undefined && failures.has(error.code)));
      if (!isExpected) throw error;
    }
    this.#readAgain();
    return false;
  }

  /** False when it was cancelled. */
  #act(action: Action, cancelAfter: number | undefined): boolean {
    const image = this.#image;
    const model = this.#model;
    switch (action.kind) {
      case 'write': {
        const span = this.#spanInside(action);
        const bytes = this.#contents.bytes(span.length);
        // A stretch of zeroes that is to be found.
        if (action.detectZeroes) bytes.fill(0, Math.floor(span.length / 3));
        model.announce(span.offset, bytes);
        image.write(guestOffset(span.offset), bytes, { detectZeroes: action.detectZeroes });
        model.write(span.offset, bytes);
        return true;
      }
      case 'zero': {
        const span = this.#spanInside(action);
        return this.#clear(
          span,
          image.zero(guestOffset(span.offset), span.length, { unmap: action.unmap }),
          cancelAfter,
        );
      }
      case 'discard': {
        const span = this.#spanInside(action);
        const steps = image.discard(guestOffset(span.offset), span.length);
        return this.#clear(this.#wholeClusters(span), steps, cancelAfter);
      }
      case 'flush':
        this.#flush();
        return true;
      case 'createSnapshot':
        return this.#createSnapshot(cancelAfter);
      case 'deleteSnapshot':
      case 'revertSnapshot':
        return this.#useSnapshot(action, cancelAfter);
      case 'resize':
        return this.#resize(action.virtualSize, cancelAfter);
      case 'reopen':
        throw new Error('a reopening has no mishaps');
    }
  }

  #clear(
    span: { readonly offset: number; readonly length: number },
    steps: Steps<void>,
    cancelAfter: number | undefined,
  ): boolean {
    const zeroes = new Uint8Array(span.length);
    this.#model.announce(span.offset, zeroes);
    if (!runUntil(steps, cancelAfter)) return false;
    this.#model.write(span.offset, zeroes);
    return true;
  }

  #createSnapshot(cancelAfter: number | undefined): boolean {
    this.#snapshotCount += 1;
    const name = `s${String(this.#snapshotCount)}`;
    const snapshots = [...this.#model.snapshots, { name, bytes: this.#model.bytes }];
    this.#model.announceSnapshots(snapshots);
    const moment = { seconds: 1_700_000_000, nanoseconds: this.#snapshotCount };
    if (!runUntil(this.#image.createSnapshot({ name, ...moment, idFloor: 1 }), cancelAfter)) return false;
    this.#model.replaceSnapshots(snapshots);
    this.#flush();
    return true;
  }

  #useSnapshot(
    action: { readonly kind: 'deleteSnapshot' | 'revertSnapshot'; readonly index: number },
    cancelAfter: number | undefined,
  ): boolean {
    const model = this.#model;
    const index = action.index % Math.max(1, model.snapshots.length);
    const snapshot = model.snapshots[index];
    if (snapshot === undefined) return true;
    if (action.kind === 'deleteSnapshot') {
      const rest = model.snapshots.filter((one) => one !== snapshot);
      model.announceSnapshots(rest);
      if (!runUntil(this.#image.deleteSnapshot(snapshot.name), cancelAfter)) return false;
      model.replaceSnapshots(rest);
      this.#flush();
      return true;
    }
    model.announceSize(snapshot.bytes.length);
    model.announce(0, snapshot.bytes);
    if (!runUntil(this.#image.revertSnapshot(snapshot.name), cancelAfter)) return false;
    model.replace(snapshot.bytes);
    this.#flush();
    return true;
  }

  #resize(virtualSize: number, cancelAfter: number | undefined): boolean {
    const before = this.#model.bytes;
    this.#model.announceSize(virtualSize);
    // Cut clusters are dropped before the size is: until then the file below shows through where they were.
    const below = this.#plan.backing?.subarray(virtualSize, before.length);
    if (below !== undefined) this.#model.announce(virtualSize, below);
    const steps = this.#image.resize({ virtualSize, allowShrink: true, preallocation: 'off' });
    if (!runUntil(steps, cancelAfter)) return false;
    const after = new Uint8Array(virtualSize);
    after.set(before.subarray(0, virtualSize));
    this.#model.replace(after);
    this.#flush();
    return true;
  }

  #flush(): void {
    this.#image.flush();
    this.#flushed();
    const count = this.#file.flushCount;
    this.#image.flush();
    assert.equal(this.#file.flushCount, count, `${this.#during}: a flush with nothing new flushes nothing`);
  }

  #flushed(): void {
    this.#model.flushed();
    if (this.#isUnsettled) this.#model.announceSize(this.#model.bytes.length);
  }

  #reopen(): void {
    this.#image.close();
    this.#flushed();
    this.#judgeEpoch();
    const copy = openOver(this.#file.content.fork(), this.#plan.backing);
    assert.equal(copy.needsRecovery, false);
    const wrong = judgeReport(runToEnd(copy.check()), { mayLeak: this.#hasFailed });
    assert.equal(wrong, undefined, `${this.#during}: after closing`);
    copy.abandon();
    this.#file.reopen();
    this.#image = openOver(this.#file, this.#plan.backing);
  }

  /** After a fault or a cancel: each sector is old or new, and the model goes on with what there is. */
  #readAgain(): void {
    const found = contentOf(this.#image);
    const wrong = judgeContent(found, this.#model.expectation);
    assert.equal(wrong, undefined, `${this.#during}: after a fault or a cancel`);
    this.#model.replace(found);
    const names = this.#image.snapshots().map(({ name }) => name);
    const list = this.#model.expectation.snapshotLists.find(
      (one) => one.map(({ name }) => name).join() === names.join(),
    );
    assert.ok(list !== undefined, `${this.#during}: the snapshots are ${names.join()} after a fault or a cancel`);
    this.#model.replaceSnapshots(list);
  }

  #spanInside(span: { readonly offset: number; readonly length: number }): { offset: number; length: number } {
    const size = this.#image.virtualSize;
    const offset = Math.min(span.offset, size - 512);
    return { offset, length: Math.min(span.length, size - offset) };
  }

  /** A discard acts on whole clusters; the rest of the disk's last one counts as whole. */
  #wholeClusters(span: { readonly offset: number; readonly length: number }): { offset: number; length: number } {
    const { clusterSize } = this.#plan.spec;
    const end = span.offset + span.length;
    const first = alignUp(span.offset, clusterSize);
    const last = end === this.#image.virtualSize ? end : alignDown(end, clusterSize);
    return { offset: Math.min(first, last), length: Math.max(0, last - first) };
  }

  #mark(): void {
    this.#points.push({ count: this.#changeCount, expectation: this.#model.expectation, during: this.#during });
  }

  /** Tries crashes at the moments since the last flush. */
  #judgeEpoch(): void {
    const points = this.#points;
    this.#points = [];
    const epoch = this.#file.epoch;
    for (const point of points) {
      if (this.failure !== undefined) return;
      if (!this.#crashes.chance(this.#options.pointPercent)) continue;
      const choice = { samples: this.#options.samples, chance: this.#crashes };
      for (const survival of survivals(epoch, point.count, choice)) this.#judge(epoch, point, survival);
    }
  }

  #judge(epoch: Epoch, point: CrashPoint, survival: Survival): void {
    const file = contentAfterCrash(epoch, survival);
    const key = `${String(file.size)}:${String(crcOf(file))}`;
    if (this.failure !== undefined || this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#options.onState?.(() => file.fork(), point.expectation);
    const again = this.#crashes.chance(25) ? this.#secondCrash() : undefined;
    const goesOn = again === undefined && this.#crashes.chance(10) ? this.#crashes.below(1_000_000) : undefined;
    const { backing } = this.#plan;
    const wrong = judgeCrash(file, { expectation: point.expectation, backing, goesOn, again });
    if (wrong === undefined) return;
    const changes = epoch.changes.slice(0, point.count).map((change, index) => {
      const fate = survival.kept.includes(index) ? 'kept' : 'lost';
      const end = change.kind === 'write' ? ` +${String(change.bytes.length)}` : '';
      const text = change.kind === 'resize' ? `to ${String(change.size)}` : `at ${String(change.offset)}${end}`;
      return `    ${fate} ${change.kind} ${text}`;
    });
    const torn =
      survival.tornAfterSectors === undefined ? '' : `, torn after ${String(survival.tornAfterSectors)} sectors`;
    this.failure = `${wrong}\n  crash in ${point.during}${torn}; changes since the last flush:\n${changes.join('\n')}`;
  }

  #secondCrash(): SecondCrash {
    return {
      chance: this.#crashes.fork(),
      ignoresFlush: this.#options.ignoresFlush,
      flushed: (site) => {
        this.#mendingFlushes.set(site, (this.#mendingFlushes.get(site) ?? 0) + 1);
      },
    };
  }
}

/** What an image may refuse on its own: nothing has changed then. */
const refusals: ReadonlySet<FaultCode> = new Set(['refcount-overflow', 'snapshots-prevent-resize']);

/** What a failing file makes of a verb. */
const failures: ReadonlySet<FaultCode> = new Set(['insufficient-storage', 'io-error', 'image-read-only']);

function faultOf(mishap: Mishap): Fault {
  return new Fault(mishap.kind === 'write' ? 'insufficient-storage' : 'io-error', { reason: 'simulated' });
}

/** Runs to the end, or cancels after so many steps; false when it was cancelled. */
function runUntil(steps: Steps<unknown>, cancelAfter: number | undefined): boolean {
  for (let count = 0; count !== cancelAfter; count += 1) {
    if (steps.next().done === true) return true;
  }
  let ended = steps.return(undefined);
  while (ended.done !== true) ended = steps.next();
  return false;
}

function crcOf(file: MemoryFile): number {
  const bytes = new Uint8Array(file.size);
  file.readAt(hostOffset(0), bytes);
  return crc32(bytes);
}
