// The plainest possible disk: bytes in memory, with what a crash may make of them.

import { assert } from '../../src/base/assert.ts';
import { sectorSize } from '../../src/base/units.ts';

/** A value that a span may have after a crash, besides older ones. */
interface Candidate {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface ModelSnapshot {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly vmState: Uint8Array;
}

/** All that a crash at one moment may leave; it stays true however the disk goes on. */
export interface Expectation {
  /** The content at the last flush. */
  readonly durable: Uint8Array;
  /** What was written since; the first `candidateCount` of them count. */
  readonly candidates: readonly Candidate[];
  readonly candidateCount: number;
  readonly sizes: readonly number[];
  /** The lists of snapshots, one of which must be there as a whole. */
  readonly snapshotLists: readonly (readonly ModelSnapshot[])[];
  /** Whether a snapshot or the size was being changed, so that a repair is in order. */
  readonly isStructural: boolean;
}

/** A disk that knows its present, its last durable state, and everything between. Offsets and lengths in bytes. */
export class ModelDisk {
  #bytes: Uint8Array;
  #durable: Uint8Array;
  #candidates: Candidate[] = [];
  #sizes: readonly number[];
  #snapshots: readonly ModelSnapshot[];
  #snapshotLists: readonly (readonly ModelSnapshot[])[];
  #isStructural = false;

  /** Starts with a durable content and its snapshots. */
  constructor(content: Uint8Array, snapshots: readonly ModelSnapshot[]) {
    this.#bytes = content.slice();
    this.#durable = content.slice();
    this.#sizes = [content.length];
    this.#snapshots = snapshots;
    this.#snapshotLists = [snapshots];
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get snapshots(): readonly ModelSnapshot[] {
    return this.#snapshots;
  }

  get expectation(): Expectation {
    return {
      durable: this.#durable,
      candidates: this.#candidates,
      candidateCount: this.#candidates.length,
      sizes: this.#sizes,
      snapshotLists: this.#snapshotLists,
      isStructural: this.#isStructural,
    };
  }

  /** From now on the span may read as `bytes`; called before the change begins, as it may reach the disk at once. */
  announce(offset: number, bytes: Uint8Array): void {
    this.#candidates.push({ offset, bytes });
  }

  /** From now on the disk may have another size, and what lies beyond the smaller of the two may read as zeroes. */
  announceSize(size: number): void {
    const smaller = Math.min(size, this.#bytes.length);
    const larger = Math.max(size, this.#bytes.length);
    this.announce(smaller, new Uint8Array(larger - smaller));
    this.#sizes = [...this.#sizes, size];
    this.#isStructural = true;
  }

  announceSnapshots(snapshots: readonly ModelSnapshot[]): void {
    this.#snapshotLists = [...this.#snapshotLists, snapshots];
    this.#isStructural = true;
  }

  /** The span is written. */
  write(offset: number, bytes: Uint8Array): void {
    this.#bytes = this.#bytes.slice();
    this.#bytes.set(bytes, offset);
  }

  /** The whole disk reads like this now, its size included. */
  replace(bytes: Uint8Array): void {
    this.#bytes = bytes.slice();
  }

  replaceSnapshots(snapshots: readonly ModelSnapshot[]): void {
    this.#snapshots = snapshots;
  }

  /** Everything that was changed is durable, and nothing is under way. */
  flushed(): void {
    this.#durable = this.#bytes;
    this.#candidates = [];
    this.#sizes = [this.#bytes.length];
    this.#snapshotLists = [this.#snapshots];
    this.#isStructural = false;
  }
}

/** What is wrong with a content that was found after a crash: a sentence, or undefined. */
export function judgeContent(found: Uint8Array, expectation: Expectation): string | undefined {
  if (!expectation.sizes.includes(found.length)) {
    return `the disk has ${String(found.length)} bytes; ${expectation.sizes.join(' or ')} were possible`;
  }
  for (let at = 0; at < found.length; at += sectorSize) {
    // Most of a disk is as it was: many sectors are compared at once.
    while (at < found.length && isSame({ found, at, other: expectation.durable, otherAt: at, length: strideLength })) {
      at += strideLength;
    }
    if (at >= found.length || isSectorPossible(found, at, expectation)) continue;
    const since = expectation.candidates.slice(0, expectation.candidateCount).filter((one) => covers(one, at));
    return (
      `the sector at ${String(at)} is neither old nor new: found ${headOf(found, at)}, durable ` +
      `${headOf(expectation.durable, at)}, since then ${since.map((one) => headOf(one.bytes, at - one.offset)).join(' ')}`
    );
  }
  return undefined;
}

const strideLength = 16 * sectorSize;

function isSectorPossible(found: Uint8Array, at: number, expectation: Expectation): boolean {
  const { durable, candidates, candidateCount } = expectation;
  const length = sectorSize;
  if (isSame({ found, at, other: durable, otherAt: at, length })) return true;
  for (let index = candidateCount - 1; index >= 0; index -= 1) {
    const candidate = candidates[index];
    assert(candidate !== undefined, 'candidates only grow in number');
    const otherAt = at - candidate.offset;
    if (covers(candidate, at) && isSame({ found, at, other: candidate.bytes, otherAt, length })) return true;
  }
  return false;
}

function covers(candidate: Candidate, at: number): boolean {
  return at >= candidate.offset && at < candidate.offset + candidate.bytes.length;
}

/** Whether a stretch is there, and the same, in both. */
function isSame(stretch: {
  readonly found: Uint8Array;
  readonly at: number;
  readonly other: Uint8Array;
  readonly otherAt: number;
  readonly length: number;
}): boolean {
  const one = stretch.found.subarray(stretch.at, stretch.at + stretch.length);
  const other = stretch.other.subarray(stretch.otherAt, stretch.otherAt + stretch.length);
  return one.length > 0 && Buffer.compare(one, other) === 0;
}

function headOf(bytes: Uint8Array, at: number): string {
  return `[${[...bytes.subarray(at, at + 4)].join(',')}…]`;
}
