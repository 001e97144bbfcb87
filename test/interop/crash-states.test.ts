// Files that crashes leave, judged by qemu-img before anything has mended them (ORD-19).

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import { live } from '../simulation/life.ts';
import { kindNames, planLife } from '../simulation/life-plan.ts';
import { bytesOf } from '../support/damaged-image.ts';
import { Prng } from '../support/prng.ts';
import { checkImage } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Of every sort of image without lazy refcounts; a life of a full table is long, and its files are large. */
const statesPerKind = 13;
const statesMin = 150;
/** A sound COPIED flag and a refcount disagree: all that QEMU may find while a structure is being changed. */
const flagComplaint = /^ERROR OFLAG_COPIED /;

/** A state on its way to the judge. */
interface Sample {
  readonly bytes: Uint8Array;
  readonly isStructural: boolean;
}

describe('qemu-img check of what a crash leaves', () => {
  let judged = 0;

  after(() => {
    process.stdout.write(`crash states judged by qemu-img: ${String(judged)}\n`);
  });

  for (const [kind, name] of kindNames.entries()) {
    const plan = planLife(kind);
    if (plan.spec.lazyRefcounts || plan.prefilledLength > 0) continue;
    it(`finds leaks at most, and flags in structural operations: ${name}`, () => {
      using folder = tempFolder();
      const path = join(folder.path, 'crashed.qcow2');
      if (plan.backing !== undefined) writeFileSync(join(folder.path, 'below.raw'), '');
      let seed = kind;
      for (let found = 0; found < statesPerKind; seed += kindNames.length) {
        for (const [index, sample] of samplesOf(seed, statesPerKind / 2).entries()) {
          writeFileSync(path, sample.bytes);
          judge(path, sample, `SEED=${String(seed)}, state ${String(index)}`);
          found += 1;
          judged += 1;
        }
      }
    });
  }

  it(`has judged ${String(statesMin)} states`, () => {
    assert.ok(judged >= statesMin, String(judged));
  });
});

/** Some states of one life, each as likely as any other. */
function samplesOf(seed: number, countMax: number): readonly Sample[] {
  const chance = new Prng(seed);
  const samples: Sample[] = [];
  let seen = 0;
  const record = live(planLife(seed), {
    samples: 2,
    pointPercent: 15,
    epochs: 'all',
    ignoresFlush: () => false,
    onState: (file, { isStructural }) => {
      seen += 1;
      const place = samples.length < countMax ? samples.length : chance.below(seen);
      if (place < countMax) samples[place] = { bytes: bytesOf(file()), isStructural };
    },
  });
  assert.equal(record.failure, undefined, `SEED=${String(seed)}`);
  return samples;
}

function judge(path: string, sample: Sample, note: string): void {
  const { exit, json, stderr } = checkImage(path, 'none');
  if (exit === 0 || exit === 3) return;
  assert.ok(sample.isStructural && exit === 2, `${note}: exit ${String(exit)}, ${JSON.stringify(json)} ${stderr}`);
  const complaints = stderr.split('\n').filter((line) => line.startsWith('ERROR'));
  assert.equal(json?.['check-errors'], 0, note);
  assert.equal(complaints.length, json.corruptions, `${note}: ${stderr}`);
  for (const complaint of complaints) assert.match(complaint, flagComplaint, note);
}
