// A long row of places, most of them like their neighbours: stored as runs in a few bytes each, found by place or by rank.
//
//   places   0 1 2 3 4 5 6 7 8 …       kinds      0 absent, 1 counted, 2 other
//   kinds    0 0 1 1 1 2 0 1 1         a run      kind + 4 × length, as a base-128 number, lowest digits first
//   ranks        0 1 2     3 4         the rank of a counted place: how many counted places lie before it

import { assert, present } from '../../base/assert.ts';

/** What a run of places is; only `counted` places have ranks. */
export type RunKind = typeof runKinds.absent | typeof runKinds.counted | typeof runKinds.other;

export const runKinds = { absent: 0, counted: 1, other: 2 } as const;

/** A run as found: places from `start` to before `end`, and the rank of its first place. */
export interface Run {
  readonly kind: RunKind;
  readonly start: number;
  readonly end: number;
  readonly rank: number;
}

/** Every so many runs, their place, rank and byte are written down, so that finding decodes no more than that. */
const runsPerMark = 128;

/** Appended from the front, closed once, then read. A fragmented row costs one or two bytes a run. */
export class RunList {
  #bytes = new Uint8Array(1024);
  #used = 0;
  #runs = 0;
  #storedPlaces = 0;
  #storedRanks = 0;
  #length = 0;
  #counted = 0;
  #open: { kind: RunKind; length: number } | undefined;
  #closed = false;
  readonly #markPlaces: number[] = [];
  readonly #markRanks: number[] = [];
  readonly #markBytes: number[] = [];

  /** All places. */
  get length(): number {
    return this.#length;
  }

  /** All counted places. */
  get counted(): number {
    return this.#counted;
  }

  /** Adds `length` places at the end; equal neighbours become one run. */
  append(length: number, kind: RunKind): void {
    assert(!this.#closed, 'nothing is added to a closed row');
    if (length === 0) return;
    this.#length += length;
    if (kind === runKinds.counted) this.#counted += length;
    if (this.#open?.kind === kind) {
      this.#open.length += length;
      return;
    }
    this.#storeOpen();
    this.#open = { kind, length };
  }

  /** Ends the row; from now on it can be read. */
  close(): void {
    this.#storeOpen();
    this.#open = undefined;
    this.#closed = true;
    this.#bytes = this.#bytes.slice(0, this.#used);
  }

  /** The run that holds `place` and, one after another, those behind it. */
  *from(place: number): Generator<Run, void, undefined> {
    for (const run of this.#decode(lastAtMost(this.#markPlaces, place))) if (run.end > place) yield run;
  }

  /** The counted run that holds the place of this rank and, one after another, the counted runs behind it. */
  *fromRank(rank: number): Generator<Run, void, undefined> {
    for (const run of this.#decode(lastAtMost(this.#markRanks, rank))) {
      if (run.kind === runKinds.counted && run.rank + (run.end - run.start) > rank) yield run;
    }
  }

  *#decode(mark: number): Generator<Run, void, undefined> {
    assert(this.#closed, 'a row is closed before it is read');
    if (mark < 0) return;
    const bytes = this.#bytes;
    let at = present(this.#markBytes[mark], 'a mark knows its byte');
    let start = present(this.#markPlaces[mark], 'a mark knows its place');
    let rank = present(this.#markRanks[mark], 'a mark knows its rank');
    while (at < bytes.length) {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const digit = bytes[at] ?? 0;
        at += 1;
        value += (digit & 0x7f) * scale;
        if (digit < 0x80) break;
      }
      const kind = kindOf(value % 4);
      const length = Math.floor(value / 4);
      yield { kind, start, end: start + length, rank };
      start += length;
      if (kind === runKinds.counted) rank += length;
    }
  }

  #storeOpen(): void {
    if (this.#open === undefined) return;
    const { kind, length } = this.#open;
    if (this.#runs % runsPerMark === 0) {
      this.#markPlaces.push(this.#storedPlaces);
      this.#markRanks.push(this.#storedRanks);
      this.#markBytes.push(this.#used);
    }
    this.#runs += 1;
    this.#storedPlaces += length;
    if (kind === runKinds.counted) this.#storedRanks += length;
    this.#storeNumber(length * 4 + kind);
  }

  #storeNumber(value: number): void {
    if (this.#used + numberBytesMax > this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#used] = (rest % 128) + 128;
      this.#used += 1;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#used] = rest;
    this.#used += 1;
  }
}

/** A safe number has at most eight digits to the base 128. */
const numberBytesMax = 8;

function kindOf(value: number): RunKind {
  assert(value === runKinds.absent || value === runKinds.counted || value === runKinds.other, 'a run has a kind');
  return value;
}

/** The last index whose value is not above `wanted`, or -1; values never fall. */
function lastAtMost(values: readonly number[], wanted: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((values[middle] ?? 0) <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
