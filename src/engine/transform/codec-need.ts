// Work of codecs as a need of a long run: asked for early, answered by whoever can, taken when it is its turn.

import { assert } from '../../base/assert.ts';
import type { Fault } from '../../base/fault.ts';
import type { CodecResult, CodecTask } from './codec-task.ts';
import { performTask } from './codec-work.ts';

/** What nobody has answered by the time it is taken is done on the spot: a run needs nobody who knows of needs. */
export class CodecNeed {
  readonly task: CodecTask;
  #answer: CodecResult | Fault | undefined;

  constructor(task: CodecTask) {
    this.task = task;
  }

  get isAnswered(): boolean {
    return this.#answer !== undefined;
  }

  /** With the result, or why there is none. */
  answer(answer: CodecResult | Fault): void {
    assert(this.#answer === undefined, 'a need is answered once');
    this.#answer = answer;
  }

  /** Throws the fault that was answered. */
  take(): CodecResult {
    const answer = this.#answer ?? performTask(this.task);
    if ('code' in answer) throw answer;
    return answer;
  }
}
