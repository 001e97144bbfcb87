// Crashes at every moment of many seeded lives of an image: what was flushed is there, and the image is sound.
//
//   SEED=17 npm test -- crash             one life again
//   LIVES=5000-9000 npm test -- crash     other lives, as many as wanted
//
// What the lives hold to account, each by a flush that a life misses when it is left out (docs/durability.md names them):
//
//   writes and discards    ORD-01, ORD-02, ORD-03, ORD-04, ORD-05, ORD-17; T27, T54, T57, T58
//   tables that grow       ORD-06, ORD-07, ORD-08
//   snapshots              ORD-09, ORD-10, ORD-11; T60
//   lazy refcounts         ORD-13; T61
//   another size           ORD-15, OPS-19; T17

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';

import { liveBitmapSwitch } from './bitmap-switch.ts';
import { liveAmendment } from './amendment.ts';
import type { TrialRecord } from './crash-trials.ts';
import { liveEmptying, liveRebase } from './chain-changes.ts';
import { liveCommit } from './committing.ts';
import { liveCopy } from './copying.ts';
import { liveCreation } from './creation.ts';
import { liveHeaderChange } from './header-change.ts';
import { liveKeySlots } from './key-slots.ts';
import { live } from './life.ts';
import { kindNames, planLife } from './life-plan.ts';
import { liveEncrypted, liveOtherwise, livePacked } from './life-variants.ts';
import { liveAdmission, liveMending } from './mending.ts';
import { liveTwoFiles } from './two-files.ts';

/** Every run of the suite judges at least so many different files. */
const statesMin = 20_000;
/** The lives of each kind go on until so many of its files were judged; a full table is large and slow to judge. */
const statesPerKind = 750;
const statesOfLargeKind = 300;
const tried = { samples: 5, epochs: 'all', ignoresFlush: () => false } as const;

/** What happens to files besides lives; each has seeds of its own. */
const others = [
  ['the making of an image', liveCreation, 60],
  ['a repair', liveMending, 40],
  // ORD-14, T68.
  ['the making and removal of bitmaps', liveBitmapSwitch, 24],
  ['the emptying of an overlay', liveEmptying, 16],
  ['a rebase', liveRebase, 10],
  ['a commit', liveCommit, 6],
  ['a copy', liveCopy, 24],
  ['the admission of a foreign file', liveAdmission, 4],
  ['another header', liveHeaderChange, 40],
  // ORD-12.
  ['an amendment', liveAmendment, 24],
  ['a change of key slots', liveKeySlots, 2],
  ['the life of an image with a data file', liveTwoFiles, 42],
  ['the life of an encrypted image', liveEncrypted, 6],
  // ORD-16, T59.
  ['a life of packed writes', livePacked, 2],
  ['a life under changing options', liveOtherwise, 6],
] as const;

const wish = wishOf(process.env);
let states = 0;

if (wish.kind === 'lives') {
  describe(`lives ${String(wish.from)} to ${String(wish.to)}`, () => {
    for (let seed = wish.from; seed <= wish.to; seed += 1) {
      it(`life ${String(seed)}`, () => {
        lifeOf(seed);
      });
    }
  });
} else {
  describe('a crash at any moment leaves a sound image with every flushed byte', () => {
    for (const [index, name] of kindNames.entries()) {
      it(name, (test) => {
        let judged = 0;
        let seed = index;
        for (; judged < quotaOf(seed); seed += kindNames.length) judged += lifeOf(seed);
        test.diagnostic(`${String(judged)} states, seeds ${String(index)} to ${String(seed - kindNames.length)}`);
      });
    }

    for (const [name, liveOne, count] of others) {
      it(name, (test) => {
        let judged = 0;
        for (let seed = 0; seed < count; seed += 1)
          judged += statesOf(liveOne(seed, { ...tried, pointPercent: 100 }), seed);
        test.diagnostic(`${String(judged)} states, seeds 0 to ${String(count - 1)}`);
      });
    }

    it(`was tried with ${String(statesMin)} different files`, () => {
      assert.ok(states >= statesMin, String(states));
    });
  });
}

after(() => {
  process.stdout.write(`crash simulation: ${String(states)} different states judged; SEED=… replays one life\n`);
});

/** Lives and judges; how many files were judged. */
function lifeOf(seed: number): number {
  const plan = planLife(seed);
  const pointPercent = isLarge(seed) ? 3 : 100;
  const record = live(plan, { ...tried, pointPercent, onState: undefined });
  states += record.states;
  const events = plan.events.map((event, index) => `    ${String(index)} ${JSON.stringify(event)}`).join('\n');
  const story = `${JSON.stringify(plan.spec)}\n${events}`;
  assert.ok(record.failure === undefined, `SEED=${String(seed)}: ${record.failure ?? ''}\n  the life:\n${story}`);
  return record.states;
}

function statesOf(record: TrialRecord, seed: number): number {
  states += record.states;
  assert.ok(record.failure === undefined, `seed ${String(seed)}: ${record.failure ?? ''}`);
  return record.states;
}

function quotaOf(seed: number): number {
  return isLarge(seed) ? statesOfLargeKind : statesPerKind;
}

function isLarge(seed: number): boolean {
  return planLife(seed).prefilledLength > 0;
}

function wishOf(
  environment: NodeJS.ProcessEnv,
): { readonly kind: 'suite' } | { readonly kind: 'lives'; readonly from: number; readonly to: number } {
  const seed = environment['SEED'];
  const range = /^(\d+)-(\d+)$/.exec(environment['LIVES'] ?? '');
  if (range !== null) return { kind: 'lives', from: Number(range[1]), to: Number(range[2]) };
  if (seed !== undefined) return { kind: 'lives', from: Number(seed), to: Number(seed) };
  return { kind: 'suite' };
}
