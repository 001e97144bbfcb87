// A disk that fails at every single step of a change: what was acknowledged stays, and what failed is told.
//
// The failure moves on by one call until a change gets through without it, so no step of the write order is left out.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { CreateSpec, Image, NewEncryption } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { contentOf, judgeCrash, judgeReport, openOver } from '../simulation/crash-judge.ts';
import { contentAfterCrash, FaultyFile, prefixSurvival } from './faulty-file.ts';
import type { PlannedFailure, Survival } from './faulty-file.ts';
import { faultCodeOf } from './faults.ts';
import { fillGuest, newFile } from './memory-parts.ts';
import { judgeContent } from './model-disk.ts';
import type { Expectation, ModelSnapshot } from './model-disk.ts';
import { Prng } from './prng.ts';

/** What a guest and its owner have. */
export interface State {
  readonly bytes: Uint8Array;
  readonly snapshots: readonly ModelSnapshot[];
}

/** A kind of image. */
export interface Kind {
  readonly name: string;
  readonly change: Partial<CreateSpec> & { readonly clusterSize: number };
  /** What the raw file below holds, or another layer; it ends inside the disk. */
  readonly below: Uint8Array | Layer | undefined;
  /** Of an encrypted image. */
  readonly key?: NewEncryption;
  /** It has a bitmap that records. */
  readonly bitmap?: string;
}

const oldState = new Prng(4).bytes(9_000);

/** One change of an image, without the flush that makes it durable. */
export interface Change {
  readonly name: string;
  /** The catalog notes that it has begun, and an image that it failed on is repaired when it is opened next. */
  readonly isStructural: boolean;
  readonly after: (before: State, cluster: number) => State;
  readonly run: (image: Image, cluster: number) => void;
}

const clusters = 24;
/** Guest clusters by what they hold at first. */
export const places = { owned: 0, shared: 4, keptZero: 8, acknowledged: 12, absent: 16 } as const;
const { owned, keptZero, acknowledged } = places;

/** How a disk fails, and what the engine says then. */
const failures: readonly { readonly call: PlannedFailure['call']; readonly code: FaultCode }[] = [
  { call: 'read', code: 'io-error' },
  { call: 'write', code: 'insufficient-storage' },
  { call: 'flush', code: 'io-error' },
];

/** Has every call fail in turn, in every change of an image of this kind (OPS-12, T50). */
export function describeFailures(kind: Kind, changes: readonly Change[]): void {
  describe(`a disk that fails at any step, ${kind.name}`, () => {
    const start = startOf(kind);
    for (const change of changes) {
      for (const failure of failures) {
        it(`${failure.call} fails in ${change.name}`, () => {
          let after = 0;
          while (failsAt(kind, start, { change, failure: { ...failure, after } })) after += 1;
          // Small changes read nothing that is not cached; every one of them writes and flushes.
          assert.ok(failure.call === 'read' || after > 0, 'the failure came true at least once');
        });
      }
    }
  });
}

/** Lives through one failure; false when the change needed fewer such calls. */
function failsAt(
  kind: Kind,
  start: { readonly file: MemoryFile; readonly state: State },
  trial: {
    readonly change: Change;
    readonly failure: { readonly call: PlannedFailure['call']; readonly code: FaultCode; readonly after: number };
  },
): boolean {
  const { change, failure } = trial;
  const cluster = kind.change.clusterSize;
  const file = new FaultyFile(start.file, { observer: undefined, ignoresFlush: () => false });
  const image = openKind(file, kind);
  // This is what nobody may lose: its flush was acknowledged.
  fillGuest(image, acknowledged * cluster, cluster + 100, 0xaa);
  image.flush();
  const before = filled(start.state, { offset: acknowledged * cluster, length: cluster + 100, value: 0xaa });
  const after = change.after(before, cluster);

  file.failLater({ call: failure.call, after: failure.after, fault: new Fault(failure.code, {}) });
  const told = faultCodeOf(() => {
    change.run(image, cluster);
    image.flush();
  });
  if (!file.takeFailureBack()) {
    assert.equal(told, undefined);
    assertHolds(image, after);
    image.close();
    return false;
  }
  const where = `${failure.call} ${String(failure.after)}`;
  // What a failed change has to undo fails too after a failed flush, and then that is what is told.
  const mayBeTold: readonly (string | undefined)[] =
    failure.call === 'flush' ? [failure.code, 'image-read-only'] : [failure.code];
  assert.ok(mayBeTold.includes(told), `${where}: told ${String(told)}`);
  const expectation = expectationOf(before, after, change.isStructural);
  assertCrashesKeep(file, { kind, expectation, where });
  assert.equal(judgeContent(contentOf(image), expectation), undefined, `${where}: read at once`);
  if (failure.call === 'flush') assertIsFinal(image, where);
  else if (change.isStructural) assertIsMended(image, file, { kind, expectation, where });
  else assertGoesOn(image, file, { kind, change, after, where });
  return true;
}

/** Whatever of the changes since the last flush a crash takes along with the failure. */
function assertCrashesKeep(
  file: FaultyFile,
  trial: { readonly kind: Kind; readonly expectation: Expectation; readonly where: string },
): void {
  const { epoch } = file;
  const all = prefixSurvival(epoch.changes.length);
  const oneLost = all.kept
    .slice(-4)
    .map((lost): Survival => ({ ...all, kept: all.kept.filter((one) => one !== lost) }));
  for (const survival of [prefixSurvival(0), all, ...oneLost]) {
    const wrong = judgeCrash(contentAfterCrash(epoch, survival), {
      expectation: trial.expectation,
      backing: trial.kind.below,
      volumeKey: trial.kind.key?.volumeKey,
      goesOn: undefined,
      again: undefined,
    });
    assert.equal(
      wrong,
      undefined,
      `${trial.where}: ${JSON.stringify(survival.kept)} of ${String(epoch.changes.length)}`,
    );
  }
}

/** After a failed flush nobody knows what the disk holds: nothing is acknowledged any more, and closing says so. */
function assertIsFinal(image: Image, where: string): void {
  const flushed = faultCodeOf(() => {
    image.flush();
  });
  assert.equal(flushed, 'image-read-only', `${where}: a flush after a failed flush`);
  const written = faultCodeOf(() => {
    fillGuest(image, 0, 512, 1);
    image.flush();
  });
  assert.equal(written, 'image-read-only', `${where}: a write after a failed flush`);
  const closed = faultCodeOf(() => {
    image.close();
  });
  assert.equal(closed, 'image-read-only', `${where}: closing after a failed flush`);
}

/** The change works when it is asked for again, as if nothing had happened: also no space is lost. */
function assertGoesOn(
  image: Image,
  file: FaultyFile,
  trial: { readonly kind: Kind; readonly change: Change; readonly after: State; readonly where: string },
): void {
  const { kind, change, after, where } = trial;
  change.run(image, kind.change.clusterSize);
  image.flush();
  assertHolds(image, after);
  image.close();
  file.reopen();
  const again = openKind(file, kind);
  assert.equal(again.needsRecovery, false, where);
  assertHolds(again, after);
  assert.equal(judgeReport(runToEnd(again.check()), { mayLeak: false }), undefined, where);
  again.close();
}

/** Closed and opened again, it is repaired, and then it is one of the two states as a whole. */
function assertIsMended(
  image: Image,
  file: FaultyFile,
  trial: { readonly kind: Kind; readonly expectation: Expectation; readonly where: string },
): void {
  const { kind, expectation, where } = trial;
  image.close();
  file.reopen();
  const wrong = judgeCrash(file.content.fork(), {
    expectation,
    backing: kind.below,
    volumeKey: kind.key?.volumeKey,
    goesOn: 7,
    again: undefined,
  });
  assert.equal(wrong, undefined, `${where}: closed and opened again`);
}

function assertHolds(image: Image, state: State): void {
  assert.equal(Buffer.compare(contentOf(image), state.bytes), 0, 'the disk holds what was written');
  assert.deepEqual(
    image.snapshots({ from: 0, limit: 1000 }).map(({ name }) => name),
    state.snapshots.map(({ name }) => name),
  );
}

function expectationOf(before: State, after: State, isStructural: boolean): Expectation {
  const sizes = [before.bytes.length, after.bytes.length];
  const candidates = [
    { offset: 0, bytes: after.bytes },
    // What lies behind the smaller size is cleared before the larger one holds.
    { offset: 0, bytes: resized(after.bytes.slice(0, Math.min(...sizes)), Math.max(...sizes)) },
  ];
  return {
    durable: before.bytes,
    candidates,
    candidateCount: candidates.length,
    sizes,
    snapshotLists: [before.snapshots, after.snapshots],
    isStructural,
  };
}

/** An image with clusters of every sort: owned, shared with the snapshot "old", zero with a place, and absent. */
function startOf(kind: Kind): { readonly file: MemoryFile; readonly state: State } {
  const { clusterSize } = kind.change;
  const backing = kind.below === undefined ? undefined : { fileName: 'base', format: 'raw' as const };
  const spec = { virtualSize: clusters * clusterSize, ...kind.change, backing, encryption: kind.key };
  const file = newFile(spec);
  const image = openKind(file, kind);
  image.write(guestOffset(0), new Prng(1).bytes(keptZero * clusterSize), { detectZeroes: false });
  const old = contentOf(image);
  runToEnd(image.createSnapshot({ name: 'old', seconds: 0, nanoseconds: 0, idFloor: 1 }));
  runToEnd(image.writeVmState('old', MemoryFile.of(oldState)));
  for (const first of [owned, keptZero, acknowledged]) {
    image.write(guestOffset(first * clusterSize), new Prng(2).bytes(4 * clusterSize), { detectZeroes: false });
  }
  runToEnd(image.zero(guestOffset(keptZero * clusterSize), clusterSize, { unmap: false }));
  const bytes = contentOf(image);
  if (kind.bitmap !== undefined) image.createBitmap({ name: kind.bitmap, granularity: 512, enabled: true });
  image.close();
  return { file, state: { bytes, snapshots: [{ name: 'old', bytes: old, vmState: oldState }] } };
}

function openKind(file: ByteFile, { below, key }: Kind): Image {
  const image = openOver(file, below);
  if (key !== undefined) image.unlock(key.volumeKey);
  return image;
}

export function bytesBelow(clusterSize: number): Uint8Array {
  return new Prng(3).bytes(18 * clusterSize);
}

export function filled(
  state: State,
  fill: { readonly offset: number; readonly length: number; readonly value: number },
): State {
  const bytes = state.bytes.slice();
  bytes.fill(fill.value, fill.offset, fill.offset + fill.length);
  return { ...state, bytes };
}

export function resized(bytes: Uint8Array, length: number): Uint8Array {
  const other = new Uint8Array(length);
  other.set(bytes.subarray(0, length));
  return other;
}
