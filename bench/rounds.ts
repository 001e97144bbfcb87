// Takes figures in turns, so that whatever disturbs the machine disturbs both sides, and sums them up.

import type { Comparison } from './claim.ts';

/** A figure, and what it cost where that is known: CPU time of the server for one unit of work, in microseconds. */
export interface Figure {
  readonly value: number;
  readonly cost: number;
}

/** Takes one figure; called once a round. */
export type Sample = () => Promise<Figure | number>;

/** A warm-up each, then `rounds` pairs; who goes first changes from pair to pair. */
export async function inTurns(
  sides: { readonly ours: Sample; readonly theirs: Sample },
  options: { readonly rounds: number; readonly warmUp: boolean },
): Promise<Pick<Comparison, 'ours' | 'theirs' | 'cost'>> {
  const ours: Figure[] = [];
  const theirs: Figure[] = [];
  if (options.warmUp) {
    await sides.ours();
    await sides.theirs();
  }
  for (let round = 0; round < options.rounds; round += 1) {
    if (round % 2 === 0) ours.push(toFigure(await sides.ours()));
    theirs.push(toFigure(await sides.theirs()));
    if (round % 2 !== 0) ours.push(toFigure(await sides.ours()));
  }
  const costs = { ours: ours.map(({ cost }) => cost), theirs: theirs.map(({ cost }) => cost) };
  return {
    ours: ours.map(({ value }) => value),
    theirs: theirs.map(({ value }) => value),
    cost: [...costs.ours, ...costs.theirs].some(Number.isNaN) ? undefined : costs,
  };
}

function toFigure(taken: Figure | number): Figure {
  return typeof taken === 'number' ? { value: taken, cost: Number.NaN } : taken;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function sumUp(figures: readonly number[]): Summary {
  const sorted = figures.toSorted((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const low = sorted[Math.floor(middle)] ?? Number.NaN;
  const high = sorted[Math.ceil(middle)] ?? Number.NaN;
  return { median: (low + high) / 2, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

/** How many times better we were, pair by pair. */
export function ratiosOf({ ours, theirs, better }: Comparison): readonly number[] {
  return ours.map((own, index) => {
    const other = theirs[index] ?? Number.NaN;
    return better === 'more' ? own / other : other / own;
  });
}
