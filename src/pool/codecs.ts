// Who packs clusters for the engine threads: the runs of all of them share a few codec threads.

import { performTask } from '../engine/image.ts';
import type { CodecResult, CodecTask } from '../engine/image.ts';

/** The task's buffer is the codec's from then on; packed clusters come back in it. */
export interface Codecs {
  /** Fault `engine-lost` when whoever did it has died over it, or nobody does anything any more. */
  perform(task: CodecTask): Promise<CodecResult>;
  /** Repeated closing is no harm. */
  close(): Promise<void>;
}

/** On the calling thread, for pools without threads. */
export const inlineCodecs: Codecs = {
  perform: async (task) => performTask(task),
  close: async () => undefined,
};
