// Judges a history: is there one order of everything that happened, true to the clock, that explains every answer?
//
// The search is Wing and Gong's, with the memory of Lowe: of what was ordered already together with the content that it
// led to, each is looked at once. What only looks is put in its place as soon as it fits: that never hurts. Where many
// small changes overlap, a wrong choice at the start would show only at the end, after more orders than anybody can look
// at; so what somebody is still to see is looked ahead for (`Foresight`), and where that does not help the search begins
// again and prefers other requests.

import { assert } from '../../src/base/assert.ts';
import { Foresight } from './foresight.ts';
import { Prng } from './prng.ts';
import { applied, looksOnly } from './tracked-disk.ts';
import type { Content, Happening } from './tracked-disk.ts';

/** How many orders one search looks at; most histories of the tests need some thousands. */
const looksMax = 20_000;
const searchesMax = 50;

/** A sentence that tells where no order goes on, or undefined when there is one that explains everything. */
export function explainHistory(first: Content, happenings: readonly Happening[]): string | undefined {
  const ordered = happenings.toSorted((one, other) => one.asked - other.asked);
  const prng = new Prng(ordered.length);
  const foresight = new Foresight(ordered);
  for (let count = 0; count < searchesMax; count += 1) {
    const search = new Search(ordered, foresight, count === 0 ? byAnswer : byChance(ordered, prng));
    if (search.explains(first)) return undefined;
    if (!search.isTired) return search.report();
  }
  return `nobody knows whether an order explains the history: ${searchesMax} searches found none, and ended before their end`;
}

/** Line by line. */
export function tellHistory(happenings: readonly Happening[]): string {
  return happenings
    .map(({ what, action, asked, answered }) => `  ${asked}…${answered} ${what}: ${JSON.stringify(action)}`)
    .join('\n');
}

/** Which of those that may be next is tried first: the one with the least number. */
type Preference = (happening: Happening) => number;

/** What was answered first most likely happened first. */
function byAnswer({ answered }: Happening): number {
  return answered;
}

/** All that one request does has one number. */
function byChance(happenings: readonly Happening[], prng: Prng): Preference {
  const numbers = new Map(happenings.map(({ asked }) => [asked, prng.below(1_000_000)]));
  return ({ asked }) => numbers.get(asked) ?? 0;
}

class Search {
  readonly #happenings: readonly Happening[];
  readonly #done: Uint8Array;
  readonly #seen = new Set<string>();
  readonly #preference: Preference;
  readonly #foresight: Foresight;
  #doneCount = 0;
  #looks = 0;
  /** How far the best order came, and what could not follow it. */
  #best = { count: -1, content: [] as Content, stuck: [] as readonly Happening[] };

  constructor(happenings: readonly Happening[], foresight: Foresight, preference: Preference) {
    this.#happenings = happenings;
    this.#foresight = foresight;
    this.#preference = preference;
    this.#done = new Uint8Array(happenings.length);
  }

  /** Whether it ended before it had looked at every order. */
  get isTired(): boolean {
    return this.#looks > looksMax;
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
      if (this.#isNew(after) && this.#foresight.hasHope(after, this.#done) && this.explains(after)) return true;
      this.#mark(index, 0);
      if (this.isTired) return false;
    }
    for (const index of looked) this.#mark(index, 0);
    return false;
  }

  report(): string {
    const { count, content, stuck } = this.#best;
    return `no order explains the history: after ${count} of ${this.#happenings.length} the content is [${content.join(' ')}], and one of these must follow:\n${tellHistory(stuck)}`;
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
    return open
      .filter((index) => this.#at(index).asked < firstAnswer)
      .toSorted((one, other) => this.#preference(this.#at(one)) - this.#preference(this.#at(other)));
  }

  #isComplete(): boolean {
    return this.#happenings.every(({ answered }, index) => answered === Infinity || this.#done[index] === 1);
  }

  #isNew(content: Content): boolean {
    this.#looks += 1;
    if (this.isTired) return false;
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
