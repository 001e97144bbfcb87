// The leases that hold now, in memory: who may change which image, until when, and in which epoch.

import { hash } from 'node:crypto';

import { Fault } from '../base/fault.ts';
import type { FaultContext } from '../base/fault.ts';
import type { FencingToken, LeaseMode, LeaseRecord } from '../catalog/catalog.ts';

/** What a request says of itself. */
export interface LeaseClaim {
  readonly leaseId: string | undefined;
  /** Stands for the id where that is not known any more: in work that begins again after a crash. */
  readonly leaseKey?: string | undefined;
  readonly fencingToken: number | undefined;
}

/** What everybody may know of a lease. Times in milliseconds since 1970, as the clock on the wall says now. */
export interface LeaseView {
  readonly mode: LeaseMode;
  readonly owner: string | undefined;
  readonly fencingToken: number;
  readonly acquiredAtMs: number;
  readonly expiresAtMs: number;
}

/** A stretch of the leases of an image. */
export interface LeaseList {
  readonly items: readonly LeaseView[];
  /** What the next stretch comes after; undefined at the end. */
  readonly next: string | undefined;
}

/** A lease that holds. */
export interface HeldLease {
  readonly record: LeaseRecord;
  /** Its secret, once somebody has shown it: whoever shows it again is spared a hash. */
  id: string | undefined;
  /** When it ends, in milliseconds of the steady clock. */
  endsAtMs: number;
  /** It is being broken: nothing renews it. */
  breaking: boolean;
  /** When the catalog was last told that it is used. */
  storedAtMs: number;
  /** Long work under way with it; it does not expire meanwhile. */
  runs: number;
}

/** What a request is about to do with an image. */
export interface LeasedUse {
  readonly changes: boolean;
  /** It puts an overlay on the image, which nobody changes from then on, not even the holder of a lease. */
  readonly overlays?: boolean | undefined;
}

/** A request that was let in: what it does is done in this epoch of the image. */
export interface Admission {
  readonly epoch: number;
  readonly lease: HeldLease | undefined;
}

/** Who is told of what happens by itself. */
export interface LeaseListener {
  /** Leases of the image have run out. */
  ended(imageId: string): void;
  /** A lease was used, for the first time in a quarter of its period. */
  used(lease: HeldLease): void;
}

interface LeasedImage {
  /** Grows whenever a lease begins or ends. */
  epoch: number;
  fencingToken: number;
  readonly leases: Map<string, HeldLease>;
  /** Those among them whose id was shown before, by that. */
  readonly shown: Map<string, HeldLease>;
  /** Leases that are over and still in the catalog. */
  ended: string[];
}

/** The same id has the same key; the key does not tell the id. */
export function keyOf(leaseId: string): string {
  return hash('sha256', leaseId, 'hex');
}

/** Asks memory only. A lease whose time is over holds no longer, whether anybody has noticed before or not. */
export class LeaseBook {
  readonly #steadyClock: () => number;
  readonly #clock: () => number;
  readonly #images = new Map<string, LeasedImage>();
  #listener: LeaseListener | undefined;
  /** How far the clock of days is ahead of the steady one, in milliseconds; see {@link view}. */
  #aheadMs = 0;

  constructor(parts: { readonly steadyClock: () => number; readonly clock: () => number }) {
    this.#steadyClock = parts.steadyClock;
    this.#clock = parts.clock;
  }

  listen(listener: LeaseListener): void {
    this.#listener = listener;
  }

  /** At the start: every lease has one full period again, or what its break has left it. */
  load(records: readonly LeaseRecord[], tokens: readonly FencingToken[]): void {
    for (const { imageId, token } of tokens) this.#of(imageId).fencingToken = token;
    for (const record of records) this.#hold(record);
  }

  /**
   * Judges a request, and renews the lease that it uses. Faults `invalid-request` for a token that was never given out;
   * `image-locked` {holder} for a change that a lease forbids, and for an overlay on what somebody else holds exclusively;
   * `lease-lost`; `fencing-token-stale` {fencingToken}.
   */
  admit(imageId: string, claim: LeaseClaim | undefined, use: LeasedUse): Admission {
    const image = this.#images.get(imageId);
    const named = claim?.leaseId ?? claim?.leaseKey;
    if (image === undefined && named === undefined && claim?.fencingToken === undefined) return free;
    if (image !== undefined) this.#expire(imageId, image);
    const current = image?.fencingToken ?? 0;
    const token = claim?.fencingToken ?? current;
    if (token > current) throw tokenUnknown(current);
    const lease = image === undefined || claim === undefined ? undefined : this.#claimed(image, claim);
    if (named !== undefined && lease === undefined) throw new Fault('lease-lost', {});
    if (use.changes) this.#requireUnblocked(imageId, (held) => held.record.mode === 'shared' || held !== lease);
    else if (use.overlays === true) this.#requireUncovered(imageId, lease);
    if (token < current) throw new Fault('fencing-token-stale', { fencingToken: current });
    if (lease !== undefined) this.#touch(lease);
    return { epoch: image?.epoch ?? 0, lease };
  }

  /** Faults `image-locked` {holder} and `too-many-leases` {leasesMax} when a lease of this mode cannot be granted now. */
  requireGrantable(imageId: string, mode: LeaseMode): void {
    this.#requireUnblocked(imageId, (held) => mode === 'exclusive' || held.record.mode === 'exclusive');
    if (this.#live(imageId).length >= leasesMax) throw new Fault('too-many-leases', { imageId, leasesMax });
  }

  /** Keeps a lease from expiring while long work is under way with it; afterwards it has a full period. */
  async during<Result>(lease: HeldLease | undefined, work: () => Promise<Result>): Promise<Result> {
    if (lease === undefined) return work();
    lease.runs += 1;
    try {
      return await work();
    } finally {
      lease.runs -= 1;
      this.#touch(lease);
    }
  }

  /** What happens to the image from now on belongs to this epoch; 0 while it never had a lease in this process. */
  epochOf(imageId: string): number {
    return this.#images.get(imageId)?.epoch ?? 0;
  }

  isLeased(imageId: string): boolean {
    return this.#live(imageId).length > 0;
  }

  /** The leases of an image, the oldest first. */
  list(imageId: string): readonly LeaseView[] {
    return this.#live(imageId).map((lease) => this.view(lease));
  }

  /** Some of them, in the same order. Those that end between two stretches move no other from one to the next. */
  page(imageId: string, query: { readonly limit: number; readonly after: string | undefined }): LeaseList {
    const { limit, after = '' } = query;
    const rest = this.#live(imageId)
      .map((lease) => ({ lease, place: placeOf(lease.record) }))
      .filter(({ place }) => place > after)
      .toSorted((one, other) => (one.place < other.place ? -1 : 1));
    const page = rest.slice(0, limit);
    const next = rest.length > limit ? page.at(-1)?.place : undefined;
    return { items: page.map(({ lease }) => this.view(lease)), next };
  }

  /** The lease of an image that ends last. */
  holderOf(imageId: string): LeaseView | undefined {
    const lease = lastToEnd(this.#live(imageId));
    return lease === undefined ? undefined : this.view(lease);
  }

  find(imageId: string, leaseId: string): HeldLease | undefined {
    const key = keyOf(leaseId);
    return this.#live(imageId).find((lease) => lease.record.key === key);
  }

  /** Says the same end each time, as long as nobody sets the clock of days: two readings of two clocks are never quite so. */
  view({ record, endsAtMs }: HeldLease): LeaseView {
    const { mode, owner, fencingToken, acquiredAtMs } = record;
    const aheadMs = this.#clock() - this.#steadyClock();
    if (Math.abs(aheadMs - this.#aheadMs) > clockNoiseMs) this.#aheadMs = aheadMs;
    return { mode, owner, fencingToken, acquiredAtMs, expiresAtMs: endsAtMs + this.#aheadMs };
  }

  /** A lease was granted: a new epoch. */
  add(record: LeaseRecord): HeldLease {
    const image = this.#of(record.imageId);
    image.epoch += 1;
    image.fencingToken = Math.max(image.fencingToken, record.fencingToken);
    return this.#hold(record);
  }

  /** A full period from now on. Faults `lease-lost`, also for a lease that is being broken. */
  renew(imageId: string, leaseId: string): HeldLease {
    const lease = this.find(imageId, leaseId);
    if (lease === undefined) throw new Fault('lease-lost', {});
    if (lease.breaking) throw new Fault('lease-lost', { breaking: true });
    this.#touch(lease);
    return lease;
  }

  /** The lease is over: a new epoch. */
  end(lease: HeldLease): void {
    const image = this.#of(lease.record.imageId);
    if (!image.leases.delete(lease.record.key)) return;
    if (lease.id !== undefined) image.shown.delete(lease.id);
    image.epoch += 1;
    image.ended.push(lease.record.key);
  }

  /** Every lease of the image ends within the grace, and nothing renews it; a second break only shortens it. */
  break(imageId: string, graceMs: number): void {
    const end = this.#steadyClock() + graceMs;
    for (const lease of this.#live(imageId)) {
      lease.breaking = true;
      lease.endsAtMs = Math.min(lease.endsAtMs, end);
    }
    this.sweep(imageId);
  }

  /** Ends what is over, of one image or of all. */
  sweep(imageId?: string): void {
    for (const [id, image] of this.#images) if (imageId === undefined || id === imageId) this.#expire(id, image);
  }

  /** When the next lease may end, in milliseconds from now; undefined without leases. */
  get nextEndMs(): number | undefined {
    let next = Infinity;
    for (const { leases } of this.#images.values()) {
      for (const { endsAtMs } of leases.values()) next = Math.min(next, endsAtMs);
    }
    return next === Infinity ? undefined : next - this.#steadyClock();
  }

  /** The leases of an image that are over and still in the catalog, by key. */
  endedOf(imageId: string): readonly string[] {
    return this.#images.get(imageId)?.ended ?? [];
  }

  /** The catalog has let go of them. */
  dropEnded(imageId: string, keys: readonly string[]): void {
    const image = this.#images.get(imageId);
    if (image !== undefined) image.ended = image.ended.filter((key) => !keys.includes(key));
  }

  /** The image is gone. */
  forget(imageId: string): void {
    this.#images.delete(imageId);
  }

  #of(imageId: string): LeasedImage {
    const known = this.#images.get(imageId);
    if (known !== undefined) return known;
    const image = {
      epoch: 0,
      fencingToken: 0,
      leases: new Map<string, HeldLease>(),
      shown: new Map<string, HeldLease>(),
      ended: [],
    };
    this.#images.set(imageId, image);
    return image;
  }

  #claimed(image: LeasedImage, { leaseId, leaseKey }: LeaseClaim): HeldLease | undefined {
    if (leaseId === undefined) return leaseKey === undefined ? undefined : image.leases.get(leaseKey);
    const shown = image.shown.get(leaseId);
    if (shown !== undefined) return shown;
    const lease = image.leases.get(keyOf(leaseId));
    if (lease === undefined) return undefined;
    lease.id = leaseId;
    image.shown.set(leaseId, lease);
    return lease;
  }

  #hold(record: LeaseRecord): HeldLease {
    const now = this.#steadyClock();
    const { key, imageId, ttlMs, breakingMs } = record;
    const breaking = breakingMs !== undefined;
    const endsAtMs = now + Math.min(ttlMs, breakingMs ?? ttlMs);
    const lease = { record, id: undefined, endsAtMs, breaking, storedAtMs: now, runs: 0 };
    this.#of(imageId).leases.set(key, lease);
    return lease;
  }

  #live(imageId: string): readonly HeldLease[] {
    const image = this.#images.get(imageId);
    if (image === undefined) return [];
    this.#expire(imageId, image);
    return [...image.leases.values()];
  }

  #expire(imageId: string, image: LeasedImage): void {
    if (image.leases.size === 0) return;
    const now = this.#steadyClock();
    let count = 0;
    for (const lease of image.leases.values()) {
      const { endsAtMs, breaking, runs } = lease;
      if (endsAtMs > now || (!breaking && runs > 0)) continue;
      this.end(lease);
      count += 1;
    }
    if (count > 0) this.#listener?.ended(imageId);
  }

  #touch(lease: HeldLease): void {
    if (lease.breaking) return;
    const now = this.#steadyClock();
    lease.endsAtMs = now + lease.record.ttlMs;
    if (now - lease.storedAtMs < lease.record.ttlMs / storesPerPeriod) return;
    lease.storedAtMs = now;
    this.#listener?.used(lease);
  }

  /** A shared lease is for whoever reads, as an overlay does. */
  #requireUncovered(imageId: string, own: HeldLease | undefined): void {
    this.#requireUnblocked(imageId, (held) => held.record.mode === 'exclusive' && held !== own, { overlays: true });
  }

  #requireUnblocked(imageId: string, blocks: (lease: HeldLease) => boolean, facts?: FaultContext): void {
    const blocker = lastToEnd(this.#live(imageId).filter(blocks));
    if (blocker === undefined) return;
    const { mode, owner, expiresAtMs } = this.view(blocker);
    const holder = { mode, owner: owner ?? null, expiresAt: new Date(expiresAtMs).toISOString() };
    throw new Fault('image-locked', { imageId, holder, ...facts });
  }
}

/** How many leases an image may have: each is kept in memory, and asked whether it is over by every request with one. */
export const leasesMax = 128;

/** How often in one period the catalog is told, at most, that a lease is used. */
const storesPerPeriod = 4;

/** More than a busy machine lets pass between two readings, and nothing to whoever waits for an end. */
const clockNoiseMs = 50;

/** Nobody has ever leased the image. */
const free: Admission = { epoch: 0, lease: undefined };

/** Sorts as the leases do, by age and then by key; the same after a restart. */
function placeOf({ acquiredAtMs, key }: LeaseRecord): string {
  return `${String(acquiredAtMs).padStart(placeDigits, '0')}:${key}`;
}

/** Of the largest number that is exact. */
const placeDigits = 16;

function lastToEnd(leases: readonly HeldLease[]): HeldLease | undefined {
  return leases.toSorted((one, other) => other.endsAtMs - one.endsAtMs)[0];
}

function tokenUnknown(current: number): Fault {
  const message = `no such token was ever given out: the current one is ${current}`;
  return new Fault('invalid-request', { errors: [{ pointer: '/fencing-token', in: 'header', message }] });
}
