// Lives as they are planned, but of encrypted images, with packed writes alone, or under other options from time to time.

import { present } from '../../src/base/assert.ts';
import { usualLuks } from '../support/luks-image.ts';
import { layerOf, luksOf } from '../support/memory-chain.ts';
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

/**
 * Small clusters, over another file, version 2, with subclusters: what is read with the key after a crash was written so.
 * Of three lives over another file one has an encrypted image over a plain file, one over an encrypted image, and one a
 * plain image over an encrypted one: what a write copies from below is decrypted and encrypted as it should be.
 */
export function liveEncrypted(seed: number, options: TrialOptions): TrialRecord {
  const place = seed % encryptedSorts.length;
  const sort = present(encryptedSorts[place], 'every remainder has its sort');
  const plan = planLife(firstSeed + seed * kindNames.length + sort.kind);
  const encryption = sort.top ? luksOf(2 * seed, usualLuks) : undefined;
  const spec = { ...plan.spec, encryption };
  const events = plan.events.map(({ action, mishap }) => ({ action: unpacked(action), mishap }));
  const below = sort.below && plan.backing !== undefined ? layerOf(plan.backing, luksOf(2 * seed + 1)) : undefined;
  return live({ ...plan, spec, events, below }, trialOf(options));
}

/** The kinds, and whether the image is encrypted, and what lies below it. */
const encryptedSorts = [
  { kind: 0, top: true, below: false },
  { kind: 2, top: true, below: true },
  { kind: 4, top: true, below: false },
  { kind: 9, top: false, below: true },
  { kind: 5, top: true, below: false },
  { kind: 8, top: true, below: false },
] as const;

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
    const changed = { ...event, action: otherwise(event.action, chance) };
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

/** An encrypted image packs nothing. */
function unpacked(action: Action): Action {
  return action.kind === 'pack' ? { ...action, kind: 'write' } : action;
}

function packed(action: Action): Action {
  return action.kind === 'write' ? { ...action, kind: 'pack' } : action;
}

function otherwise(action: Action, chance: Prng): Action {
  if (action.kind === 'flush' && chance.chance(50)) return { kind: 'settle' };
  if (action.kind !== 'resize') return action;
  return { ...action, preallocation: chance.pick(['metadata', 'falloc', 'full']) };
}

function otherRuntime({ spec }: LifePlan, chance: Prng): Action {
  const isVersion3 = spec.compat === '1.1';
  const options = {
    cacheBytes: spec.clusterSize * chance.pick([32, 128]),
    lazyRefcounts: isVersion3 && chance.chance(50),
    discardNoUnref: isVersion3 && chance.chance(50),
    passDiscard: chance.chance(50),
  };
  return { kind: 'runtime', options };
}
