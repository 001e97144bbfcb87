// Lives one planned life of an image over a simulated file and judges what crashes at every moment of it would leave.

import assert from 'node:assert/strict';

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';
import { alignDown, alignUp } from '../../src/base/integers.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { Image, Steps } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { FaultyFile } from '../support/faulty-file.ts';
import { judgeContent, ModelDisk } from '../support/model-disk.ts';
import type { Expectation } from '../support/model-disk.ts';
import { Prng } from '../support/prng.ts';
import { BitmapModel, judgeBitmaps } from './bitmap-model.ts';
import type { BitmapPromise } from './bitmap-model.ts';
import { contentOf, judgeCrash, judgeReport, judgeSnapshots } from './crash-judge.ts';
import type { SecondCrash } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';
import { firstContent } from './first-content.ts';
import { foreignBitmapNames } from './foreign-content.ts';
import type { Action, Event, LifePlan, Mishap } from './life-plan.ts';
import { openPlanned, packable, runUntil } from './life-steps.ts';

export interface LifeOptions extends TrialOptions {
  /** Told every state before it is judged; the file is the listener's own. */
  readonly onState: ((file: () => MemoryFile, expectation: Expectation) => void) | undefined;
}

export function live(plan: LifePlan, options: LifeOptions): TrialRecord {
  const life = new Life(plan, options);
  let failure: string | undefined;
  try {
    life.run();
  } catch (error) {
    failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const { record } = life;
  return { ...record, failure: record.failure ?? failure };
}

/** What a crash must leave. */
interface Promised extends Expectation {
  readonly bitmaps: BitmapPromise;
}

class Life {
  readonly #plan: LifePlan;
  readonly #options: LifeOptions;
  readonly #trials: CrashTrials<Promised>;
  readonly #file: FaultyFile;
  readonly #model: ModelDisk;
  readonly #bitmaps: BitmapModel;
  readonly #contents: Prng;
  readonly #crashes: Prng;
  #image: Image;
  #during = 'start';
  #snapshotCount = 0;
  #flushCount = 0;
  /** Something failed on the way, so leaks are allowed even where all has ended well. */
  #hasFailed = false;
  /** A structural operation failed: the catalog keeps its mark, and the next open repairs. */
  #isUnsettled = false;

  constructor(plan: LifePlan, options: LifeOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#contents = new Prng(plan.seed + 1);
    this.#crashes = new Prng(plan.seed + 2);
    const start = firstContent(plan, this.#contents);
    this.#bitmaps = new BitmapModel(foreignBitmapNames, start.guest);
    this.#model = new ModelDisk(start.guest, start.snapshots);
    this.#trials = new CrashTrials(start.file, {
      options,
      chance: this.#crashes,
      promised: () => ({ ...this.#model.expectation, bitmaps: this.#bitmaps.promise }),
      strength: () => this.#flushCount,
      during: () => this.#during,
      judge: (file, expectation) => this.#judge(file, expectation),
    });
    this.#file = this.#trials.file;
    this.#image = openPlanned(this.#file, plan);
  }

  get record(): TrialRecord {
    return this.#trials.record;
  }

  run(): void {
    for (const [index, event] of this.#plan.events.entries()) {
      this.#during = `event ${String(index)} ${JSON.stringify(event)}`;
      const goesOn = this.#live(event);
      this.#trials.mark();
      if (this.#trials.failure !== undefined) return;
      assert.ok(Buffer.compare(contentOf(this.#image), this.#model.bytes) === 0, `${this.#during}: reads differ`);
      if (!goesOn) break;
    }
    this.#trials.judgeEpoch();
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
      case 'pack': {
        const span = this.#clustersAround(action);
        const bytes = packable(this.#contents, span.length, this.#plan.spec.clusterSize);
        model.announce(span.offset, bytes);
        const steps = image.writeCompressed(guestOffset(span.offset), bytes, { detectZeroes: action.detectZeroes });
        if (!runUntil(steps, cancelAfter)) return false;
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
      case 'compact':
        if (!runUntil(image.compact({ detectZeroes: true }), cancelAfter)) return false;
        this.#flush();
        return true;
      case 'flush':
        this.#flush();
        return true;
      case 'createSnapshot':
        return this.#createSnapshot(cancelAfter);
      case 'deleteSnapshot':
      case 'revertSnapshot':
        return this.#useSnapshot(action, cancelAfter);
      case 'vmState':
        return this.#writeVmState(action, cancelAfter);
      case 'resize':
        return this.#resize(action, cancelAfter);
      case 'settle':
        image.settle();
        this.#flushed();
        return true;
      case 'runtime':
        image.setRuntime(action.options);
        this.#flushed();
        return true;
      case 'bitmap':
        this.#bitmaps.act(image, action.verb, action.index);
        this.#flush();
        return true;
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
    const added = { name, bytes: this.#model.bytes, vmState: new Uint8Array(0) };
    const snapshots = [...this.#model.snapshots, added];
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

  #writeVmState(action: { readonly index: number; readonly length: number }, cancelAfter: number | undefined): boolean {
    const model = this.#model;
    const index = action.index % Math.max(1, model.snapshots.length);
    const snapshot = model.snapshots[index];
    if (snapshot === undefined) return true;
    const vmState = this.#contents.bytes(action.length);
    vmState.fill(0, Math.floor(action.length / 2), Math.floor(action.length / 1.2));
    const snapshots = model.snapshots.with(index, { ...snapshot, vmState });
    model.announceSnapshots(snapshots);
    if (!runUntil(this.#image.writeVmState(snapshot.name, MemoryFile.of(vmState)), cancelAfter)) return false;
    model.replaceSnapshots(snapshots);
    this.#flush();
    return true;
  }

  #resize(action: Extract<Action, { readonly kind: 'resize' }>, cancelAfter: number | undefined): boolean {
    const { virtualSize } = action;
    const before = this.#model.bytes;
    const preallocation = virtualSize > before.length ? action.preallocation : 'off';
    this.#model.announceSize(virtualSize);
    // Cut clusters are dropped before the size is: until then the file below shows through where they were.
    const below = this.#plan.backing?.subarray(virtualSize, before.length);
    if (below !== undefined) this.#model.announce(virtualSize, below);
    const steps = this.#image.resize({ virtualSize, allowShrink: true, preallocation });
    if (!runUntil(steps, cancelAfter)) return false;
    const after = new Uint8Array(virtualSize);
    after.set(before.subarray(0, virtualSize));
    this.#model.replace(after);
    this.#bitmaps.cut(virtualSize);
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
    this.#flushCount += 1;
    this.#model.flushed();
    if (this.#isUnsettled) this.#model.announceSize(this.#model.bytes.length);
  }

  #reopen(): void {
    this.#image.close();
    this.#flushed();
    this.#trials.judgeEpoch();
    const copy = openPlanned(this.#file.content.fork(), this.#plan);
    assert.equal(copy.needsRecovery, false);
    const wrong = judgeReport(runToEnd(copy.check()), { mayLeak: this.#hasFailed });
    assert.equal(wrong, undefined, `${this.#during}: after closing`);
    copy.abandon();
    this.#file.reopen();
    this.#image = openPlanned(this.#file, this.#plan);
  }

  /** After a fault or a cancel: each sector is old or new, and the model goes on with what there is. */
  #readAgain(): void {
    const found = contentOf(this.#image);
    const wrong = judgeContent(found, this.#model.expectation);
    assert.equal(wrong, undefined, `${this.#during}: after a fault or a cancel`);
    this.#model.replace(found);
    const { snapshotLists } = this.#model.expectation;
    const list = snapshotLists.find((one) => judgeSnapshots(this.#image, [one]) === undefined);
    const reason = judgeSnapshots(this.#image, snapshotLists) ?? '';
    assert.ok(list !== undefined, `${this.#during}: after a fault or a cancel ${reason}`);
    this.#model.replaceSnapshots(list);
  }

  #spanInside(span: { readonly offset: number; readonly length: number }): { offset: number; length: number } {
    const size = this.#image.virtualSize;
    const offset = Math.min(span.offset, size - 512);
    return { offset, length: Math.min(span.length, size - offset) };
  }

  /** The whole clusters of which a span holds a part; the rest of the disk's last one counts as whole. */
  #clustersAround(span: { readonly offset: number; readonly length: number }): { offset: number; length: number } {
    const { clusterSize } = this.#plan.spec;
    const inside = this.#spanInside(span);
    const offset = alignDown(inside.offset, clusterSize);
    const end = Math.min(alignUp(inside.offset + inside.length, clusterSize), this.#image.virtualSize);
    return { offset, length: end - offset };
  }

  /** A discard acts on whole clusters; the rest of the disk's last one counts as whole. */
  #wholeClusters(span: { readonly offset: number; readonly length: number }): { offset: number; length: number } {
    const { clusterSize } = this.#plan.spec;
    const end = span.offset + span.length;
    const first = alignUp(span.offset, clusterSize);
    const last = end === this.#image.virtualSize ? end : alignDown(end, clusterSize);
    return { offset: Math.min(first, last), length: Math.max(0, last - first) };
  }

  #judge(file: MemoryFile, expectation: Promised): string | undefined {
    this.#options.onState?.(() => file.fork(), expectation);
    const wrong = this.#plan.foreign === 'bitmaps' ? this.#judgeBitmaps(file, expectation) : undefined;
    if (wrong !== undefined) return wrong;
    const again = this.#crashes.chance(25) ? this.#secondCrash() : undefined;
    const goesOn = again === undefined && this.#crashes.chance(10) ? this.#crashes.below(1_000_000) : undefined;
    const { backing, below, spec } = this.#plan;
    const volumeKey = spec.encryption?.volumeKey;
    return judgeCrash(file, { expectation, backing: below ?? backing, volumeKey, goesOn, again });
  }

  #judgeBitmaps(file: MemoryFile, expectation: Promised): string | undefined {
    return judgeBitmaps(file.fork(), expectation.bitmaps, this.#plan.backing);
  }

  #secondCrash(): SecondCrash {
    return {
      chance: this.#crashes.fork(),
      ignoresFlush: (places) => {
        this.#trials.flushedAt(places);
        return this.#options.ignoresFlush(places);
      },
    };
  }
}

/** What an image may refuse on its own: nothing has changed then. */
const refusals: ReadonlySet<FaultCode> = new Set([
  'refcount-overflow',
  'snapshots-prevent-resize',
  'bitmap-inconsistent',
  'bitmaps-prevent-revert',
]);

/** What a failing file makes of a verb. */
const failures: ReadonlySet<FaultCode> = new Set(['insufficient-storage', 'io-error', 'image-read-only']);

function faultOf(mishap: Mishap): Fault {
  return new Fault(mishap.kind === 'write' ? 'insufficient-storage' : 'io-error', { reason: 'simulated' });
}
