// The seed of the fuzz tests: fixed, so that a run repeats; FC_SEED=… replays or varies it.

/** The seed to hand to fast-check. */
export function fuzzSeed(): number {
  const given = process.env['FC_SEED'];
  if (given === undefined) return fixedSeed;
  const seed = Number(given);
  if (!Number.isInteger(seed)) throw new Error(`FC_SEED is a whole number, not "${given}"`);
  return seed;
}

const fixedSeed = 20_250_914;
