// What is still to be seen in a history, so that an order that cannot show it any more is given up at once.

import { brings, demandsOf, keeps, looksOnly } from './tracked-disk.ts';
import type { Content, Happening } from './tracked-disk.ts';

/** Somebody sees this value in this cell. Happenings by their place in the history. */
interface Demand {
  readonly look: number;
  readonly cell: number;
  readonly value: number;
  /** What may bring the value. */
  readonly bringers: readonly number[];
  /** What takes the value away for certain, and was over before the look began. */
  readonly enemies: readonly number[];
}

export class Foresight {
  readonly #demands: readonly Demand[];

  constructor(happenings: readonly Happening[]) {
    const changes = [...happenings.entries()].filter(([, { action }]) => !looksOnly(action));
    const demands: Demand[] = [];
    for (const [look, { action, asked, answered }] of happenings.entries()) {
      // Nobody knows whether that one has seen anything.
      if (answered === Infinity) continue;
      for (const [cell, value] of demandsOf(action)) {
        const bringers = changes.filter(([, change]) => brings(change.action, cell, value));
        const enemies = changes.filter(([, change]) => change.answered < asked && !keeps(change.action, cell, value));
        const indexes = (list: typeof changes): readonly number[] => list.map(([index]) => index);
        demands.push({ look, cell, value, bringers: indexes(bringers), enemies: indexes(enemies) });
      }
    }
    this.#demands = demands;
  }

  /** False when something that is not `done` yet cannot be seen any more, whatever comes after this content. */
  hasHope(content: Content, done: Uint8Array): boolean {
    const isOpen = (index: number): boolean => done[index] === 0;
    for (const { look, cell, value, bringers, enemies } of this.#demands) {
      if (!isOpen(look) || bringers.some(isOpen)) continue;
      if (content[cell] !== value || enemies.some(isOpen)) return false;
    }
    return true;
  }
}
