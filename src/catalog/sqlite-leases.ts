// Leases in SQLite.

import type { Database } from 'better-sqlite3';

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { orFault } from './disk-reserve.ts';
import type { DiskReserve } from './disk-reserve.ts';
import type { FencingToken, LeaseGrant, LeaseRecord, LeaseStore } from './lease-store.ts';
import type { SqliteIdempotency } from './sqlite-idempotency.ts';

interface LeaseRow {
  readonly key: string;
  readonly image_id: string;
  readonly mode: string;
  readonly owner: string | null;
  readonly fencing_token: number;
  readonly ttl_ms: number;
  readonly breaking_ms: number | null;
  readonly acquired_at_ms: number;
  readonly renewed_at_ms: number;
}

/** A new lease is no reason to give up the reserve; what becomes of those that there are is one. */
export class SqliteLeases implements LeaseStore {
  readonly #database: Database;
  readonly #reserve: DiskReserve;
  readonly #idempotency: SqliteIdempotency;

  constructor(database: Database, parts: { readonly reserve: DiskReserve; readonly idempotency: SqliteIdempotency }) {
    this.#database = database;
    this.#reserve = parts.reserve;
    this.#idempotency = parts.idempotency;
  }

  async grant(grant: LeaseGrant): Promise<LeaseRecord> {
    return orFault(() => this.#database.transaction(() => this.#grant(grant)).immediate());
  }

  async renew(key: string, { nowMs }: { readonly nowMs: number }): Promise<void> {
    const renew = this.#database.prepare('UPDATE leases SET renewed_at_ms = ? WHERE key = ?');
    this.#reserve.using(() => renew.run(Math.floor(nowMs), key));
  }

  async break(imageId: string, { graceMs }: { readonly graceMs: number }): Promise<void> {
    const shorten = this.#database.prepare(
      'UPDATE leases SET breaking_ms = min(coalesce(breaking_ms, :graceMs), :graceMs) WHERE image_id = :imageId',
    );
    this.#reserve.using(() => shorten.run({ imageId, graceMs }));
  }

  async end(keys: readonly string[]): Promise<void> {
    this.#reserve.using(() => this.#database.transaction(() => this.#end(keys)).immediate());
  }

  async list(): Promise<readonly LeaseRecord[]> {
    const rows = this.#database.prepare('SELECT * FROM leases ORDER BY acquired_at_ms, key').all() as LeaseRow[];
    return rows.map(toLeaseRecord);
  }

  async listTokens(): Promise<readonly FencingToken[]> {
    const rows = this.#database.prepare('SELECT image_id AS imageId, token FROM fencing_tokens').all();
    return rows as FencingToken[];
  }

  #grant(grant: LeaseGrant): LeaseRecord {
    const { imageId, mode } = grant;
    this.#end(grant.ended);
    this.#requireReady(imageId);
    const blocking = mode === 'exclusive' ? '' : `AND mode = 'exclusive'`;
    const blocker = this.#database.prepare(`SELECT 1 FROM leases WHERE image_id = ? ${blocking} LIMIT 1`).get(imageId);
    if (blocker !== undefined) throw new Fault('image-locked', {});
    const fencingToken = this.#token(imageId) + (mode === 'exclusive' ? 1 : 0);
    this.#database
      .prepare('INSERT OR REPLACE INTO fencing_tokens (image_id, token) VALUES (?, ?)')
      .run(imageId, fencingToken);
    this.#database
      .prepare(
        `INSERT INTO leases (key, image_id, mode, owner, fencing_token, ttl_ms, acquired_at_ms, renewed_at_ms)
         VALUES (:key, :imageId, :mode, :owner, :fencingToken, :ttlMs, :nowMs, :nowMs)`,
      )
      .run({
        key: grant.key,
        imageId,
        mode,
        owner: grant.owner ?? null,
        fencingToken,
        ttlMs: grant.ttlMs,
        nowMs: Math.floor(grant.nowMs),
      });
    const row = this.#database.prepare('SELECT * FROM leases WHERE key = ?').get(grant.key);
    const lease = toLeaseRecord(present(row as LeaseRow | undefined, 'a lease is there when it was granted'));
    const { idempotencyKey: id } = grant;
    if (id !== undefined) this.#idempotency.settleInStep({ id, outcome: { kind: 'lease', lease } });
    return lease;
  }

  #end(keys: readonly string[]): void {
    const statement = this.#database.prepare('DELETE FROM leases WHERE key = ?');
    for (const key of keys) statement.run(key);
  }

  #token(imageId: string): number {
    const row = this.#database.prepare('SELECT token FROM fencing_tokens WHERE image_id = ?').get(imageId);
    return (row as { readonly token: number } | undefined)?.token ?? 0;
  }

  #requireReady(id: string): void {
    const row = this.#database.prepare('SELECT name, state FROM images WHERE id = ?').get(id);
    if (row === undefined) throw new Fault('image-not-found', { image: id });
    const { name, state } = row as { readonly name: string; readonly state: string };
    if (state !== 'ready') throw new Fault('image-not-ready', { imageId: id, name, state });
  }
}

function toLeaseRecord(row: LeaseRow): LeaseRecord {
  return {
    key: row.key,
    imageId: row.image_id,
    mode: row.mode === 'exclusive' ? 'exclusive' : 'shared',
    owner: row.owner ?? undefined,
    fencingToken: row.fencing_token,
    ttlMs: row.ttl_ms,
    breakingMs: row.breaking_ms ?? undefined,
    acquiredAtMs: row.acquired_at_ms,
  };
}
