// Who uses an image, and what an image in use tells everybody.

import type { CallOptions, RunOptions } from '../pool/engine-pool.ts';
import type { RunName } from '../pool/protocol.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { WorkControl } from './work-control.ts';

/** For whom an image is entered. */
export interface VisitorOptions {
  /** Whether the caller came to change the image. */
  readonly changes: boolean;
  readonly signal: AbortSignal | undefined;
  /** The lease that the caller has, if any; left out it has none. */
  readonly claim?: LeaseClaim | undefined;
  /** The caller's own way to the guest data of an encrypted image. */
  readonly passphrase?: Uint8Array | undefined;
}

/** For whom a call is made. */
export interface CallerOptions extends Pick<VisitorOptions, 'changes' | 'signal'> {
  /** The epoch of the image in which the caller was let in to change it; left out for whoever only reads. */
  readonly epoch?: number;
  /** The volume key that the caller's own passphrase opens; left out, what the image is unlocked with counts. */
  readonly key?: Uint8Array | undefined;
}

/** For whom a run is made. */
export interface RunCaller extends CallerOptions {
  /** Who watches it. */
  readonly control: WorkControl | undefined;
}

/** What every answer of the image's thread brings up to date. */
export interface ImagePulse {
  readonly virtualSize: number;
  readonly generation: number;
  readonly lossCount: number;
}

/** What the pool is told of a caller. */
export function callOptionsOf({ signal, epoch, key }: CallerOptions): CallOptions {
  return { signal, ...(epoch === undefined ? {} : { epoch }), ...(key === undefined ? {} : { key }) };
}

/** The same for a run, which ends when the caller, whoever watches it, or `cut` wants it to. */
export function runOptionsOf(caller: RunCaller, cut: AbortSignal): RunOptions {
  const { control } = caller;
  const signals = [cut, caller.signal, control?.signal].filter((one) => one !== undefined);
  return { ...callOptionsOf(caller), signal: AbortSignal.any(signals), onProgress: control?.onProgress };
}

/** Runs that leave the image as it is. */
export const readingRuns: readonly RunName[] = ['check', 'digest', 'compare', 'measure', 'copy'];
