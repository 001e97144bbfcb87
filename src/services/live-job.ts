// A job in memory, as long as its work goes on: its states, its progress, and its row once it has one.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { JobRecord, JobState, WorkTrace } from '../catalog/catalog.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { ServiceParts } from './service-parts.ts';
import type { WorkControl } from './work-control.ts';

/** Why a work stops when its job is cancelled. */
export class JobCancelled extends Error {
  override readonly name = 'JobCancelled';

  constructor() {
    super('the job was cancelled');
  }
}

/** How a work has ended. */
export type WorkEnd =
  { readonly kind: 'value'; readonly value: unknown } | { readonly kind: 'error'; readonly error: unknown };

/** Progress is stored at most so often. */
const storeEveryMs = 1_000;

/**
 * The drawing of all lives. A work that was asked to stop may be over already, or fail on the way, and then it says so;
 * `running` becomes `queued` when a restart lets the work begin again.
 */
const transitions: Readonly<Record<JobState, readonly JobState[]>> = {
  queued: ['running', 'cancelling', 'failed', 'queued'],
  running: ['succeeded', 'failed', 'cancelling', 'queued'],
  cancelling: ['cancelled', 'succeeded', 'failed'],
  succeeded: [],
  failed: [],
  cancelled: [],
};

export type LiveJobParts = Pick<ServiceParts, 'catalog' | 'clock' | 'report'>;

/** A job without a row costs no more than this object; from {@link keep} on every change of its state is stored. */
export class LiveJob {
  readonly #parts: LiveJobParts;
  readonly #key: string | undefined;
  readonly #claim: LeaseClaim | undefined;
  readonly #stopping = new AbortController();
  readonly #admitted = Promise.withResolvers<undefined>();
  readonly #begun = Promise.withResolvers<undefined>();
  readonly #over = Promise.withResolvers<undefined>();
  #record: JobRecord;
  #kept: boolean;
  #accepted: boolean;
  #cancelled = false;
  #storedAtMs = 0;
  #saving: Promise<void> = Promise.resolve();

  constructor(
    parts: LiveJobParts,
    record: JobRecord,
    options: {
      readonly kept: boolean;
      readonly key: string | undefined;
      readonly claim: LeaseClaim | undefined;
    },
  ) {
    this.#parts = parts;
    this.#record = record;
    this.#kept = options.kept;
    this.#accepted = options.kept;
    this.#key = options.key;
    this.#claim = options.claim;
  }

  get id(): string {
    return this.#record.id;
  }

  get record(): JobRecord {
    return this.#record;
  }

  /** Whether it has a row, so that clients know it. */
  get kept(): boolean {
    return this.#kept;
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Resolves when the request has got through the door, or is over. */
  get admitted(): Promise<undefined> {
    return this.#admitted.promise;
  }

  /** Resolves when the work has done its first step, and so was not refused, or is over. */
  get begun(): Promise<undefined> {
    return this.#begun.promise;
  }

  /** Resolves when the work has ended and its row says so. */
  get over(): Promise<undefined> {
    return this.#over.promise;
  }

  /** What the work is watched by. */
  get control(): WorkControl {
    return {
      signal: this.#stopping.signal,
      accepted: () => this.#accepted,
      key: this.#key,
      claim: this.#claim,
      onProgress: (done, total) => this.#progress(done, total),
      admitted: (imageId) => {
        this.#record = { ...this.#record, imageId };
        this.#admitted.resolve(undefined);
      },
      started: () => this.#start(),
      note: (trace) => this.#note(trace),
    };
  }

  /** From now on nobody waits for the end: it is about to get its row. */
  accept(): void {
    this.#accepted = true;
  }

  /** Gives the job its row, so that it outlives its request. */
  async keep(imageId: string | undefined): Promise<void> {
    if (imageId !== undefined) this.#record = { ...this.#record, imageId };
    this.#kept = true;
    await this.#save();
  }

  /** The work stops at its next step. Repeated asking is no harm. */
  async cancel(): Promise<void> {
    if (this.cancelled) return;
    this.#move('cancelling', {});
    this.#cancelled = true;
    this.#stopping.abort(new JobCancelled());
    await this.#save();
  }

  /** The work stops at its next step, for another life to go on with it or to say what became of it. */
  cut(reason: Fault): void {
    this.#stopping.abort(reason);
  }

  /** The work goes on in another life: the row stays as it is. */
  leave(): void {
    this.#settle();
  }

  async end(end: WorkEnd): Promise<void> {
    this.#moveToEnd(end);
    try {
      await this.#save();
    } finally {
      this.#settle();
    }
  }

  /** `over` is first: who waits to be admitted and is refused hears that it is over, and makes no job of it. */
  #settle(): void {
    this.#over.resolve(undefined);
    this.#admitted.resolve(undefined);
    this.#begun.resolve(undefined);
  }

  #moveToEnd(end: WorkEnd): void {
    const endedAtMs = this.#parts.clock();
    if (end.kind === 'value') {
      const { total, done } = this.#record;
      if (this.#record.state === 'queued') this.#start();
      this.#move('succeeded', { result: end.value, done: Math.max(done, total), endedAtMs });
    } else if (this.cancelled && end.error === this.#stopping.signal.reason) {
      this.#move('cancelled', { endedAtMs });
    } else {
      this.#move('failed', { fault: toStored(end.error), endedAtMs });
    }
  }

  #start(): void {
    this.#admitted.resolve(undefined);
    if (this.#record.state !== 'queued') return;
    this.#move('running', { startedAtMs: this.#parts.clock() });
    this.#saveInBackground();
  }

  #progress(done: number, total: number): void {
    this.#record = { ...this.#record, done, total: Math.max(done, total) };
    this.#begun.resolve(undefined);
    const nowMs = this.#parts.clock();
    if (!this.#kept || nowMs - this.#storedAtMs < storeEveryMs) return;
    this.#storedAtMs = nowMs;
    this.#saveInBackground();
  }

  async #note(trace: WorkTrace): Promise<void> {
    this.#record = { ...this.#record, trace: { ...this.#record.trace, ...trace } };
    if (trace.imageId !== undefined) this.#record = { ...this.#record, imageId: trace.imageId };
    if (this.#key !== undefined) await this.#parts.catalog.idempotency.note(this.#key, this.#record.trace);
    await this.#save();
  }

  #move(state: JobState, change: Partial<JobRecord>): void {
    this.#record = moved(this.#record, state, change);
  }

  /** One after the other, so that the last to be stored is the last that was. */
  async #save(): Promise<void> {
    if (!this.#kept) return;
    const before = this.#saving;
    const saved = before.catch(() => undefined).then(() => this.#parts.catalog.jobs.save(this.#record));
    this.#saving = saved;
    await saved;
  }

  #saveInBackground(): void {
    this.#save().catch((error: unknown) => {
      this.#parts.report({ doing: 'storing how far a job is', imageId: this.#record.imageId, error });
    });
  }
}

/** A job of an earlier process that begins again. */
export function requeued(record: JobRecord): JobRecord {
  return moved(record, 'queued', { startedAtMs: undefined, done: 0, total: 0 });
}

/** A job whose end was found out after a restart. */
export function judged(record: JobRecord, end: { readonly nowMs: number; readonly value: unknown }): JobRecord {
  const { nowMs, value } = end;
  const begun = record.state === 'queued' ? moved(record, 'running', { startedAtMs: record.createdAtMs }) : record;
  return moved(begun, 'succeeded', { result: value, done: record.total, endedAtMs: nowMs });
}

/** A job that a restart has ended; one that was asked to stop has got what it was asked for. */
export function interrupted(record: JobRecord, end: { readonly nowMs: number; readonly outcome: string }): JobRecord {
  const endedAtMs = end.nowMs;
  if (record.state === 'cancelling') return moved(record, 'cancelled', { endedAtMs });
  const context = { jobId: record.id, outcome: end.outcome };
  return moved(record, 'failed', { endedAtMs, fault: toStored(new Fault('job-interrupted', context)) });
}

function moved(record: JobRecord, state: JobState, change: Partial<JobRecord>): JobRecord {
  const before = record.state;
  assert(transitions[before].includes(state), `a job that is ${before} does not become ${state}`);
  return { ...record, ...change, state };
}

/** What is no fault is a bug, and says nothing of itself. */
function toStored(error: unknown): JobRecord['fault'] {
  const { code, context } = error instanceof Fault ? error : new Fault('internal', {});
  return { code, context };
}
