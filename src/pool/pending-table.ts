// What waits for an answer, by the id that the answer will name. A ring of slots instead of a map: a map that is filled and
// emptied by the thousand makes itself anew every few entries, and an old one points to the next. Once one of them has
// come to the old generation, all later ones live until that is collected, with the requests that were in them.
//
//   id          …  8   9  10  11  12  13 …       the slot of an id is what is left of it when whole rings are taken off
//   slot           0   1   2   3   4   5  6  7
//                  ·   9   ·  11  12   ·  ·  ·    · free; the next id is the next one whose slot is free

import { assert, present } from '../base/assert.ts';

interface Slot<Item> {
  readonly id: number;
  readonly item: Item;
}

/** Room at first; it doubles when it is full. A power of two. */
const firstCapacity = 64;

export class PendingTable<Item> {
  #slots: (Slot<Item> | undefined)[] = Array.from({ length: firstCapacity }, () => undefined);
  #lastId = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The ids of what waits, in the order in which they were given. */
  get ids(): readonly number[] {
    return this.#slots.flatMap((slot) => (slot === undefined ? [] : [slot.id])).toSorted((one, other) => one - other);
  }

  /** Keeps an item under a new id. */
  add(item: Item): number {
    if (this.#size === this.#slots.length) this.#grow();
    let id = this.newId();
    while (this.#slots[this.#indexOf(id)] !== undefined) id = this.newId();
    this.#slots[this.#indexOf(id)] = { id, item };
    this.#size += 1;
    return id;
  }

  /** An id that nothing waits under, and nothing ever will. */
  newId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  get(id: number): Item | undefined {
    const slot = this.#slots[this.#indexOf(id)];
    return slot?.id === id ? slot.item : undefined;
  }

  /** The item, which waits no longer. */
  take(id: number): Item | undefined {
    const index = this.#indexOf(id);
    const slot = this.#slots[index];
    if (slot?.id !== id) return undefined;
    this.#slots[index] = undefined;
    this.#size -= 1;
    return slot.item;
  }

  #indexOf(id: number): number {
    return id % this.#slots.length;
  }

  /** Ids that differ within a ring differ within one of twice its length. */
  #grow(): void {
    const old = this.#slots;
    this.#slots = Array.from({ length: old.length * 2 }, () => undefined);
    for (const slot of old) {
      const { id } = present(slot, 'a table grows when it is full');
      assert(this.#slots[this.#indexOf(id)] === undefined, 'no two ids have the same slot');
      this.#slots[this.#indexOf(id)] = slot;
    }
  }
}
