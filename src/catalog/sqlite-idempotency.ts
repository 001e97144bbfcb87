// Idempotency keys in SQLite.

import type { Database, Statement } from 'better-sqlite3';

import { orFault } from './disk-reserve.ts';
import type { DiskReserve } from './disk-reserve.ts';
import type { IdempotencyRecord, IdempotencyStore, Outcome, SettledKey } from './idempotency-store.ts';
import type { WorkTrace } from './job-store.ts';

interface KeyRow {
  readonly id: string;
  readonly fingerprint: string;
  readonly subject: string | null;
  readonly outcome: string | null;
  readonly answer: string | null;
}

/** A new key is no reason to give up the reserve, as the new thing it stands for is none; what became of it is one. */
export class SqliteIdempotency implements IdempotencyStore {
  readonly #database: Database;
  readonly #reserve: DiskReserve;
  readonly #find: Statement;
  readonly #insert: Statement;
  readonly #forget: Statement;
  readonly #note: Statement;
  readonly #settle: Statement;
  readonly #unsettle: Statement;
  readonly #listUnsettled: Statement;
  readonly #keep: Statement;
  readonly #release: Statement;

  constructor(database: Database, reserve: DiskReserve) {
    this.#database = database;
    this.#reserve = reserve;
    this.#find = database.prepare('SELECT * FROM idempotency_keys WHERE id = ?');
    this.#insert = database.prepare(
      'INSERT INTO idempotency_keys (id, fingerprint, settled, created_at_ms) VALUES (?, ?, 0, ?)',
    );
    this.#forget = database.prepare('DELETE FROM idempotency_keys WHERE created_at_ms < ?');
    this.#note = database.prepare('UPDATE idempotency_keys SET subject = ? WHERE id = ?');
    this.#settle = database.prepare('UPDATE idempotency_keys SET settled = 1, outcome = ? WHERE id = ?');
    this.#unsettle = database.prepare(
      'UPDATE idempotency_keys SET settled = 0, outcome = NULL, subject = NULL WHERE id = ?',
    );
    this.#listUnsettled = database.prepare(
      `SELECT * FROM idempotency_keys WHERE settled = 0 AND json_extract(subject, '$.imageId') = ? ORDER BY id`,
    );
    this.#keep = database.prepare('UPDATE idempotency_keys SET settled = 1, answer = ? WHERE id = ?');
    this.#release = database.prepare('DELETE FROM idempotency_keys WHERE id = ?');
  }

  async claim(claim: {
    readonly id: string;
    readonly fingerprint: string;
    readonly nowMs: number;
    readonly forgetBeforeMs: number;
  }): Promise<IdempotencyRecord | undefined> {
    const work = this.#database.transaction(() => {
      this.#forget.run(Math.floor(claim.forgetBeforeMs));
      const row = this.#find.get(claim.id) as KeyRow | undefined;
      if (row !== undefined) return toRecord(row);
      this.#insert.run(claim.id, claim.fingerprint, Math.floor(claim.nowMs));
      return undefined;
    });
    return orFault(() => work.immediate());
  }

  async note(id: string, subject: WorkTrace): Promise<void> {
    this.#reserve.using(() => this.#note.run(JSON.stringify(subject), id));
  }

  async listUnsettled(imageId: string): Promise<readonly IdempotencyRecord[]> {
    const rows = this.#listUnsettled.all(imageId) as KeyRow[];
    return rows.map(toRecord);
  }

  async unsettle(id: string): Promise<void> {
    this.#reserve.using(() => this.#unsettle.run(id));
  }

  async keep(id: string, answer: unknown): Promise<void> {
    this.#reserve.using(() => this.#keep.run(JSON.stringify(answer), id));
  }

  async release(id: string): Promise<void> {
    this.#reserve.using(() => this.#release.run(id));
  }

  async settle(key: SettledKey): Promise<void> {
    this.#reserve.using(() => this.settleInStep(key));
  }

  /** The effect is there: part of the step that makes it. */
  settleInStep({ id, outcome }: SettledKey): void {
    this.#settle.run(JSON.stringify(outcome), id);
  }
}

function toRecord(row: KeyRow): IdempotencyRecord {
  return {
    id: row.id,
    fingerprint: row.fingerprint,
    subject: row.subject === null ? undefined : (JSON.parse(row.subject) as WorkTrace),
    outcome: row.outcome === null ? undefined : (JSON.parse(row.outcome) as Outcome),
    answer: row.answer === null ? undefined : (JSON.parse(row.answer) as unknown),
  };
}
