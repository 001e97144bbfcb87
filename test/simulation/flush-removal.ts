// Leaves out each flush of the engine in turn and shows a run that notices; lists those that nothing notices.
//
//   npm run test:flushes                        every place in the engine that flushes
//   npm run test:flushes -- write-order         only places with "write-order" in their name
//   npm run test:flushes -- --lives=500 --tries=200
//
// A place that nothing notices, or that no run reaches, stands with the reason why it stays in docs/durability.md; the
// script ends with 1 when one does not.

import { readFileSync } from 'node:fs';

import { liveAmendment } from './amendment.ts';
import { liveBitmapSwitch } from './bitmap-switch.ts';
import { liveEmptying, liveRebase } from './chain-changes.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';
import { liveCommit } from './committing.ts';
import { liveCreation } from './creation.ts';
import { liveKeySlots } from './key-slots.ts';
import { flushPlaces } from './flush-places.ts';
import { liveHeaderChange } from './header-change.ts';
import { live } from './life.ts';
import { planLife } from './life-plan.ts';
import { liveEncrypted, liveOtherwise, livePacked } from './life-variants.ts';
import { liveAdmission, liveMending } from './mending.ts';
import { liveTwoFiles } from './two-files.ts';

/** A run from a seed, as the script prints it: `SEED=17` of the lives, or another sort with its own seeds. */
interface Run {
  readonly title: string;
  readonly start: (options: TrialOptions) => TrialRecord;
}

function tryEveryPlace(words: readonly string[]): void {
  const runs = allRuns(numberOf(words, 'lives') ?? 140);
  const tries = numberOf(words, 'tries') ?? 40;
  const filter = words.find((word) => !word.startsWith('--')) ?? '';
  const places = [...flushPlaces()].filter(([, name]) => name.includes(filter));
  const runsOf = runsByPlace(runs, new Set(places.map(([place]) => place)));
  const reasons = readFileSync(new URL('../../docs/durability.md', import.meta.url), 'utf8');
  const unexplained: string[] = [];
  let noticedCount = 0;
  for (const [place, name] of places) {
    const reached = runsOf.get(place) ?? [];
    const noticed = firstFailure(place, reached.slice(0, tries));
    if (noticed !== undefined) noticedCount += 1;
    const isExplained = reasons.includes(`| \`${name}\` | stays: `);
    if (noticed === undefined && !isExplained) unexplained.push(name);
    const silence = reached.length === 0 ? 'no run comes here' : 'nothing notices';
    const verdict = noticed ?? `${silence}; ${isExplained ? 'see docs/durability.md' : 'NOT EXPLAINED'}`;
    process.stdout.write(`${name} (${place}, in ${String(reached.length)} runs): ${verdict}\n`);
  }
  process.stdout.write(
    `${String(places.length)} places that flush; ${String(noticedCount)} are noticed when left out\n`,
  );
  if (unexplained.length === 0) return;
  process.stdout.write(`Without a reason in docs/durability.md: ${unexplained.join(', ')}\n`);
  process.exitCode = 1;
}

function allRuns(lives: number): readonly Run[] {
  const seeds = (count: number): readonly number[] => Array.from({ length: count }, (_, seed) => seed);
  return [
    ...seeds(lives).map((seed) => {
      const plan = planLife(seed);
      const start = (options: TrialOptions): TrialRecord => live(plan, { ...options, onState: undefined });
      return { title: `SEED=${String(seed)}`, start };
    }),
    ...seeds(24).map((seed) => small('creation', seed, liveCreation)),
    ...seeds(40).map((seed) => small('repair', seed, liveMending)),
    ...seeds(24).map((seed) => small('bitmaps', seed, liveBitmapSwitch)),
    ...seeds(16).map((seed) => small('empty', seed, liveEmptying)),
    ...seeds(10).map((seed) => small('rebase', seed, liveRebase)),
    ...seeds(6).map((seed) => small('commit', seed, liveCommit)),
    ...seeds(4).map((seed) => small('admission', seed, liveAdmission)),
    ...seeds(40).map((seed) => small('header', seed, liveHeaderChange)),
    ...seeds(24).map((seed) => small('amendment', seed, liveAmendment)),
    ...seeds(2).map((seed) => small('key slots', seed, liveKeySlots)),
    ...seeds(42).map((seed) => small('data file', seed, liveTwoFiles)),
    ...seeds(6).map((seed) => small('encrypted', seed, liveEncrypted)),
    ...seeds(2).map((seed) => small('packed', seed, livePacked)),
    ...seeds(6).map((seed) => small('options', seed, liveOtherwise)),
  ];
}

function small(sort: string, seed: number, start: (seed: number, options: TrialOptions) => TrialRecord): Run {
  return { title: `${sort} ${String(seed)}`, start: (options) => start(seed, options) };
}

/** The runs in which each place has something to flush. */
function runsByPlace(runs: readonly Run[], places: ReadonlySet<string>): ReadonlyMap<string, readonly Run[]> {
  const found = new Map<string, Run[]>();
  for (const run of runs) {
    const record = run.start({ samples: 0, pointPercent: 0, epochs: 'merged', ignoresFlush: () => false });
    if (record.failure !== undefined) throw new Error(`${run.title} fails with all its flushes: ${record.failure}`);
    for (const place of record.places) {
      if (places.has(place)) found.set(place, [...(found.get(place) ?? []), run]);
    }
  }
  return found;
}

/** The first run that notices when a place does not flush, and the first line of what it says. */
function firstFailure(place: string, runs: readonly Run[]): string | undefined {
  for (const run of runs) {
    const ignoresFlush = (all: readonly string[]): boolean => all.includes(place);
    const failure = failureOf(run, { samples: 5, pointPercent: 100, epochs: 'merged', ignoresFlush });
    if (failure !== undefined) return `${run.title}: ${(failure.split('\n')[0] ?? '').slice(0, 140)}`;
  }
  return undefined;
}

function failureOf(run: Run, options: TrialOptions): string | undefined {
  try {
    return run.start(options).failure;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function numberOf(words: readonly string[], name: string): number | undefined {
  const word = words.find((one) => one.startsWith(`--${name}=`));
  return word === undefined ? undefined : Number(word.slice(name.length + 3));
}

tryEveryPlace(process.argv.slice(2));
