// What travels between a pool and one engine thread, in lists and in order. Everything survives a structured clone.

import type { FaultCode } from '../base/fault-codes.ts';
import type { FaultContext } from '../base/fault.ts';
import type { CacheTotals, CodecResult, CodecTask } from '../engine/image.ts';
import type { HandOver } from './hand-over.ts';
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

/** An image on its thread, as the pool numbers it: every opening gets a new number. */
export type ImageNumber = number;

/** The keys of whoever asks, for this request alone; undefined for whoever has none of their own. */
export type OwnKeys = VolumeKeys | undefined;

/** The calls that are done in one go; planning an export is asked for like a call, and done like a run. */
export type PlainCallName = Exclude<CallName, 'planExport'>;

/** One row of the table of calls, as asked for. */
export type CallBody<Name extends PlainCallName = PlainCallName> = {
  readonly [Each in Name]: { readonly name: Each; readonly args: EngineCalls[Each]['args'] };
}[Name];

/** One row of the table of runs, as asked for. */
export type RunBody<Name extends RunName = RunName> = {
  readonly [Each in Name]: { readonly name: Each; readonly args: EngineRuns[Each]['args'] };
}[Name];

/** What a request asks for; all but `cancel` are answered exactly once, under their id. */
export type RequestBody =
  /** Answered when the thread is up. */
  | { readonly kind: 'hello' }
  /** Opens an image under its number; or opens it again, for writing; or goes on with one that another thread has left. */
  | {
      readonly kind: 'open';
      readonly image: ImageNumber;
      readonly request: OpenRequest;
      readonly handOver?: HandOver | undefined;
    }
  /** Holds the locks of an image that another thread has open, until `unguard`. */
  | { readonly kind: 'guard'; readonly image: ImageNumber; readonly request: OpenRequest }
  | { readonly kind: 'unguard'; readonly image: ImageNumber }
  /** As `close`, answered with the {@link HandOver}; what cannot be settled stays open here. */
  | { readonly kind: 'leave'; readonly image: ImageNumber }
  /** Flushes and closes the image after everything that is waiting. */
  | { readonly kind: 'close'; readonly image: ImageNumber }
  /** Bytes are read into the buffer, when one comes along: it is as long as the read. */
  | {
      readonly kind: 'call';
      readonly image: ImageNumber;
      readonly call: CallBody;
      readonly into: ArrayBuffer | undefined;
      readonly epoch: number | undefined;
      readonly keys: OwnKeys;
      /** Whether it waits for a run until that is over. */
      readonly patient?: boolean;
    }
  | {
      readonly kind: 'plan';
      readonly image: ImageNumber;
      readonly args: EngineCalls['planExport']['args'];
      readonly keys: OwnKeys;
    }
  | {
      readonly kind: 'run';
      readonly image: ImageNumber;
      readonly run: RunBody;
      readonly epoch: number | undefined;
      readonly keys: OwnKeys;
    }
  /** Looks for the volume key of the image, or of a file below it, beside everything else that it does; answered with its bytes. */
  | {
      readonly kind: 'findKey';
      readonly image: ImageNumber;
      readonly passphrase: Uint8Array;
      readonly below: string | undefined;
    }
  /** Unlocks the image for everybody with these keys, or locks it; passes everything that waits. */
  | { readonly kind: 'useKeys'; readonly image: ImageNumber; readonly keys: VolumeKeys }
  /** Passes everything that waits; answered when nothing of an older epoch is left. */
  | { readonly kind: 'fence'; readonly image: ImageNumber; readonly epoch: number }
  /** Computes a change of key slots, as `findKey` does; answered with what is to be written. */
  | { readonly kind: 'planSlots'; readonly image: ImageNumber; readonly request: KeySlotRequest }
  /** Makes the keys and the LUKS area of a new image; answered with them. */
  | { readonly kind: 'makeKey'; readonly request: EncryptionRequest }
  | { readonly kind: 'create'; readonly request: CreateRequest }
  | { readonly kind: 'judgeHead'; readonly request: JudgeHeadRequest }
  | { readonly kind: 'measure'; readonly request: MeasureRequest }
  | { readonly kind: 'admit'; readonly request: AdmitRequest };

/** What a need was answered with. */
export type Supply =
  | { readonly kind: 'done'; readonly result: CodecResult }
  | { readonly kind: 'fault'; readonly code: FaultCode; readonly context: FaultContext };

/**
 * To the thread. `cancel` names the request that is to be dropped or undone, `supply` the need that is answered; too late is
 * no harm for either.
 */
export type Message =
  | { readonly id: number; readonly body: RequestBody }
  | { readonly id: number; readonly body: { readonly kind: 'cancel' } }
  | { readonly id: number; readonly body: { readonly kind: 'supply'; readonly supply: Supply } };

/** From the thread. */
export type Answer =
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'fault'; readonly id: number; readonly code: FaultCode; readonly context: FaultContext }
  | { readonly kind: 'cancelled'; readonly id: number }
  | { readonly kind: 'progress'; readonly id: number; readonly done: number; readonly total: number }
  /** A need of a run, under a number of its own; answered by a `supply`. */
  | { readonly kind: 'need'; readonly id: number; readonly task: CodecTask }
  /** Comes before the first answer that knows of it. */
  | {
      readonly kind: 'state';
      readonly image: ImageNumber;
      readonly virtualSize: number;
      readonly generation: number;
    }
  /** The image is no longer open, and its file was left as it was. */
  | { readonly kind: 'lost'; readonly image: ImageNumber; readonly code: FaultCode; readonly context: FaultContext }
  /** How the caches of the thread do by now, since its start. */
  | { readonly kind: 'caches'; readonly totals: CacheTotals }
  /** An internal error, with its place in the code: for the log. */
  | { readonly kind: 'bug'; readonly image: ImageNumber | undefined; readonly stack: string };
