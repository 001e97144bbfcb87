// Who uses an image, and what an image in use tells everybody.

import { Fault } from '../base/fault.ts';
import type { CallOptions, RunOptions } from '../pool/engine-pool.ts';
import type { RunName, VolumeKeys } from '../pool/protocol.ts';
import type { Patience } from './job-patience.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { Passphrases } from './passphrases.ts';
import type { MayLeave } from './turns.ts';
import type { WorkControl } from './work-control.ts';

/** For whom an image is entered. */
export interface VisitorOptions {
  /** Whether the caller came to change the image. */
  readonly changes: boolean;
  /** Whether an overlay is to be put on the image: its leases are asked. */
  readonly overlays?: boolean | undefined;
  readonly signal: AbortSignal | undefined;
  /** The lease that the caller has, if any; left out it has none. */
  readonly claim?: LeaseClaim | undefined;
  /** The caller's own way to the guest data of encrypted images. */
  readonly passphrases?: Passphrases | undefined;
  /** Left out by requests that somebody waits for. */
  readonly patience?: Patience | undefined;
}

/** On which terms a client asks to change what is said of an image, or to delete it. */
export interface EditTerms {
  /** Throws when the client meant another version. */
  readonly judge: (version: number) => void;
  /** The lease that the client has, if any. */
  readonly claim: LeaseClaim | undefined;
}

/** For whom a call is made. */
export interface CallerOptions extends Pick<VisitorOptions, 'changes' | 'signal' | 'patience'> {
  /** The epoch of the image in which the caller was let in to change it; left out for whoever only reads. */
  readonly epoch?: number;
  /** What the caller's own passphrases open; where there is none, what the image is unlocked with counts. */
  readonly keys?: VolumeKeys | undefined;
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

/**
 * How long a caller waits for the turn in which the image is opened for it: until it goes away, its job is cancelled, or
 * as long as for a run. Otherwise each of those who wait for a run would wait for all before it, one after the other.
 */
export function mayLeaveOf(
  { signal, patience }: CallerOptions,
  { patienceMs, onLeft }: { readonly patienceMs: number; readonly onLeft: () => void },
): MayLeave {
  const late = (): Fault => new Fault('engine-busy', { waitedMs: patienceMs });
  const signals = [signal, patience?.signal].filter((one) => one !== undefined);
  return { within: { limitMs: patienceMs, late }, signals, onLeft };
}

/**
 * What the pool is told of a caller. What a job only reads it does not need any more when it is cancelled; a change, and
 * what tells of it, goes on to its end.
 */
export function callOptionsOf({ changes, signal, epoch, keys, patience }: CallerOptions): CallOptions {
  return {
    signal: signal ?? (changes ? undefined : patience?.signal),
    ...(epoch === undefined ? {} : { epoch }),
    ...(keys === undefined ? {} : { keys }),
    ...(patience?.accepted() === true ? { patient: true } : {}),
  };
}

/** The same for a run, which ends when the caller, whoever watches it, or `cut` wants it to. */
export function runOptionsOf(caller: RunCaller, cut: AbortSignal): RunOptions {
  const { control } = caller;
  const signals = [cut, caller.signal, control?.signal].filter((one) => one !== undefined);
  return { ...callOptionsOf(caller), signal: AbortSignal.any(signals), onProgress: control?.onProgress };
}

/** Runs that leave the image as it is. */
export const readingRuns: readonly RunName[] = ['check', 'digest', 'compare', 'measure', 'copy'];
