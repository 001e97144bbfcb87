// The pool as services see it: handles on open images, calls and runs on them. Says nothing about threads.

import type { CheckReport, ImageDescription } from '../engine/image.ts';
import type { AdmitRequest, CallName, CreateRequest, EngineCalls, EngineRuns, OpenRequest, RunName } from './protocol.ts';

/** Progress of a run, in the run's own unit. */
export type ProgressListener = (done: number, total: number) => void;

export interface CallOptions {
  /** An aborted signal drops a call that has not started, and asks a run to stop at its next step. */
  readonly signal: AbortSignal | undefined;
}

export interface RunOptions extends CallOptions {
  readonly onProgress: ProgressListener | undefined;
}

/** An image opened on one engine thread. Release it when done; the image closes some idle seconds after the last release. */
export interface EngineHandle {
  readonly imageId: string;
  call<Name extends CallName>(name: Name, args: EngineCalls[Name]['args'], options: CallOptions): Promise<EngineCalls[Name]['result']>;
  run<Name extends RunName>(name: Name, args: EngineRuns[Name]['args'], options: RunOptions): Promise<EngineRuns[Name]['result']>;
  release(): void;
}

/** Faults: `engine-busy`, `engine-lost`, `image-in-use`, and every fault of the engine. */
export interface EnginePool {
  /** Opens an image, or joins it where it is open already. A dirty image is recovered before the handle is given. */
  open(request: OpenRequest, options: CallOptions): Promise<EngineHandle>;
  /** Makes an image file; sound before its magic is valid, durable when answered. */
  create(request: CreateRequest, options: RunOptions): Promise<ImageDescription>;
  /** Judges a foreign file completely and makes it sound: leaks and the dirty bit are mended, worse is `unsafe-image`. */
  admit(request: AdmitRequest, options: RunOptions): Promise<{ description: ImageDescription; report: CheckReport }>;
  /** Flushes and closes an image that nobody holds, on whichever thread it is open; waits until its file is closed. */
  evict(imageId: string): Promise<void>;
  /** Flushes and closes everything and ends the threads. */
  close(): Promise<void>;
}
