// Jobs in the catalog: long work that outlived its request, as records.

/** What a job does; one row of `services/job-kinds.ts` each. */
export type JobKind =
  | 'create'
  | 'import'
  | 'resize'
  | 'check'
  | 'digest'
  | 'compare'
  | 'repair'
  | 'empty'
  | 'amend'
  | 'rebase'
  | 'commit'
  | 'flatten'
  | 'zero'
  | 'discard'
  | 'snapshot-create'
  | 'copy'
  | 'compact'
  | 'snapshot-delete'
  | 'snapshot-revert';

export type JobState = 'queued' | 'running' | 'cancelling' | 'succeeded' | 'failed' | 'cancelled';

/** What a work is about to make of an image: whoever comes after a crash looks there whether it was made. */
export interface WorkTrace {
  /** The image, also one that is only being made. */
  readonly imageId?: string;
  /** The snapshot that is made, deleted or reverted to, by its id in the file. */
  readonly snapshotId?: string;
  /** What a snapshot that is made is called: an id that was not used is given to the next one. */
  readonly snapshotName?: string;
  /** The bitmap that is made. */
  readonly bitmapName?: string;
  /** The lease that is granted. Its holder's secret: kept with the key of the request only, as the answer is. */
  readonly leaseId?: string;
  /** Stands for the lease that the work is done with: work that begins again goes on with it. */
  readonly leaseKey?: string;
  /** The fencing token that the work was asked for with. */
  readonly fencingToken?: number;
  /** The image that it is put on; null for none. */
  readonly backingId?: string | null;
  /** The size that the image gets, in bytes. */
  readonly virtualSize?: number;
}

/** A fault as data. */
export interface StoredFault {
  readonly code: string;
  readonly context: Readonly<Record<string, unknown>>;
}

/** Times in milliseconds since 1970. */
export interface JobRecord {
  /** `job_` and a UUIDv7: sorts by creation. */
  readonly id: string;
  readonly kind: JobKind;
  readonly imageId: string | undefined;
  readonly state: JobState;
  /** What the kind needs to do the work again, as JSON. */
  readonly options: unknown;
  readonly trace: WorkTrace;
  /** How far the work is, in the unit of its kind; `total` is 0 while nobody knows. */
  readonly done: number;
  readonly total: number;
  /** What the work has led to, as JSON; undefined as long as there is nothing. */
  readonly result: unknown;
  readonly fault: StoredFault | undefined;
  /** The request that asked for it. */
  readonly requestId: string;
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** Every verb is one atomic, durable step. */
export interface JobStore {
  /** Stores a job as it is now. */
  save(job: JobRecord): Promise<void>;
  find(id: string): Promise<JobRecord | undefined>;
  /** In the order of ids. */
  list(query: { readonly limit: number; readonly after: string | undefined }): Promise<readonly JobRecord[]>;
  /** Those without an end, in the order of ids. */
  listUnfinished(): Promise<readonly JobRecord[]>;
  /** Forgets jobs that ended before a time, and the oldest of those that are more than so many. */
  prune(limits: { readonly endedBeforeMs: number; readonly endedMax: number }): Promise<void>;
}
