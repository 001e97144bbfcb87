// Turns for each image by itself, kept only while somebody has one or waits.

import { Turns } from './turns.ts';

export class TurnsByImage {
  readonly #turns = new Map<string, Turns>();

  /** As {@link Turns.take}, among the works of one image. */
  async take<Result>(imageId: string, work: () => Promise<Result>): Promise<Result> {
    const turns = this.#turns.get(imageId) ?? new Turns();
    this.#turns.set(imageId, turns);
    try {
      return await turns.take(work);
    } finally {
      if (turns.idle) this.#turns.delete(imageId);
    }
  }
}
