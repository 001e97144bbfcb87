// How whoever started a long work watches it: asks it to stop, hears how far it is, and knows what to look for after a crash.

import type { WorkTrace } from '../catalog/catalog.ts';
import type { ProgressListener } from '../pool/engine-pool.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { Passphrases } from './passphrases.ts';

export interface WorkControl {
  /** Asks the work to stop at its next step; it undoes what it must, and fails with the signal's reason. */
  readonly signal: AbortSignal;
  /** Whether it is a job by now: then it waits for what is busy, and is not refused. See {@link Patience}. */
  readonly accepted: () => boolean;
  readonly onProgress: ProgressListener;
  /** The lease that the work is done with, if any. */
  readonly claim: LeaseClaim | undefined;
  /** What came with the request for encrypted images; work that is begun again after a crash has none. */
  readonly passphrases?: Passphrases | undefined;
  /** The idempotency key that is settled in the same step as the effect. */
  readonly key: string | undefined;
  /** Told when the request has got through the door: the image is there, in a state that allows the work. */
  readonly admitted: (imageId: string) => void;
  /** Told when the work begins; it may have waited for its turn. */
  readonly started: () => void;
  /** Told what is about to be made, before it is; durable when it answers, as far as anybody relies on it. */
  readonly note: (trace: WorkTrace) => Promise<void>;
}
