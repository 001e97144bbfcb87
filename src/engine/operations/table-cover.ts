// How many tables lie over each stretch of the file: tables that overlap are read once, with a multiplicity.
//
//   table A   |---------------|            a hostile image can lay thousands of tables over each other;
//   table B         |---------------|      their entries are 8 bytes at multiples of 8, so each place is
//   cover     |--1--|----2----|--1--|      one entry of every table that lies over it

/** One table: where it lies in the file, in bytes. */
export interface PlacedTable {
  readonly offset: number;
  readonly length: number;
  /** Whether the running disk uses it, not only a snapshot. */
  readonly active: boolean;
}

/** A stretch over which the same tables lie. */
export interface CoveredStretch {
  readonly offset: number;
  readonly length: number;
  /** How many tables lie here; never 0. */
  readonly tables: number;
  /** How many of them are active. */
  readonly activeTables: number;
}

/** The stretches of all tables up to `end`, in order of the file; what lies beyond reads as zeroes and is left out. */
export function coverOf(tables: readonly PlacedTable[], end: number): readonly CoveredStretch[] {
  const edges = tables
    .filter(({ offset, length }) => length > 0 && offset < end)
    .flatMap(({ offset, length, active }) => [
      { at: offset, step: 1, active },
      { at: Math.min(offset + length, end), step: -1, active },
    ])
    .sort((one, other) => one.at - other.at);
  const stretches: CoveredStretch[] = [];
  let covered = { offset: 0, tables: 0, activeTables: 0 };
  for (const { at, step, active } of edges) {
    if (covered.tables > 0 && at > covered.offset) stretches.push({ ...covered, length: at - covered.offset });
    covered = {
      offset: at,
      tables: covered.tables + step,
      activeTables: covered.activeTables + (active ? step : 0),
    };
  }
  return stretches;
}
