// Judges a damaged image by our check and repair and by QEMU's: the same counters (CHK-01, OPS-37), after a repair those
// of a second check (CHK-13), and the same state.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { NodeFile } from '../../../src/engine/file/node-file.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { repair } from '../../../src/engine/operations/repair.ts';
import type { RepairMode } from '../../../src/engine/operations/check-report.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { everySecondFrom } from '../../support/every-second.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { checkImage, keyObject, runTool, unlocking } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import type { Counters, Damage } from './damage.ts';
import { baseImages, makeBase } from './images.ts';
import type { BaseName } from './images.ts';

/** What a tool says of an image; `unjudged` when it gave up: QEMU then prints no report, we count a check error or fault. */
type Verdict = Counters | 'unjudged';

/** Declares one test for every damage on every second of its images; on each of them with `GRID=all`. */
export function judgeLikeQemu(damages: readonly Damage[]): void {
  let folder: ReturnType<typeof tempFolder>;
  const made = new Map<BaseName, string>();
  const basePath = (base: BaseName): string => {
    const path = made.get(base) ?? makeBase(folder.path, baseImages[base]);
    made.set(base, path);
    return path;
  };
  before(() => {
    folder = tempFolder();
  });
  after(() => {
    folder[Symbol.dispose]();
  });
  for (const [index, damage] of damages.entries()) {
    // Every damage on some of its images, and every image with some of the damages.
    for (const base of everySecondFrom(index, damage.bases)) {
      test(`${damage.title} (${base})`, () =>
        judge({
          damage,
          base: basePath(base),
          folder: folder.path,
          isEncrypted: baseImages[base].work === 'encrypted',
        }));
    }
  }
}

/** Judges an image as it is, without repairs. */
export function checkLikeQemu(path: string): void {
  compareVerdicts(ours(path, 'none'), theirs(path, 'none'), undefined);
}

function judge(case_: {
  readonly damage: Damage;
  readonly base: string;
  readonly folder: string;
  readonly isEncrypted: boolean;
}): void {
  const { damage, folder, isEncrypted } = case_;
  const { difference } = damage;
  const bytes = ImageBytes.read(case_.base);
  damage.damage(bytes);
  const damaged = join(folder, 'damaged.qcow2');
  bytes.write(damaged);
  const verdict = theirVerdict(damaged, 'none', isEncrypted);
  compareVerdicts(ours(damaged, 'none'), verdict, difference?.none);
  if (damage.refused === true) {
    assert.equal(verdict, 'unjudged');
    for (const mode of ['leaks', 'all'] as const) compareVerdicts(ours(damaged, mode), verdict, undefined);
    assert.deepEqual(ImageBytes.read(damaged).bytes, bytes.bytes, 'a repair changes nothing');
    return;
  }
  for (const mode of ['leaks', 'all'] as const) judgeRepair({ damage, damaged, folder, isEncrypted, verdict }, mode);
}

/** Each tool is run only over bytes that it has not seen yet: `verdict` is QEMU's of the damaged file. */
function judgeRepair(
  case_: {
    readonly damage: Damage;
    readonly damaged: string;
    readonly folder: string;
    readonly isEncrypted: boolean;
    readonly verdict: Verdict;
  },
  mode: 'leaks' | 'all',
): void {
  const { damage, damaged, folder, isEncrypted, verdict } = case_;
  const { difference } = damage;
  const byUs = join(folder, 'by-us.qcow2');
  const byQemu = join(folder, 'by-qemu.qcow2');
  copyFileSync(damaged, byUs);
  copyFileSync(damaged, byQemu);
  const repaired = theirVerdict(byQemu, mode, isEncrypted);
  compareVerdicts(withoutPlace(ours(byUs, mode)), withoutPlace(repaired), difference?.[mode]);
  const isTouched = !sameBytes(damaged, byUs);
  const judgeLeft = (path: string): Verdict =>
    sameBytes(damaged, path) ? verdict : theirVerdict(path, 'none', isEncrypted);
  // What qemu-img tells after a repair, it has looked for once more.
  const leftByQemu = repaired === 'unjudged' ? judgeLeft(byQemu) : { ...repaired, ...nothingFixed };
  const left = sameBytes(byUs, byQemu) ? leftByQemu : judgeLeft(byUs);
  const expected = mode === 'all' ? difference?.afterAll : difference?.afterLeaks;
  compareVerdicts(withoutPlace(left), withoutPlace(leftByQemu), expected);
  if (difference === undefined) judgeMarks(damaged, byUs, byQemu);
  if (isTouched) compareVerdicts(ours(byUs, 'none'), left, difference?.none);
  // Guest content is what it was, or where the damaged image cannot be read to the end, what QEMU's repair left.
  const keeps = (wanted: string, rule: string): boolean => sameContent({ wanted, path: byUs, isEncrypted }, rule);
  const isKept = damage.showsMetadata !== true && (!isTouched || keeps(damaged, 'a repair keeps the guest content'));
  if (!isKept && !sameBytes(byUs, byQemu)) keeps(byQemu, 'both repairs leave the same content');
}

/** BIT-I1 as with QEMU; BIT-I0 as long as something is wrong, where QEMU takes it away whenever it closes the file. */
function judgeMarks(damaged: string, byUs: string, byQemu: string): void {
  const [found, left, leftByQemu] = [damaged, byUs, byQemu].map(marksOf);
  assert.equal(left?.corrupt, leftByQemu?.corrupt, 'the mark of corruption');
  const verdict = found?.dirty === true ? ours(byUs, 'none') : undefined;
  const isSound = verdict !== 'unjudged' && (verdict?.corruptions ?? 0) + (verdict?.checkErrors ?? 0) === 0;
  assert.equal(left?.dirty, found?.dirty === true && !isSound, 'the mark of stale refcounts');
}

function marksOf(path: string): { readonly dirty: boolean; readonly corrupt: boolean } {
  const image = ImageBytes.read(path);
  const bits = image.version === 3 ? image.u64(72) : 0n;
  return { dirty: (bits & 1n) !== 0n, corrupt: (bits & 2n) !== 0n };
}

function sameBytes(one: string, other: string): boolean {
  if (statSync(one).size !== statSync(other).size) return false;
  // Node reads no larger file at once.
  return statSync(one).size < 2 ** 31 && readFileSync(one).equals(readFileSync(other));
}

const nothingFixed = { corruptionsFixed: 0, leaksFixed: 0 };

/** Whether `wanted` can be read to its end; then `path` must read the same. */
function sameContent(
  files: { readonly wanted: string; readonly path: string; readonly isEncrypted: boolean },
  rule: string,
): boolean {
  const { wanted, path, isEncrypted } = files;
  const exit = compareExit(wanted, path, isEncrypted);
  if (exit === 0) return true;
  if (compareExit(wanted, wanted, isEncrypted) !== 0) return false;
  assert.equal(exit, 0, rule);
  return true;
}

/** Our verdict; a repair that fixed nothing tells of a check, as qemu-img does. */
export function ours(path: string, mode: RepairMode): Verdict {
  const file = NodeFile.open(path, { writable: mode !== 'none', locks: 'qemu' });
  try {
    const { clean, findings, ...counters } = runToEnd(mode === 'none' ? check(file) : repair(file, mode));
    assert.equal(clean, counters.corruptions + counters.leaks + counters.checkErrors === 0);
    assert.equal(findings.length > 0, !clean, 'an image that is not clean has a finding');
    return counters;
  } catch (thrown) {
    if (thrown instanceof Fault) return 'unjudged';
    throw thrown;
  } finally {
    file.close();
  }
}

export function theirs(path: string, mode: RepairMode): Verdict {
  return theirVerdict(path, mode, false);
}

function theirVerdict(path: string, mode: RepairMode, isEncrypted: boolean): Verdict {
  const { json, exit } = checkImage(path, mode, isEncrypted);
  if (json === undefined) {
    assert.equal(exit, 1, 'qemu-img gives up with exit code 1');
    return 'unjudged';
  }
  return {
    checkErrors: json['check-errors'],
    corruptions: json.corruptions ?? 0,
    leaks: json.leaks ?? 0,
    corruptionsFixed: json['corruptions-fixed'] ?? 0,
    leaksFixed: json['leaks-fixed'] ?? 0,
    imageEndOffset: json['image-end-offset'] ?? 0,
    totalClusters: json['total-clusters'] ?? 0,
    allocatedClusters: json['allocated-clusters'] ?? 0,
    fragmentedClusters: json['fragmented-clusters'] ?? 0,
    compressedClusters: json['compressed-clusters'] ?? 0,
  };
}

/** Where new refcount structures go is no part of the format. */
function withoutPlace(verdict: Verdict): Verdict {
  return verdict === 'unjudged' ? verdict : { ...verdict, imageEndOffset: 0 };
}

export function compareVerdicts(our: Verdict, their: Verdict, difference: Partial<Counters> | undefined): void {
  if (their === 'unjudged') {
    if (our === 'unjudged' || difference !== undefined) return;
    assert.ok(our.checkErrors > 0, `QEMU gives up here, we say ${JSON.stringify(our)}`);
    return;
  }
  assert.deepEqual(our, { ...their, ...difference });
}

function compareExit(one: string, other: string, isEncrypted: boolean): number {
  const images = isEncrypted
    ? [...keyObject, '--image-opts', unlocking(one), unlocking(other)]
    : ['-f', 'qcow2', '-F', 'qcow2', one, other];
  return runTool('qemu-img', ['compare', '-U', '-q', ...images], '').exit;
}
