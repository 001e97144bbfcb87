// Judges a history: is there one order of everything that happened, true to the clock, that explains every answer?
//
// The search is Wing and Gong's, with the memory of Lowe: of what was ordered already together with the content that it
// led to, each is looked at once. What only looks is put in its place as soon as it fits: that never hurts.

import { assert } from '../../src/base/assert.ts';
import { applied, looksOnly } from './tracked-disk.ts';
import type { Action, Content } from './tracked-disk.ts';

/** One thing that happened at one moment between two ticks. */
export interface Happening {
  readonly action: Action;
  readonly asked: number;
  /** `Infinity` when nobody knows whether it happened at all. */
  readonly answered: number;
  /** The request that it belongs to, for the report. */
  readonly what: string;
}

/** How many orders are looked at; histories of the tests need some thousands. */
const looksMax = 100_000;

/** A sentence that tells where no order goes on, or undefined when there is one that explains everything. */
export function explainHistory(first: Content, happenings: readonly Happening[]): string | undefined {
  const search = new Search(happenings.toSorted((one, other) => one.asked - other.asked));
  return search.explains(first) ? undefined : search.report();
}

class Search {
  readonly #happenings: readonly Happening[];
  readonly #done: Uint8Array;
  readonly #seen = new Set<string>();
  #doneCount = 0;
  #looks = 0;
  /** How far the best order came, and what could not follow it. */
  #best = { count: -1, content: [] as Content, stuck: [] as readonly Happening[] };

  constructor(happenings: readonly Happening[]) {
    this.#happenings = happenings;
    this.#done = new Uint8Array(happenings.length);
  }

  explains(content: Content): boolean {
    const looked = this.#placeLooks(content);
    if (this.#isComplete()) return true;
    const candidates = this.#candidates();
    this.#note(content, candidates);
    for (const index of candidates) {
      const after = applied(this.#at(index).action, content);
      if (after === undefined) continue;
      this.#mark(index, 1);
      if (this.#isNew(after) && this.explains(after)) return true;
      this.#mark(index, 0);
    }
    for (const index of looked) this.#mark(index, 0);
    return false;
  }

  report(): string {
    const { count, content, stuck } = this.#best;
    const lines = stuck.map(
      ({ what, action, asked, answered }) => `  ${asked}…${answered} ${what}: ${JSON.stringify(action)}`,
    );
    return `no order explains the history: after ${count} of ${this.#happenings.length} the content is [${content.join(' ')}], and one of these must follow:\n${lines.join('\n')}`;
  }

  #placeLooks(content: Content): readonly number[] {
    const placed: number[] = [];
    for (let progress = true; progress;) {
      progress = false;
      for (const index of this.#candidates()) {
        const { action } = this.#at(index);
        if (!looksOnly(action) || applied(action, content) === undefined) continue;
        this.#mark(index, 1);
        placed.push(index);
        progress = true;
      }
    }
    return placed;
  }

  /** Whatever may be next: asked before the first answer of all that is still to come. */
  #candidates(): readonly number[] {
    let firstAnswer = Infinity;
    const open: number[] = [];
    for (let index = 0; index < this.#done.length; index += 1) {
      const { asked, answered } = this.#at(index);
      if (asked > firstAnswer) break;
      if (this.#done[index] === 1) continue;
      firstAnswer = Math.min(firstAnswer, answered);
      open.push(index);
    }
    return open.filter((index) => this.#at(index).asked < firstAnswer);
  }

  #isComplete(): boolean {
    return this.#happenings.every(({ answered }, index) => answered === Infinity || this.#done[index] === 1);
  }

  #isNew(content: Content): boolean {
    this.#looks += 1;
    assert(this.#looks <= looksMax, 'a history is small enough to be judged');
    const key = `${Buffer.from(this.#done).toString('latin1')} ${content.join(' ')}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  #mark(index: number, done: 0 | 1): void {
    this.#done[index] = done;
    this.#doneCount += done === 1 ? 1 : -1;
  }

  #note(content: Content, candidates: readonly number[]): void {
    if (this.#doneCount <= this.#best.count) return;
    this.#best = { count: this.#doneCount, content, stuck: candidates.map((index) => this.#at(index)) };
  }

  #at(index: number): Happening {
    const happening = this.#happenings[index];
    assert(happening !== undefined, 'an index of the history');
    return happening;
  }
}
