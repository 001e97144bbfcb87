// Holds check and repair to QEMU's: the same verdict on damaged images, and after a repair the same state.

import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { NodeFile } from '../../src/engine/file/node-file.ts';
import { check } from '../../src/engine/operations/check.ts';
import { repair } from '../../src/engine/operations/repair.ts';
import type { RepairMode } from '../../src/engine/operations/check-report.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { checkImage, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';
import type { Counters, Damage } from './check/damage.ts';
import { entryDamages } from './check/entry-damages.ts';
import { baseImages, makeBase } from './check/images.ts';
import type { BaseName } from './check/images.ts';
import { refcountDamages } from './check/refcount-damages.ts';
import { structureDamages } from './check/structure-damages.ts';

/** What a tool says of an image; `unjudged` when it gave up: QEMU then prints no report, we count a check error or fault. */
type Verdict = Counters | 'unjudged';

let folder: ReturnType<typeof tempFolder>;
const made = new Map<BaseName, string>();

before(() => {
  folder = tempFolder();
});
after(() => {
  folder[Symbol.dispose]();
});

for (const [title, damages] of [
  ['refcounts', refcountDamages],
  ['entries', entryDamages],
  ['structures', structureDamages],
] as const) {
  describe(`damaged ${title}`, () => {
    for (const damage of damages) for (const base of damage.bases) judgeLikeQemu(damage, base);
  });
}

function judgeLikeQemu(damage: Damage, base: BaseName): void {
  test(`${damage.title} (${base})`, () => {
    const { difference } = damage;
    const bytes = ImageBytes.read(basePath(base));
    damage.damage(bytes);
    const damaged = join(folder.path, 'damaged.qcow2');
    bytes.write(damaged);
    compareVerdicts(ours(damaged, 'none'), theirs(damaged, 'none'), difference?.none);
    for (const mode of ['leaks', 'all'] as const) {
      const byUs = join(folder.path, 'by-us.qcow2');
      const byQemu = join(folder.path, 'by-qemu.qcow2');
      copyFileSync(damaged, byUs);
      copyFileSync(damaged, byQemu);
      const said = ours(byUs, mode);
      compareVerdicts(withoutPlace(said), withoutPlace(theirs(byQemu, mode)), difference?.[mode]);
      const left = theirs(byUs, 'none');
      const expected = mode === 'all' ? difference?.afterAll : difference?.afterLeaks;
      compareVerdicts(withoutPlace(left), withoutPlace(theirs(byQemu, 'none')), expected);
      compareVerdicts(ours(byUs, 'none'), left, difference?.none);
      compareContent({ damaged, byUs, byQemu }, damage.showsMetadata === true);
    }
  });
}

function basePath(base: BaseName): string {
  const known = made.get(base);
  if (known !== undefined) return known;
  const path = makeBase(folder.path, baseImages[base]);
  made.set(base, path);
  return path;
}

/** Our verdict; a repair that fixed nothing tells of a check, as qemu-img does. */
function ours(path: string, mode: RepairMode): Verdict {
  const file = NodeFile.open(path, { writable: mode !== 'none' });
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

function theirs(path: string, mode: RepairMode): Verdict {
  const { json, exit } = checkImage(path, mode);
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

function compareVerdicts(our: Verdict, their: Verdict, difference: Partial<Counters> | undefined): void {
  if (their === 'unjudged') {
    if (our === 'unjudged' || difference !== undefined) return;
    assert.ok(our.checkErrors > 0, `QEMU gives up here, we say ${JSON.stringify(our)}`);
    return;
  }
  assert.deepEqual(our, { ...their, ...difference });
}

/** Guest content is what it was, or where the damaged image cannot be read to the end, what QEMU's repair left. */
function compareContent(
  paths: { readonly damaged: string; readonly byUs: string; readonly byQemu: string },
  showsMetadata: boolean,
): void {
  if (readsWhole(paths.damaged) && !showsMetadata) {
    assert.equal(compareExit(paths.damaged, paths.byUs), 0, 'a repair keeps the guest content');
  } else if (readsWhole(paths.byQemu)) {
    assert.equal(compareExit(paths.byQemu, paths.byUs), 0, 'both repairs leave the same guest content');
  }
}

function readsWhole(path: string): boolean {
  return compareExit(path, path) === 0;
}

function compareExit(one: string, other: string): number {
  return runTool('qemu-img', ['compare', '-U', '-q', '-f', 'qcow2', '-F', 'qcow2', one, other], '').exit;
}
