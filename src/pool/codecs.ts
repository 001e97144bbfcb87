// Who packs clusters for the engine threads: the runs of all of them share a few codec threads.

import { packClusters } from '../engine/image.ts';
import type { PackedClusters, PackTask } from '../engine/image.ts';

/** The task's buffer is the codec's from then on, and comes back with the packed clusters in it. */
export interface Codecs {
  /** Fault `engine-lost` when whoever packed has died over it, or nobody packs any more. */
  pack(task: PackTask): Promise<PackedClusters>;
  close(): Promise<void>;
}

/** On the calling thread, for pools without threads. */
export const inlineCodecs: Codecs = {
  pack: async (task) => packClusters(task),
  close: async () => undefined,
};
