// The pool as services see it: handles on open images, calls and runs on them. Says nothing about threads.

import type { CheckReport, ImageDescription, MeasuredSize, KeySlotPlan, NewEncryption } from '../engine/image.ts';
import type {
  AdmitRequest,
  CallName,
  CreateRequest,
  EncryptionRequest,
  EngineCalls,
  EngineRuns,
  JudgeHeadRequest,
  KeySlotRequest,
  MeasureRequest,
  OpenRequest,
  RunName,
  VolumeKeys,
} from './protocol.ts';

/** Progress of a run, in the run's own unit. */
export type ProgressListener = (done: number, total: number) => void;

export interface CallOptions {
  /**
   * An aborted signal drops what has not started, and asks a run to stop at its next step; the promise is then
   * rejected with the signal's reason, a run's once everything is undone. What was over by then, or too far to be undone,
   * is answered as usual.
   */
  readonly signal: AbortSignal | undefined;
  /**
   * In which epoch of its image the caller was admitted to change it; see {@link EngineHandle.fence}. Left out by
   * readers, and by the service's own work, which nothing fences off.
   */
  readonly epoch?: number;
  /**
   * Volume keys of the image and of files below it or beside it, for this call or run alone; they are copied. Where there
   * is none, what the image is unlocked with counts.
   */
  readonly keys?: VolumeKeys | undefined;
  /** Whether a call waits for a run on the image until that is over; left out, it is `engine-busy` after some seconds. */
  readonly patient?: boolean;
}

export interface RunOptions extends CallOptions {
  readonly onProgress: ProgressListener | undefined;
}

/** An image opened on one engine thread. Release it when done; the image closes some idle seconds after the last release. */
export interface EngineHandle {
  readonly imageId: string;
  /** In bytes, as of the latest answer of the image's thread: whatever was answered to anybody before now is counted. */
  readonly virtualSize: number;
  /** The generation of the guest data, as of the latest answer like `virtualSize`. */
  readonly generation: number;
  /**
   * How often this pool has lost the image while it was open for writing (its thread died, it broke, it could not be
   * closed). As long as this number stays, everything that was answered is still there for the next flush.
   */
  readonly lossCount: number;
  /** Faults of every call: `engine-busy`, `engine-lost`, `image-failed`, and those of the engine. */
  call<Name extends CallName>(
    name: Name,
    args: EngineCalls[Name]['args'],
    options: CallOptions,
  ): Promise<EngineCalls[Name]['result']>;
  run<Name extends RunName>(
    name: Name,
    args: EngineRuns[Name]['args'],
    options: RunOptions,
  ): Promise<EngineRuns[Name]['result']>;
  /**
   * Begins a new epoch of the image, and answers when nothing of an older one can change it any more: what has not
   * started faults `fencing-token-stale`, and so does a run under way, once everything is undone; one that is too far for
   * that goes on to its end first.
   */
  fence(epoch: number): Promise<void>;
  /**
   * The volume key of the image, or of the file `below` it, that the passphrase opens; whoever gets it wipes it. It takes seconds, beside everything else that the
   * image does. Faults `wrong-passphrase`, `unsupported-option`, `engine-busy` after some seconds more.
   */
  findVolumeKey(
    passphrase: Uint8Array,
    options: CallOptions & { readonly below?: string | undefined },
  ): Promise<Uint8Array>;
  /** What is to be written for a change of key slots, computed as {@link findVolumeKey} does it; `changeKeySlots` writes it. */
  planKeySlots(request: KeySlotRequest, options: CallOptions): Promise<KeySlotPlan>;
  /** Unlocks the image for everybody with these keys, and locks it where there is none; until then, and at the end, they are wiped by the thread. */
  useKeys(keys: VolumeKeys): Promise<void>;
  /** Ends the handle, and the exports planned with it. Repeated releases are no harm; calls after it are a bug. */
  release(): void;
}

/** How much the pool has to do. */
export interface PoolFigures {
  readonly threads: number;
  readonly openImages: number;
  /** Calls and runs that are not answered yet, and the bytes that they carry or ask for. */
  readonly queuedRequests: number;
  readonly queuedBytes: number;
  /** Threads that ended by themselves or were given up because they did not answer, since the start. */
  readonly threadsLost: number;
  /** Images that went to another thread, since the start. */
  readonly imagesMoved: number;
  /** What the cached tables of all open images take, and how often a table was there when it was needed, or not. */
  readonly cacheBytes: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
}

/** Faults: `engine-busy`, `engine-lost`, `image-in-use`, and every fault of the engine. */
export interface EnginePool {
  /**
   * Opens an image, or joins it where it is open already. A dirty image that is opened writable is recovered before
   * the handle is given. An image that is open read-only is drained and opened again for a writable request; the
   * handles on it stay good.
   */
  open(request: OpenRequest, options: CallOptions): Promise<EngineHandle>;
  /** Makes an image file; sound before its magic is valid, durable when answered. */
  create(request: CreateRequest, options: RunOptions): Promise<ImageDescription>;
  /**
   * Makes the key of an image that is to be made, lets `use` have it, and wipes it; takes seconds, beside everything else.
   * Faults `unsupported-option`, `engine-busy`, and those of `use`.
   */
  withNewKey<Result>(
    request: EncryptionRequest,
    options: CallOptions,
    use: (made: NewEncryption) => Promise<Result>,
  ): Promise<Result>;
  /** Judges the beginning of a foreign file, before the rest is there; faults `unsafe-image` as `admit` would. */
  judgeHead(request: JudgeHeadRequest, options: CallOptions): Promise<void>;
  /** How large a new file will be; faults as making it would. */
  measure(request: MeasureRequest, options: CallOptions): Promise<MeasuredSize>;
  /** Judges a foreign file completely and makes it sound: leaks and the dirty bit are mended, worse is `unsafe-image`. */
  admit(request: AdmitRequest, options: RunOptions): Promise<{ description: ImageDescription; report: CheckReport }>;
  /** Faults `engine-lost` while the file is open on a thread that does not answer, and may still be written to. */
  requireUnstuck(imageId: string): void;
  /**
   * Flushes and closes an image on whichever thread it is open, at once after its last release; waits until its file
   * is closed. Not open is no harm.
   */
  evict(imageId: string): Promise<void>;
  /**
   * Gives the bytes of an answered read back, so that another read may have their buffer. Only when nobody looks at
   * them any more: a response has to be closed. Never necessary.
   */
  recycle(bytes: Uint8Array): void;
  /** How long a call waits for what is under way on its image, in milliseconds; then it is `engine-busy`. */
  readonly patienceMs: number;
  figures(): PoolFigures;
  /**
   * Proves that every thread answers; in the place of one that has died a new one is started. Faults `engine-busy` {waitedMs}
   * when one does not answer in time, and `engine-lost` when one ends over it.
   */
  ping(): Promise<void>;
  /**
   * Nobody packs clusters any more, and a run that still needs it faults `engine-lost`. Once all runs are cut: what they
   * have asked for takes its time from the closing of images.
   */
  stopPacking(): void;
  /** Stops the runs, flushes and closes everything and ends the threads. */
  close(): Promise<void>;
}
