// Images whose files are open on a thread that was given up: it may still be in the middle of a write.

import { Fault } from '../base/fault.ts';

export class StuckImages {
  /** By image id, what is the matter. */
  readonly #reasons = new Map<string, string>();

  /** Nobody else opens these files until the thread has ended. */
  hold(imageIds: readonly string[], thread: { readonly reason: string; readonly gone: Promise<void> }): void {
    for (const imageId of imageIds) this.#reasons.set(imageId, thread.reason);
    void thread.gone.finally(() => {
      for (const imageId of imageIds) this.#reasons.delete(imageId);
    });
  }

  /** Fault `engine-lost` {reason} while the image is stuck. */
  requireFree(imageId: string): void {
    const reason = this.#reasons.get(imageId);
    if (reason !== undefined) throw new Fault('engine-lost', { reason });
  }
}
