// The messages between services and engine threads, as one table of calls and runs. A new verb is a new row.

import { KiB, MiB } from '../base/units.ts';
import type {
  AmendWish,
  BitmapDescription,
  BitmapList,
  BitmapListQuery,
  CheckReport,
  Compacted,
  Comparison,
  ComparisonWish,
  CopySpec,
  CreateSpec,
  DataFileSource,
  DirtyExtentPage,
  DirtyExtentQuery,
  ExtentPage,
  ExtentQuery,
  FoundSnapshot,
  ImageDescription,
  ImageInspection,
  KeySlotPlan,
  LuksWish,
  MeasuredSize,
  MeasureSpec,
  RepairMode,
  RuntimeOptions,
  SnapshotDescription,
  SnapshotPageQuery,
  VolumeKeys,
} from '../engine/image.ts';

export type {
  AmendWish,
  BitmapDescription,
  BitmapList,
  BitmapListQuery,
  CheckFinding,
  CheckReport,
  Compacted,
  Comparison,
  CreateSpec,
  DataFileSource,
  DirtyExtent,
  DirtyExtentPage,
  ExtentItem,
  ExtentPage,
  FoundSnapshot,
  ImageDescription,
  ImageInspection,
  LuksCipher,
  LuksWish,
  MeasuredSize,
  MeasureSpec,
  NewDataFile,
  NewEncryption,
  RepairMode,
  RuntimeOptions,
  SnapshotDescription,
  VolumeKeys,
} from '../engine/image.ts';

/** How much one `read`, `readSnapshot` or `readExport` may ask for, in bytes. */
export const readLengthMax = 1 * MiB;

/** How much one `write` may bring, in bytes: 2 MiB, and a cluster of the largest size to end on a cluster boundary. */
export const writeLengthMax = 4 * MiB;

/** How many snapshots one `snapshots` may ask for: a file can hold 65,536. */
export const snapshotsPerPageMax = 1000;

/** A run's or image's file below the image: the name that the header above holds, and the file it stands for. */
export interface BackingSource {
  /** The backing name exactly as the layer above stores it. */
  readonly fileName: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** The only data file that it may name. */
  readonly dataFile?: DataFileSource | undefined;
}

/** What a thread needs to open an image. */
export interface OpenRequest {
  readonly imageId: string;
  readonly path: string;
  readonly writable: boolean;
  /** The chain below, nearest first; nothing else that an image names is opened. */
  readonly backing: readonly BackingSource[];
  /** The only data file that the image may name; left out for none. */
  readonly dataFile?: DataFileSource | undefined;
  /** The generation to go on counting from; see {@link Changed}. */
  readonly generation: number;
  /** How it is run, if not by the engine's own measure; for a file that is opened now. */
  readonly runtime?: RuntimeOptions | undefined;
}

/** What a thread needs to make an image file. */
export interface CreateRequest {
  readonly imageId: string;
  readonly path: string;
  readonly spec: CreateSpec;
  /** The chain below, nearest first, of what `spec.backing` names; empty without. Only for the description. */
  readonly backing: readonly BackingSource[];
}

/** How a new image is to be encrypted; the thread wipes its copies of the passphrase. */
export type EncryptionRequest =
  | { readonly format: 'aes'; readonly passphrase: Uint8Array }
  | {
      readonly format: 'luks';
      readonly wish: LuksWish;
      /** What trying the passphrase is to take on this machine, in milliseconds. */
      readonly iterTimeMs: number;
      readonly passphrase: Uint8Array;
      /** {@link keyChanceLength} random bytes. */
      readonly chance: Uint8Array;
    };

/** What is to become of the key slots of a LUKS image; the thread wipes its copies of the passphrases. */
export interface KeySlotRequest {
  readonly state: 'active' | 'inactive';
  readonly slot: number | undefined;
  readonly passphrase: Uint8Array | undefined;
  /** Only to make a slot active. */
  readonly newPassphrase: Uint8Array | undefined;
  readonly iterTimeMs: number;
  /** {@link keyChanceLength} random bytes. */
  readonly chance: Uint8Array;
}

/** As many random bytes as keys and salts are made of. */
export const keyChanceLength = 192;

/** Bytes that were read, and their SHA-256 when it was asked for. */
export interface DigestedBytes {
  readonly bytes: Uint8Array;
  /** In base64. */
  readonly sha256?: string;
}

/** What can be judged of a foreign file before all of it is there. */
export interface JudgeHeadRequest {
  /** The first bytes: {@link headLength}, or all there are. */
  readonly head: Uint8Array;
  /** Whether the file may carry a backing name. */
  readonly backing: boolean;
}

/** How many bytes of a file are judged before the rest is there. */
export const headLength = 64 * KiB;

/** What is measured where there is no image yet. */
export interface MeasureRequest {
  readonly spec: MeasureSpec;
  /** In bytes. */
  readonly virtualSize: number;
}

/** What a thread needs to judge a foreign file and make it sound before anybody may use it. */
export interface AdmitRequest {
  readonly path: string;
  /** The backing name that the file may carry afterwards, or none; an own backing name is refused without. */
  readonly backing: BackingSource | undefined;
  /** The chain below `backing`, nearest first. */
  readonly below: readonly BackingSource[];
  readonly repair: RepairMode;
}

/**
 * Every answer of a changing call or run tells the generation after it. Two reads with one generation saw the same
 * bytes: a run raises it at each of its steps, a failed change too.
 */
export interface Changed {
  readonly generation: number;
}

/** The generations in which a change is to find the image. */
export interface ExpectedGeneration {
  /** One of these; undefined for any. */
  readonly oneOf: readonly number[] | undefined;
  readonly noneOf: readonly number[];
}

/**
 * Calls: one bounded piece of work each, done in order (reads may pass what waits for a run). Spans outside the disk
 * fault `range-not-satisfiable` {size}.
 */
export interface EngineCalls {
  /** At most {@link readLengthMax} bytes. */
  read: {
    args: { offset: number; length: number; digest?: boolean };
    result: DigestedBytes & { generation: number };
  };
  readSnapshot: {
    args: { snapshot: string; offset: number; length: number; digest?: boolean };
    result: DigestedBytes;
  };
  /** How long the VM state of a snapshot is; the generation is another one after every write of a VM state of the image. */
  vmState: { args: { snapshot: string }; result: { length: number; generation: number } };
  /** As `vmState`; at most {@link readLengthMax} bytes. Fault `range-not-satisfiable` behind its end. */
  readVmState: {
    args: { snapshot: string; offset: number; length: number };
    result: { bytes: Uint8Array; generation: number };
  };
  /**
   * At most {@link writeLengthMax} bytes. They are the pool's from now on: a view on its whole buffer is transferred
   * and empty afterwards, any other is copied. Faults `precondition-failed` {generation} when the image is of another
   * generation than expected; nothing is changed then.
   */
  write: {
    args: { offset: number; bytes: Uint8Array; detectZeroes: boolean; expected?: ExpectedGeneration };
    result: Changed;
  };
  /** What `planKeySlots` of the handle has computed; durable when answered. */
  changeKeySlots: { args: { plan: KeySlotPlan }; result: Record<never, never> };
  /** Flushes that wait together are answered by one. */
  flush: { args: Record<never, never>; result: Changed };
  extents: {
    args: ExtentQuery & { snapshot?: string };
    result: ExtentPage & { virtualSize: number; generation: number };
  };
  describe: { args: Record<never, never>; result: ImageDescription & { generation: number } };
  inspect: { args: Record<never, never>; result: ImageInspection };
  /** All options anew; see {@link RuntimeOptions}. The generation stays. */
  setRuntime: { args: RuntimeOptions; result: Record<never, never> };
  /** At most {@link snapshotsPerPageMax}, in the order of the file; `total`: how many the image has. */
  snapshots: { args: SnapshotPageQuery; result: { items: readonly SnapshotDescription[]; total: number } };
  /** By id in the file or by name, the id first. */
  findSnapshot: { args: { snapshot: string }; result: { found: FoundSnapshot | undefined } };
  /**
   * Plans a standalone file that is never stored; `id` is good until `closeExport` or the handle's end. At most
   * `exportPlansMax` at a time on one image (`engine-busy`). It takes its time on a large image: it is done step by step,
   * reads may pass it, and its signal ends it.
   */
  planExport: {
    args: { format: 'qcow2' | 'raw'; snapshot?: string; layer: 'all' | 'top' };
    result: { id: number; length: number; generation: number };
  };
  /**
   * At most {@link readLengthMax} bytes. Faults `export-stale` when the live image has changed since the plan; a plan
   * of a snapshot lives as long as its snapshot.
   */
  readExport: { args: { id: number; offset: number; length: number }; result: { bytes: Uint8Array } };
  closeExport: { args: { id: number }; result: Record<never, never> };
  /** Durable when answered, as is every change of bitmaps. */
  createBitmap: {
    args: { name: string; granularity: number | undefined; enabled: boolean };
    result: BitmapDescription;
  };
  deleteBitmap: { args: { bitmap: string }; result: Record<never, never> };
  clearBitmap: { args: { bitmap: string }; result: Record<never, never> };
  enableBitmap: { args: { bitmap: string; enabled: boolean }; result: Record<never, never> };
  /** Faults `bitmap-not-found`, `bitmap-inconsistent`. */
  dirtyExtents: {
    args: DirtyExtentQuery & { bitmap: string };
    result: DirtyExtentPage & { virtualSize: number; generation: number };
  };
}

/** Runs: long work in bounded steps, with progress and cancel. */
export interface EngineRuns {
  zero: { args: { offset: number; length: number; unmap: boolean }; result: Changed };
  /** As `write`, with clusters stored packed; `unsupported-option` unless they are whole ones of an image without a key. */
  writeCompressed: {
    args: { offset: number; bytes: Uint8Array; detectZeroes: boolean; expected?: ExpectedGeneration };
    result: Changed;
  };
  discard: { args: { offset: number; length: number }; result: Changed };
  resize: {
    args: {
      virtualSize: number;
      allowShrink: boolean;
      preallocation: 'off' | 'metadata' | 'falloc' | 'full';
    };
    result: Changed;
  };
  /** Copies everything above the layer `depth` below into it; `empties`: drops what the image itself has then. */
  commit: { args: { depth: number; mend: boolean; empties: boolean }; result: Changed };
  /** Puts the image on another chain, nearest first, or on none; `keys`: what that chain is unlocked with for everybody. */
  rebase: { args: { chain: readonly BackingSource[]; mode: 'safe' | 'unsafe'; keys: VolumeKeys }; result: Changed };
  empty: { args: Record<never, never>; result: Changed };
  /** All of it or nothing; guest data stays. */
  amend: { args: AmendWish; result: Changed };
  check: { args: Record<never, never>; result: CheckReport };
  repair: { args: { mode: 'leaks' | 'all' }; result: CheckReport };
  /** Makes the file smaller; the guest's bytes stay. */
  compact: { args: { detectZeroes: boolean }; result: Compacted };
  /** Makes a standalone file of the image, or of a snapshot by its id; `spec` is as large as its disk. */
  copy: {
    args: { path: string; spec: CopySpec; compress: boolean; layer: 'all' | 'top'; snapshot?: string };
    /** The generation is that of the image that was copied. */
    result: { description: ImageDescription; generation: number };
  };
  /** The SHA-256 of all guest bytes, in hexadecimal digits. */
  digest: { args: { snapshot?: string }; result: { digest: string; generation: number } };
  /** Whether the disk is that of another image, whose chain is given with itself first; `path` is the image's own. */
  compare: { args: ComparisonWish & { chain: readonly BackingSource[] }; result: Comparison };
  /** How large a copy of the image, or of a snapshot (by id or name, the id first), will be. */
  measure: { args: { snapshot?: string; spec: MeasureSpec }; result: MeasuredSize };
  createSnapshot: {
    args: { name: string; seconds: number; nanoseconds: number; idFloor: number };
    result: SnapshotDescription;
  };
  deleteSnapshot: { args: { snapshot: string }; result: Record<never, never> };
  /** The bytes of the file at `path` become the VM state of a snapshot. */
  writeVmState: { args: { snapshot: string; path: string }; result: Changed };
  revertSnapshot: { args: { snapshot: string }; result: Changed };
  /** Counts the bits of each. */
  listBitmaps: { args: BitmapListQuery; result: BitmapList };
  showBitmap: { args: { bitmap: string }; result: BitmapDescription };
  mergeBitmaps: { args: { bitmap: string; from: readonly string[] }; result: Record<never, never> };
}

export type CallName = keyof EngineCalls;
export type RunName = keyof EngineRuns;
