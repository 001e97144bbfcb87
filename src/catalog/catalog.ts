// The face of the catalog: what is known of images, as records, and asynchronous verbs that are whole atomic steps.

import type { FileIdentity } from '../base/file-identity.ts';
import type { IdempotencyStore, SettledKey } from './idempotency-store.ts';
import type { LeaseStore } from './lease-store.ts';
import type { JobStore } from './job-store.ts';

export type { FencingToken, LeaseGrant, LeaseMode, LeaseRecord, LeaseStore } from './lease-store.ts';
export type { IdempotencyRecord, IdempotencyStore, Outcome, SettledKey } from './idempotency-store.ts';
export type { JobKind, JobRecord, JobState, JobStore, StoredFault, WorkTrace } from './job-store.ts';

/** Where an image is in its life. Only `ready` images can be used; the file of a `detached` one is somebody else's. */
export type ImageState = 'creating' | 'importing' | 'ready' | 'detached' | 'failed' | 'deleting';

/** What lists show of a file without opening it; written by whoever changes the file. All sizes in bytes. */
export interface ImageFacts {
  readonly virtualSize: number;
  /** Length of the image file. */
  readonly fileSize: number;
  /** Bytes the file occupies on its file system. */
  readonly allocatedSize: number;
  readonly clusterSize: number;
  readonly compat: '0.10' | '1.1';
  readonly refcountBits: number;
  readonly compressionType: 'zlib' | 'zstd';
  readonly extendedL2: boolean;
  readonly lazyRefcounts: boolean;
  readonly encrypted: boolean;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  readonly snapshotCount: number;
  readonly bitmapCount: number;
}

/** An image by id and name: how records name each other. */
export interface ImageReference {
  readonly id: string;
  readonly name: string;
}

export type Labels = Readonly<Record<string, string>>;

/** What everybody may know of an image. Times in milliseconds since 1970. */
export interface Image {
  /** `img_` and a UUIDv7: sorts by creation. */
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  /** Whether the image must not be deleted. */
  readonly protected: boolean;
  readonly state: ImageState;
  /** Why the image is `failed`. */
  readonly stateReason: string | undefined;
  /** Known once the file exists: always for a `ready` image, perhaps not for one that is still being imported. */
  readonly facts: ImageFacts | undefined;
  readonly backing: ImageReference | undefined;
  /** How many overlays name this image as their backing image, or are being put on it. */
  readonly dependentCount: number;
  /** Grows with every change of guest data and never repeats. */
  readonly generation: number;
  /** Grows with every change of the metadata. */
  readonly version: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** A structural operation, which must not be left half done. */
export type StructuralOperation =
  | 'resize'
  | 'repair'
  | 'empty'
  | 'amend'
  | 'rebase'
  | 'commit'
  | 'compact'
  | 'snapshot-create'
  | 'snapshot-delete'
  | 'snapshot-revert'
  | 'vm-state-write';

/** An image with what only the keepers of its file need. */
export interface ImageRecord extends Image {
  /**
   * Whether `generation` is exact. Otherwise the image was open for changes when it was last heard of, and generations
   * up to `generationCeiling` may have been given out.
   */
  readonly settled: boolean;
  readonly generationCeiling: number;
  /** The largest snapshot id that the image ever had. */
  readonly snapshotIdCeiling: number;
  /** The operation that was under way: the next open repairs before anybody gets in. */
  readonly structural: StructuralOperation | undefined;
  /** The image that this one is being put on, while a rebase is under way; the file names this one or `backing`. */
  readonly nextBackingId: string | undefined;
  /** The file as it was last left closed, or undefined when that is not known. */
  readonly identity: FileIdentity | undefined;
}

/** A new row. */
export interface ImageReservation {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  readonly state: 'creating' | 'importing';
  readonly backingId: string | undefined;
  readonly facts: ImageFacts | undefined;
  readonly nowMs: number;
}

/** Which images to list; every given member must match. */
export interface ImageQuery {
  /** At most so many. */
  readonly limit: number;
  /** Only ids after this one. */
  readonly after: string | undefined;
  readonly name: string | undefined;
  readonly state: ImageState | undefined;
  readonly backingId: string | undefined;
  /** Key and value; an image has all of them. */
  readonly labels: readonly LabelFilter[];
}

/** A key and a value. */
export type LabelFilter = readonly [key: string, value: string];

/** What a client says of an image, complete. */
export interface ImageEdit {
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  readonly protected: boolean;
  /** The version that the edit was made from. */
  readonly version: number;
  readonly nowMs: number;
}

/** What was learned from the file. */
export interface ImageUpdate {
  readonly facts: ImageFacts;
  /** The generation of the guest data now. */
  readonly generation: number;
  /** Whether that generation is final until {@link Catalog.reserveGenerations} is called again. */
  readonly settled: boolean;
  /** The largest snapshot id in the file. */
  readonly snapshotIdMax: number;
  /** The closed file; undefined while it is open. */
  readonly identity: FileIdentity | undefined;
  readonly nowMs: number;
}

/** How many generations one reservation covers: more changes than one opening of an image can make. */
export const generationsReserved = 2 ** 30;

/** Every verb is one atomic, durable step. */
export interface Catalog {
  readonly jobs: JobStore;
  readonly idempotency: IdempotencyStore;
  readonly leases: LeaseStore;
  /** Adds a row; takes the name. Faults `name-conflict`; for the backing image `image-not-found`, `image-not-ready`, `image-detached`. */
  reserveImage(reservation: ImageReservation): Promise<ImageRecord>;
  /** `creating` or `importing` becomes `ready`; the idempotency key of the request is settled with it. */
  publishImage(id: string, update: ImageUpdate, key?: string): Promise<ImageRecord>;
  /** Takes a row away, with its labels; no row is no harm. */
  removeImage(id: string): Promise<void>;
  /**
   * `ready`, `detached`, `failed` or (once more) `deleting` becomes `deleting`. Faults `image-not-found`, `image-not-ready`,
   * `image-has-dependents`, `image-protected`. Of another version than the one that is named: nothing, and undefined.
   */
  beginDelete(id: string, version?: number): Promise<ImageRecord | undefined>;
  /** `ready` becomes `detached`. Faults `image-not-found`, `image-not-ready`, `image-has-dependents`. */
  detachImage(id: string, change: { readonly nowMs: number }): Promise<ImageRecord>;
  /** `detached` becomes `ready`. */
  attachImage(id: string, change: { readonly nowMs: number }): Promise<ImageRecord>;
  /** The file is gone or unusable: `failed`, with a reason. */
  failImage(id: string, change: { readonly reason: string; readonly nowMs: number }): Promise<void>;
  /**
   * Stores what a client says of the image, unless its version is another one by now: then nothing, and undefined.
   * Faults `image-not-found`, `image-not-ready` for an image that is being deleted, `name-conflict`.
   */
  editImage(id: string, edit: ImageEdit): Promise<ImageRecord | undefined>;
  /** By id (`img_…`) or by name. */
  findImage(image: string): Promise<ImageRecord | undefined>;
  /** In the order of ids. */
  listImages(query: ImageQuery): Promise<readonly ImageRecord[]>;
  /** The overlays that name this image or are being put on it, in the order of ids. */
  listDependents(id: string): Promise<readonly ImageReference[]>;
  /** The image and all images below it, top first. */
  listChain(id: string): Promise<readonly ImageRecord[]>;
  /**
   * Reserves {@link generationsReserved} generations and returns the one to count from: the last one of a settled
   * image, or one that was never given out when the last one is not known or must not be used again (`jump`).
   */
  reserveGenerations(id: string, options: { readonly jump: boolean }): Promise<number>;
  /** Something that no row tells of has changed in the file: the version grows. */
  touchImage(id: string, change: { readonly nowMs: number }): Promise<void>;
  /** Stores what was learned from the file; the version grows when it changes what clients see as metadata. */
  updateImage(id: string, update: ImageUpdate): Promise<ImageRecord>;
  markStructural(id: string, operation: StructuralOperation): Promise<void>;
  /**
   * An image is about to be put on another one, which is immutable from now on. Forgotten with the mark of the operation.
   * Faults `image-has-dependents`, and of the other image `image-not-found`, `image-not-ready`, `image-detached`.
   */
  reserveBacking(id: string, backingId: string): Promise<void>;
  /** The file names another image below, or none. */
  settleBacking(id: string, change: { readonly backingId: string | undefined; readonly nowMs: number }): Promise<void>;
  /** The operation is over; the idempotency keys of requests that have made something by it are settled with it. */
  clearStructural(id: string, keys: readonly SettledKey[]): Promise<void>;
  /** How many images there are, and the sum of their virtual sizes in bytes. */
  sumImages(): Promise<{ readonly images: number; readonly virtualBytes: number }>;
  /** Proves that the catalog can be read and written. Fault `insufficient-storage` when only the reserve is left to write to. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
