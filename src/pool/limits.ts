// How much one pool takes on, as named numbers.

import { MiB } from '../base/units.ts';

/** The limits of one engine thread and of the images on it. */
export interface PoolLimits {
  /** Images open at a time on one thread. */
  readonly openImagesMax: number;
  /** Calls and runs of one thread that are not answered yet. */
  readonly queueLengthMax: number;
  /** The bytes that those write or ask for. */
  readonly queueBytesMax: number;
  /** Planned exports of one image. */
  readonly exportPlansMax: number;
  /** How long a call waits for a run on the same image, in milliseconds; another run, and a job's call, wait until it is over. */
  readonly gateWaitMs: number;
  /** How long a thread may take to answer a ping, in milliseconds: many times the longest step of a run. */
  readonly pingWaitMs: number;
  /** How long a thread that owes answers may say nothing, in milliseconds; then its disk hangs, and it is given up. */
  readonly callTimeoutMs: number;
  /** How long somebody waits for a volume key, in milliseconds: several times what QEMU lets a passphrase cost. */
  readonly keyWaitMs: number;
  /** The time between two looks at which threads have too much to do and which nothing, in milliseconds. */
  readonly balanceMs: number;
  /** The time between two looks of a thread at its caches, in milliseconds. */
  readonly tidyMs: number;
  /** The shortest time between two messages about the progress of one run, in milliseconds. */
  readonly progressIntervalMs: number;
}

export const poolLimits: PoolLimits = {
  openImagesMax: 256,
  queueLengthMax: 1024,
  queueBytesMax: 256 * MiB,
  exportPlansMax: 64,
  gateWaitMs: 10_000,
  pingWaitMs: 3_000,
  callTimeoutMs: 60_000,
  keyWaitMs: 30_000,
  balanceMs: 1_000,
  tidyMs: 1_000,
  progressIntervalMs: 100,
};
