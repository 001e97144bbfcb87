// A small set of cases in which every two values that may meet do meet.

/** For each factor, the values it can have. */
export type Factors<Case> = { readonly [Factor in keyof Case]: readonly Case[Factor][] };

/** Cases that cover every pair of values that some allowed case has; the same input gives the same cases. */
export function pairwise<Case extends object>(
  factors: Factors<Case>,
  allowed: (candidate: Case) => boolean,
): readonly Case[] {
  const names = Object.keys(factors) as (keyof Case)[];
  let candidates: Case[] = [{} as Case];
  for (const name of names) {
    candidates = candidates.flatMap((partial) => factors[name].map((value) => ({ ...partial, [name]: value })));
  }
  let open = candidates.filter(allowed).map((candidate) => ({ candidate, pairs: pairsOf(factors, candidate) }));
  const covered = new Set<number>();
  const chosen: Case[] = [];
  for (;;) {
    let best: (typeof open)[number] | undefined;
    let bestCount = 0;
    for (const row of open) {
      const count = row.pairs.reduce((sum, pair) => (covered.has(pair) ? sum : sum + 1), 0);
      if (count > bestCount) {
        best = row;
        bestCount = count;
      }
    }
    if (best === undefined) return chosen;
    for (const pair of best.pairs) covered.add(pair);
    chosen.push(best.candidate);
    open = open.filter(({ pairs }) => pairs.some((pair) => !covered.has(pair)));
  }
}

/** Each pair of values as one number. */
function pairsOf<Case extends object>(factors: Factors<Case>, candidate: Case): readonly number[] {
  const values: number[] = [];
  let base = 0;
  for (const name of Object.keys(factors) as (keyof Case)[]) {
    values.push(base + factors[name].indexOf(candidate[name]));
    base += factors[name].length;
  }
  return values.flatMap((one, index) => values.slice(index + 1).map((other) => one * base + other));
}
