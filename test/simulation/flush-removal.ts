// Leaves out each flush of the engine in turn and shows a simulated life that notices; lists those that nothing notices.
//
//   npm run test:flushes                       every place that flushes in the lives tried
//   npm run test:flushes -- write-order        only places with "write-order" in their name
//   npm run test:flushes -- --lives=500        more lives

import { live } from './life.ts';
import { planLife } from './life-plan.ts';

const livesDefault = 130;
const samples = 5;

function tryEveryPlace(words: readonly string[]): void {
  const livesWord = words.find((word) => word.startsWith('--lives='));
  const lives = livesWord === undefined ? livesDefault : Number(livesWord.slice('--lives='.length));
  const filter = words.find((word) => !word.startsWith('--')) ?? '';
  const unnoticed: string[] = [];
  const places = [...seedsByPlace(lives)].filter(([place]) => place.includes(filter)).sort();
  for (const [place, seeds] of places) {
    const seed = seeds.find((one) => failureWithout(place, one) !== undefined);
    if (seed === undefined) unnoticed.push(place);
    const failure =
      seed === undefined ? 'nothing notices' : `SEED=${String(seed)} ${failureWithout(place, seed) ?? ''}`;
    process.stdout.write(`${place} (in ${String(seeds.length)} lives): ${failure}\n`);
  }
  process.stdout.write(`${String(places.length)} places that flush, ${String(unnoticed.length)} unnoticed:\n`);
  for (const place of unnoticed) process.stdout.write(`  ${place}\n`);
}

/** Every place that flushes something, with the lives in which it does. */
function seedsByPlace(lives: number): ReadonlyMap<string, readonly number[]> {
  const seedsOf = new Map<string, number[]>();
  for (let seed = 0; seed < lives; seed += 1) {
    const record = live(planLife(seed), { ...sparse, ignoresFlush: () => false });
    for (const place of record.flushes.keys()) seedsOf.set(place, [...(seedsOf.get(place) ?? []), seed]);
  }
  return seedsOf;
}

/** The first sentence of what goes wrong in a life when one place does not flush. */
function failureWithout(place: string, seed: number): string | undefined {
  const isLarge = planLife(seed).prefilledLength > 0;
  const options = { samples, pointPercent: isLarge ? percentOfLarge : 100, onState: undefined };
  const record = live(planLife(seed), { ...options, ignoresFlush: (site) => site === place });
  return record.failure?.split('\n')[0]?.slice(0, 160);
}

/** Enough to see which flushes happen, those of recoveries included. */
const sparse = { samples: 1, pointPercent: 10, onState: undefined };
/** Full tables are slow to judge, and their flushes are few. */
const percentOfLarge = 25;

tryEveryPlace(process.argv.slice(2));
