// Jobs in SQLite.

import type { Database, Statement } from 'better-sqlite3';

import { present } from '../base/assert.ts';
import type { DiskReserve } from './disk-reserve.ts';
import type { JobKind, JobRecord, JobState, JobStore, StoredFault, WorkTrace } from './job-store.ts';

interface JobRow {
  readonly id: string;
  readonly kind: string;
  readonly image_id: string | null;
  readonly state: string;
  readonly options: string;
  readonly trace: string;
  readonly done: number;
  readonly total: number;
  readonly result: string | null;
  readonly fault: string | null;
  readonly request_id: string;
  readonly created_at_ms: number;
  readonly started_at_ms: number | null;
  readonly ended_at_ms: number | null;
}

/** What work under way has to say may use the reserve, as what the images have to say may. */
export class SqliteJobs implements JobStore {
  readonly #save: Statement;
  readonly #find: Statement;
  readonly #list: Statement;
  readonly #unfinished: Statement;
  readonly #pruneOld: Statement;
  readonly #pruneMany: Statement;
  readonly #database: Database;
  readonly #reserve: DiskReserve;

  constructor(database: Database, reserve: DiskReserve) {
    this.#database = database;
    this.#reserve = reserve;
    this.#save = database.prepare(
      `REPLACE INTO jobs (id, kind, image_id, state, options, trace, done, total, result, fault, request_id,
         created_at_ms, started_at_ms, ended_at_ms)
       VALUES (:id, :kind, :image_id, :state, :options, :trace, :done, :total, :result, :fault, :request_id,
         :created_at_ms, :started_at_ms, :ended_at_ms)`,
    );
    this.#find = database.prepare('SELECT * FROM jobs WHERE id = ?');
    this.#list = database.prepare('SELECT * FROM jobs WHERE id > ? ORDER BY id LIMIT ?');
    this.#unfinished = database.prepare('SELECT * FROM jobs WHERE ended_at_ms IS NULL ORDER BY id');
    this.#pruneOld = database.prepare('DELETE FROM jobs WHERE ended_at_ms < ?');
    this.#pruneMany = database.prepare(
      `DELETE FROM jobs WHERE id IN (
         SELECT id FROM jobs WHERE ended_at_ms IS NOT NULL ORDER BY ended_at_ms DESC, id DESC LIMIT -1 OFFSET ?
       )`,
    );
  }

  async save(job: JobRecord): Promise<void> {
    this.#reserve.using(() => this.#save.run(toRow(job)));
  }

  async find(id: string): Promise<JobRecord | undefined> {
    const row = this.#find.get(id) as JobRow | undefined;
    return row === undefined ? undefined : toRecord(row);
  }

  async list(query: { readonly limit: number; readonly after: string | undefined }): Promise<readonly JobRecord[]> {
    const rows = this.#list.all(query.after ?? '', query.limit) as JobRow[];
    return rows.map(toRecord);
  }

  async listUnfinished(): Promise<readonly JobRecord[]> {
    const rows = this.#unfinished.all() as JobRow[];
    return rows.map(toRecord);
  }

  async prune(limits: { readonly endedBeforeMs: number; readonly endedMax: number }): Promise<void> {
    const prune = this.#database.transaction(() => {
      this.#pruneOld.run(Math.floor(limits.endedBeforeMs));
      this.#pruneMany.run(limits.endedMax);
    });
    this.#reserve.using(() => prune.immediate());
  }
}

const kinds: readonly JobKind[] = [
  'create',
  'import',
  'resize',
  'check',
  'digest',
  'compare',
  'repair',
  'zero',
  'discard',
  'snapshot-create',
  'snapshot-delete',
  'snapshot-revert',
  'empty',
  'amend',
  'copy',
  'rebase',
  'commit',
  'flatten',
  'compact',
];

const states: readonly JobState[] = ['queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'];

function toRow(job: JobRecord): JobRow {
  return {
    id: job.id,
    kind: job.kind,
    image_id: job.imageId ?? null,
    state: job.state,
    options: JSON.stringify(job.options),
    trace: JSON.stringify(job.trace),
    done: job.done,
    total: job.total,
    result: job.result === undefined ? null : JSON.stringify(job.result),
    fault: job.fault === undefined ? null : JSON.stringify(job.fault),
    request_id: job.requestId,
    created_at_ms: Math.floor(job.createdAtMs),
    started_at_ms: job.startedAtMs === undefined ? null : Math.floor(job.startedAtMs),
    ended_at_ms: job.endedAtMs === undefined ? null : Math.floor(job.endedAtMs),
  };
}

function toRecord(row: JobRow): JobRecord {
  return {
    id: row.id,
    kind: oneOf(kinds, row.kind),
    imageId: row.image_id ?? undefined,
    state: oneOf(states, row.state),
    options: JSON.parse(row.options) as unknown,
    trace: JSON.parse(row.trace) as WorkTrace,
    done: row.done,
    total: row.total,
    result: row.result === null ? undefined : (JSON.parse(row.result) as unknown),
    fault: row.fault === null ? undefined : (JSON.parse(row.fault) as StoredFault),
    requestId: row.request_id,
    createdAtMs: row.created_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    endedAtMs: row.ended_at_ms ?? undefined,
  };
}

function oneOf<Word extends string>(words: readonly Word[], text: string): Word {
  return present(
    words.find((word) => word === text),
    `the catalog holds known words only, not ${text}`,
  );
}
