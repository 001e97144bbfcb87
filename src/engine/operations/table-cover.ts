// How many tables lie over each stretch of the file: tables that overlap are looked at once, with a multiplicity.
//
//   table A   |---------------|            a hostile image can lay thousands of tables over each other;
//   table B         |---------------|      their entries are 8 bytes at multiples of 8, so each place is
//   cover     |--1--|----2----|--1--|      one entry of every table that lies over it

/** A stretch over which the same tables lie, in the unit of the cover. */
export interface CoveredStretch {
  readonly offset: number;
  readonly length: number;
  /** How many tables lie here; never 0. */
  readonly tables: number;
}

/** Room for so many tables is made at first. */
const tablesUsual = 16;

/** The tables by where they begin and end, in bytes or in clusters. */
export class TableCover {
  #starts = new Float64Array(tablesUsual);
  #ends = new Float64Array(tablesUsual);
  #count = 0;

  /** A table of length 0 lies nowhere. */
  add(offset: number, length: number): void {
    if (length === 0) return;
    if (this.#count === this.#starts.length) {
      this.#starts = doubled(this.#starts);
      this.#ends = doubled(this.#ends);
    }
    this.#starts[this.#count] = offset;
    this.#ends[this.#count] = offset + length;
    this.#count += 1;
  }

  /** The stretches up to `end` in order; what lies beyond is left out. */
  *stretches(end: number): Generator<CoveredStretch, void, undefined> {
    const starts = this.#starts.slice(0, this.#count).sort();
    const ends = this.#ends.slice(0, this.#count).sort();
    let begun = 0;
    let ended = 0;
    for (let offset = 0; ended < this.#count;) {
      const next = Math.min(starts[begun] ?? Infinity, ends[ended] ?? Infinity, end);
      if (begun > ended && next > offset) yield { offset, length: next - offset, tables: begun - ended };
      if (next === end) return;
      offset = next;
      while (starts[begun] === offset) begun += 1;
      while (ends[ended] === offset) ended += 1;
    }
  }
}

function doubled(numbers: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * numbers.length);
  larger.set(numbers);
  return larger;
}
