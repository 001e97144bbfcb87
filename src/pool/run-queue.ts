// The runs of one thread: one step of one of them at a time, in turns.

import type { OpenImage } from './open-image.ts';
import type { Run } from './run.ts';

/** A run is in the queue but while it does its step. */
export class RunQueue<Image extends OpenImage> {
  readonly #runs: Run<Image>[] = [];

  /** Whether {@link takeNext} would hand a run out. */
  get hasNext(): boolean {
    return this.#runs.some((run) => !run.isWaiting);
  }

  /** At the end: it is the turn of the others. */
  add(run: Run<Image>): void {
    this.#runs.push(run);
  }

  /** Takes out the first one that is not waiting. */
  takeNext(): Run<Image> | undefined {
    const index = this.#runs.findIndex((run) => !run.isWaiting);
    return index < 0 ? undefined : this.#runs.splice(index, 1)[0];
  }

  withId(id: number): Run<Image> | undefined {
    return this.#runs.find((run) => run.id === id);
  }

  /** The one that has an image. */
  on(image: Image): Run<Image> | undefined {
    return this.#runs.find((run) => run.image === image);
  }

  /** Takes out the one that has an image. */
  takeOn(image: Image): Run<Image> | undefined {
    const index = this.#runs.findIndex((run) => run.image === image);
    return index < 0 ? undefined : this.#runs.splice(index, 1)[0];
  }

  clear(): void {
    this.#runs.length = 0;
  }
}
