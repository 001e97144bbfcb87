// Clusters that are to be packed, as a need of a long run: asked for early, answered by whoever can, taken when it is their turn.

import { assert } from '../../base/assert.ts';
import type { Fault } from '../../base/fault.ts';
import { packClusters } from './packing.ts';
import type { PackedClusters, PackTask } from './packing.ts';

/** What nobody has answered by the time it is taken is done on the spot: a run needs nobody who knows of needs. */
export class PackNeed {
  readonly task: PackTask;
  #answer: PackedClusters | Fault | undefined;

  constructor(task: PackTask) {
    this.task = task;
  }

  get isAnswered(): boolean {
    return this.#answer !== undefined;
  }

  /** With the packed clusters, or why there are none. */
  answer(answer: PackedClusters | Fault): void {
    assert(this.#answer === undefined, 'a need is answered once');
    this.#answer = answer;
  }

  /** Throws the fault that was answered. */
  take(): PackedClusters {
    const answer = this.#answer ?? packClusters(this.task);
    if ('code' in answer) throw answer;
    return answer;
  }
}
