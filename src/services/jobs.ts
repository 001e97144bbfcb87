// Jobs: long work that may outlive its request. The only writer of their rows.

import { Fault } from '../base/fault.ts';
import type { JobKind, JobRecord, WorkTrace } from '../catalog/catalog.ts';
import type { ImageAccess } from './image-access.ts';
import { jobKinds } from './job-kinds.ts';
import type { JobKindParts, JobResults } from './job-kinds.ts';
import { keyOf } from './lease-book.ts';
import type { LeaseClaim } from './lease-book.ts';
import { interrupted, judged, LiveJob, requeued } from './live-job.ts';
import type { WorkEnd } from './live-job.ts';
import type { ServiceParts } from './service-parts.ts';
import { Turns } from './turns.ts';
import type { WorkControl } from './work-control.ts';

/** How a work is asked for. */
export interface WorkRequest<Kind extends JobKind> {
  readonly kind: Kind;
  /** The image by id or name; undefined for one that is only being made. */
  readonly image: string | undefined;
  /** What the kind needs to do the work again, as JSON. */
  readonly options: unknown;
  /** How long the request waits for the end, in milliseconds. */
  readonly waitMs: number;
  /**
   * From when on it waits: from now, or from when the work got all that it needs of the client; or it `never` becomes a
   * job, because it does not take long.
   */
  readonly waitsFrom: 'now' | 'admission' | 'never';
  readonly requestId: string;
  /** The idempotency key of the request. */
  readonly key: string | undefined;
  /** The lease that the work is done with, if any. */
  readonly claim: LeaseClaim | undefined;
}

/** The work was over in time, or it goes on as a job. */
export type WorkOutcome<Kind extends JobKind> =
  | { readonly kind: 'over'; readonly value: JobResults[Kind]; readonly imageId: string }
  | { readonly kind: 'job'; readonly job: Job };

/** A job as everybody may know it. */
export interface Job extends JobRecord {
  readonly unit: 'bytes' | 'clusters';
  /** How long it may take yet, in seconds; undefined while nobody can tell. */
  readonly etaSeconds: number | undefined;
}

export interface JobPage {
  readonly items: readonly Job[];
  readonly nextCursor: string | undefined;
}

export type JobsParts = Pick<ServiceParts, 'catalog' | 'clock' | 'report' | 'newId'> &
  JobKindParts & { readonly access: ImageAccess };

/** How long finished jobs are kept, and how many. */
export const jobsKeptMs = 7 * 24 * 60 * 60 * 1000;
const jobsKeptMax = 10_000;

/** A request that does not want to wait hears of a refusal at the door all the same, unless the door takes longer. */
const admissionMsMax = 1_000;
/** Most refusals come before the first step, which follows at once unless other work is ahead: so long it waits for it. */
const firstStepMsMax = 250;

export class Jobs {
  readonly #parts: JobsParts;
  readonly #live = new Map<string, LiveJob>();
  /** What a crash has cut is done again one by one, so that it holds up nobody. */
  readonly #again = new Turns();
  /** Ends of waits. A promise for all of them would keep something of each until the process ends. */
  readonly #waits = new Set<() => void>();
  #stopping = false;
  /** Why works with a row are cut, once they are. */
  #cutting: Fault | undefined;

  constructor(parts: JobsParts) {
    this.#parts = parts;
  }

  /**
   * Does a work, and waits so long for its end: then it has its value, or throws what it threw. Otherwise it becomes a
   * job and goes on; so does one that nobody wants to wait for, unless it is refused at once. A caller that leaves does
   * not stop it.
   */
  async perform<Kind extends JobKind>(
    request: WorkRequest<Kind>,
    work: (control: WorkControl) => Promise<JobResults[Kind]>,
  ): Promise<WorkOutcome<Kind>> {
    const { image, key, claim } = request;
    const record = newRecord(request, { id: this.#parts.newId('job'), nowMs: this.#parts.clock() });
    const live = new LiveJob(this.#parts, record, { kept: false, key, claim });
    const ending = this.#follow(live, work);
    if (await this.#endsInTime(live, request)) {
      const end = await ending;
      if (end.kind === 'error') throw end.error;
      const isWaitedFor = request.waitMs > 0 || request.waitsFrom !== 'now';
      if (isWaitedFor)
        return { kind: 'over', value: end.value as JobResults[Kind], imageId: live.record.imageId ?? '' };
    }
    live.accept();
    await live.keep(live.record.imageId ?? (image === undefined ? undefined : await this.#idOf(image)));
    if (this.#cutting !== undefined) live.cut(this.#cutting);
    return { kind: 'job', job: this.#show(live.record) };
  }

  /** Faults `job-not-found`. A wait ends with the job, after so many milliseconds, or when the signal is aborted. */
  async get(id: string, options: { readonly waitMs: number; readonly signal: AbortSignal | undefined }): Promise<Job> {
    const live = this.#find(id);
    if (live === undefined) return this.#show(await this.#require(id));
    if (options.waitMs > 0) await this.#within(options.waitMs, [live.over, abortOf(options.signal)]);
    return this.#show(live.record);
  }

  /** In the order of ids. */
  async list(options: { readonly limit: number; readonly cursor: string | undefined }): Promise<JobPage> {
    const { limit, cursor } = options;
    const records = await this.#parts.catalog.jobs.list({ limit: limit + 1, after: cursor });
    const page = records.slice(0, limit);
    return {
      items: page.map((record) => this.#show(this.#find(record.id)?.record ?? record)),
      nextCursor: records.length > limit ? page.at(-1)?.id : undefined,
    };
  }

  /** Asks a job to stop at its next step; the image stays sound. Faults `job-not-found`, `job-not-cancellable`. */
  async cancel(id: string): Promise<Job> {
    const live = this.#find(id);
    if (live === undefined || live.record.endedAtMs !== undefined) {
      const { state } = live?.record ?? (await this.#require(id));
      throw new Fault('job-not-cancellable', { jobId: id, state });
    }
    await live.cancel();
    return this.#show(live.record);
  }

  /**
   * Before the first request: says what became of the jobs of an earlier process, once half-made images are gone.
   * Those that begin again wait for their turn.
   */
  async settle(): Promise<void> {
    const { catalog, report } = this.#parts;
    for (const record of await catalog.jobs.listUnfinished()) {
      try {
        await this.#settle(record);
      } catch (error) {
        report({ doing: 'settling a job of an earlier process', imageId: record.imageId, error });
      }
    }
    await this.#prune();
  }

  /** Nobody waits any longer: the service is about to stop. */
  letGo(): void {
    this.#stopping = true;
    for (const end of this.#waits) end();
  }

  /**
   * As {@link letGo}; and whatever has a row, now or when its request is answered, stops at its next step: the next process
   * goes on with it, or says what became of it. Work without a row goes on for the request that waits for it.
   */
  cut(): void {
    this.letGo();
    this.#cutting ??= new Fault('draining', {});
    for (const live of this.#live.values()) if (live.kept) live.cut(this.#cutting);
  }

  /** Waits until no work goes on. What was cut is settled by the next process. */
  async whenOver(): Promise<void> {
    await Promise.all(Array.from(this.#live.values(), (live) => live.over));
  }

  async #follow(live: LiveJob, work: (control: WorkControl) => Promise<unknown>): Promise<WorkEnd> {
    this.#live.set(live.id, live);
    const end = await endOf(() => work(live.control));
    try {
      await this.#end(live, end);
    } catch (error) {
      this.#parts.report({ doing: 'storing the end of a job', imageId: live.record.imageId, error });
    } finally {
      this.#live.delete(live.id);
    }
    return end;
  }

  async #end(live: LiveJob, end: WorkEnd): Promise<void> {
    if (end.kind === 'error' && this.#stopping && !live.cancelled) {
      live.leave();
      return;
    }
    await live.end(end);
    if (!live.kept) return;
    if (end.kind === 'error' && !(end.error instanceof Fault) && !live.cancelled) {
      this.#parts.report({
        doing: `working on a job (${live.record.kind})`,
        imageId: live.record.imageId,
        error: end.error,
      });
    }
    await this.#prune();
  }

  async #settle(record: JobRecord): Promise<void> {
    const { catalog, clock } = this.#parts;
    const after = await jobKinds[record.kind].afterCrash(record, this.#parts);
    if (after.kind === 'done') {
      await catalog.jobs.save(judged(record, { nowMs: clock(), value: after.value }));
    } else if (after.kind === 'undone' || record.state === 'cancelling') {
      const outcome = after.kind === 'undone' ? after.outcome : '';
      await catalog.jobs.save(interrupted(record, { nowMs: clock(), outcome }));
    } else {
      const queued = requeued(record);
      await catalog.jobs.save(queued);
      const live = new LiveJob(this.#parts, queued, { kept: true, key: undefined, claim: claimOf(record) });
      void this.#follow(live, (control) =>
        this.#again.take(async () => {
          control.signal.throwIfAborted();
          if (this.#stopping) throw new Fault('draining', {});
          return begunAgain(() => after.work(control));
        }),
      );
    }
  }

  async #endsInTime(live: LiveJob, request: WorkRequest<JobKind>): Promise<boolean> {
    const state = { over: false };
    const ended = live.over.then(() => {
      state.over = true;
      return undefined;
    });
    if (request.waitsFrom === 'never') {
      await ended;
    } else if (request.waitsFrom === 'admission') {
      await Promise.race([ended, live.admitted]);
      if (!state.over && request.waitMs > 0) await this.#within(request.waitMs, [ended]);
    } else {
      const waited = request.waitMs > 0 ? this.#within(request.waitMs, [ended]) : Promise.resolve();
      await this.#within(admissionMsMax, [ended, live.admitted]);
      await this.#within(firstStepMsMax, [ended, live.begun]);
      await waited;
    }
    return state.over;
  }

  /** Waits until one of them is fulfilled, or the time is over, or the service stops. */
  async #within(limitMs: number, events: readonly Promise<undefined>[]): Promise<void> {
    if (this.#stopping) return;
    const limit = Promise.withResolvers<undefined>();
    const end = (): void => limit.resolve(undefined);
    const timer = setTimeout(end, limitMs);
    this.#waits.add(end);
    try {
      await Promise.race([...events, limit.promise]);
    } finally {
      clearTimeout(timer);
      this.#waits.delete(end);
    }
  }

  #find(id: string): LiveJob | undefined {
    const live = this.#live.get(id);
    return live?.kept === true ? live : undefined;
  }

  async #require(id: string): Promise<JobRecord> {
    const record = await this.#parts.catalog.jobs.find(id);
    if (record === undefined) throw new Fault('job-not-found', { job: id });
    return record;
  }

  /** The image may be gone again by now. */
  async #idOf(image: string): Promise<string | undefined> {
    return (await this.#parts.catalog.findImage(image))?.id;
  }

  async #prune(): Promise<void> {
    const endedBeforeMs = this.#parts.clock() - jobsKeptMs;
    await this.#parts.catalog.jobs.prune({ endedBeforeMs, endedMax: jobsKeptMax });
  }

  #show(record: JobRecord): Job {
    const { unit } = jobKinds[record.kind];
    return { ...record, unit, etaSeconds: etaOf(record, this.#parts.clock()) };
  }
}

function newRecord(
  request: Pick<WorkRequest<JobKind>, 'kind' | 'options' | 'requestId' | 'claim'>,
  made: { readonly id: string; readonly nowMs: number },
): JobRecord {
  const { kind, options, requestId, claim } = request;
  const { id, nowMs } = made;
  return {
    id,
    kind,
    imageId: undefined,
    state: 'queued',
    options,
    trace: claim === undefined ? {} : traceOf(claim),
    done: 0,
    total: 0,
    result: undefined,
    fault: undefined,
    requestId,
    createdAtMs: nowMs,
    startedAtMs: undefined,
    endedAtMs: undefined,
  };
}

/** The id of a lease is its holder's secret: what stands for it is enough to find it again. */
function traceOf({ leaseId, fencingToken }: LeaseClaim): WorkTrace {
  return {
    ...(leaseId === undefined ? {} : { leaseKey: keyOf(leaseId) }),
    ...(fencingToken === undefined ? {} : { fencingToken }),
  };
}

/** What a work that begins again is done with: the lease of the request that asked for it, if that still lives. */
function claimOf({ trace }: JobRecord): LeaseClaim | undefined {
  const { leaseKey, fencingToken } = trace;
  if (leaseKey === undefined && fencingToken === undefined) return undefined;
  return { leaseId: undefined, leaseKey, fencingToken };
}

async function endOf(work: () => Promise<unknown>): Promise<WorkEnd> {
  try {
    return { kind: 'value', value: await work() };
  } catch (error) {
    return { kind: 'error', error };
  }
}

/** A work that begins again without the passphrases of its request says so. */
async function begunAgain(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'passphrase-required') throw error;
    throw new Fault(error.code, { ...error.context, begunAgain: true });
  }
}

/** Resolves when the signal is aborted. */
function abortOf(signal: AbortSignal | undefined): Promise<undefined> {
  return new Promise((resolve) => {
    signal?.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

function etaOf(record: JobRecord, nowMs: number): number | undefined {
  const { startedAtMs, endedAtMs, done, total } = record;
  if (startedAtMs === undefined || endedAtMs !== undefined || done === 0) return undefined;
  return Math.ceil((((nowMs - startedAtMs) / done) * (total - done)) / 1000);
}
