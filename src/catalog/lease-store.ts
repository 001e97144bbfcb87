// The face of the catalog's leases: granted, renewed, broken and ended, each in one atomic, durable step.

/** A client's claim on an image. `exclusive` keeps others from changing it; `shared` keeps everybody from it. */
export type LeaseMode = 'exclusive' | 'shared';

/** A lease as it is kept. When it ends is known by the running process alone, by its steady clock. */
export interface LeaseRecord {
  /** Stands for the lease's id, which is its holder's secret. */
  readonly key: string;
  readonly imageId: string;
  readonly mode: LeaseMode;
  /** Who says to hold it, in the holder's own words. */
  readonly owner: string | undefined;
  /** Of an exclusive lease: larger than that of every one before it. Of a shared one: that of the last exclusive one. */
  readonly fencingToken: number;
  /** How long it holds after it was last renewed. */
  readonly ttlMs: number;
  /** It was broken, and holds at most so long after a restart. */
  readonly breakingMs: number | undefined;
  readonly acquiredAtMs: number;
}

/** A new lease. */
export interface LeaseGrant extends Pick<LeaseRecord, 'key' | 'imageId' | 'mode' | 'owner' | 'ttlMs'> {
  /** Leases of the image that are over; they are removed in the same step. */
  readonly ended: readonly string[];
  /** The idempotency key of the request; it is settled in the same step. */
  readonly idempotencyKey: string | undefined;
  readonly nowMs: number;
}

/** The largest fencing token that was given out for an image. */
export interface FencingToken {
  readonly imageId: string;
  readonly token: number;
}

/** Every verb is one atomic, durable step. */
export interface LeaseStore {
  /**
   * Adds a lease; an exclusive one gets the next fencing token. Faults `image-locked` when another lease is in the
   * way, `image-not-found`, `image-not-ready`.
   */
  grant(grant: LeaseGrant): Promise<LeaseRecord>;
  /** Remembers that a lease was used; no lease is no harm. */
  renew(key: string, change: { readonly nowMs: number }): Promise<void>;
  /** Every lease of the image holds at most so long from now on. */
  break(imageId: string, change: { readonly graceMs: number }): Promise<void>;
  /** Takes leases away: released, broken or expired. No lease is no harm. */
  end(keys: readonly string[]): Promise<void>;
  /** All of them, of all images. */
  list(): Promise<readonly LeaseRecord[]>;
  /** Of every image that ever had an exclusive lease. */
  listTokens(): Promise<readonly FencingToken[]>;
}
