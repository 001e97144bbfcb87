// Lives as they are planned, but of encrypted images, with packed writes alone, or under other options from time to time.

import { present } from '../../src/base/assert.ts';
import type { NewEncryption } from '../../src/engine/image.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { chanceLength, makeLuks } from '../../src/engine/transform/new-luks.ts';
import { passphrase, usualLuks } from '../support/luks-image.ts';
import { Prng } from '../support/prng.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';
import { live } from './life.ts';
import { kindNames, planLife } from './life-plan.ts';
import type { Action, Event, LifePlan } from './life-plan.ts';

/** Of the planned lives, those from here on are like no other that is lived. */
const firstSeed = 1_000 * kindNames.length;

/** Any moment is as good as another; states of whole lives are many. */
const pointPercent = 30;

/** Sorts of images without what another tool has left in them. */
const sorts = [0, 2, 4, 9, 1, 6, 8] as const;

/** Small clusters, over another file, version 2, with subclusters: what is read with the key after a crash was written so. */
export function liveEncrypted(seed: number, options: TrialOptions): TrialRecord {
  const plan = planOf(seed);
  const spec = { ...plan.spec, encryption: encryptionOf(seed) };
  const events = plan.events.map(({ action, mishap }) => ({ action: unpacked(action), mishap }));
  return live({ ...plan, spec, events }, trialOf(options));
}

/** What is written is packed, all of it. */
export function livePacked(seed: number, options: TrialOptions): TrialRecord {
  const plan = planLife(firstSeed + seed * kindNames.length + kindNames.indexOf('compressed clusters'));
  const events = plan.events.map(({ action, mishap }) => ({ action: packed(action), mishap }));
  return live({ ...plan, events }, trialOf(options));
}

/** Other caches, lazy refcounts, other rules of discarding and growing with reserved clusters in the middle of it all. */
export function liveOtherwise(seed: number, options: TrialOptions): TrialRecord {
  const plan = planOf(seed + 1);
  const chance = new Prng(seed + 3);
  const events = plan.events.flatMap((event): readonly Event[] => {
    const changed = { ...event, action: otherwise(event.action, plan, chance) };
    return chance.chance(30) ? [{ action: otherRuntime(plan, chance), mishap: event.mishap }, changed] : [changed];
  });
  return live({ ...plan, events }, trialOf(options));
}

function planOf(seed: number): LifePlan {
  const sort = present(sorts[seed % sorts.length], 'every remainder has its sort');
  return planLife(firstSeed + seed * kindNames.length + sort);
}

function trialOf(options: TrialOptions): TrialOptions & { readonly onState: undefined } {
  return { ...options, pointPercent: Math.min(options.pointPercent, pointPercent), onState: undefined };
}

/** Always the same one for a seed, with so few rounds that nobody waits for them. */
function encryptionOf(seed: number): NewEncryption {
  const made = makeLuks(usualLuks, {
    ...{ passphrase: Buffer.from(passphrase), cost: { slotIterations: 1000, digestIterations: 1000 } },
    chance: new Prng(seed).bytes(chanceLength),
  });
  return { format: 'luks', ...deriveHere(made) };
}

/** An encrypted image packs nothing. */
function unpacked(action: Action): Action {
  return action.kind === 'pack' ? { ...action, kind: 'write' } : action;
}

function packed(action: Action): Action {
  return action.kind === 'write' ? { ...action, kind: 'pack' } : action;
}

function otherwise(action: Action, { backing }: LifePlan, chance: Prng): Action {
  if (action.kind === 'flush' && chance.chance(50)) return { kind: 'settle' };
  if (action.kind !== 'resize' || backing !== undefined) return action;
  return { ...action, preallocation: chance.pick(['metadata', 'falloc', 'full']) };
}

function otherRuntime({ spec }: LifePlan, chance: Prng): Action {
  const isVersion3 = spec.compat === '1.1';
  const options = {
    l2CacheBytes: spec.clusterSize * chance.pick([16, 64]),
    lazyRefcounts: isVersion3 && chance.chance(50),
    discardNoUnref: isVersion3 && chance.chance(50),
    passDiscard: chance.chance(50),
  };
  return { kind: 'runtime', options };
}
