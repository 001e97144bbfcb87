// The catalog in SQLite: every verb is one transaction, durable when it answers.

import Sqlite from 'better-sqlite3';
import type { Database, Statement } from 'better-sqlite3';

import { assert, present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { generationsReserved } from './catalog.ts';
import type {
  Catalog,
  ImageEdit,
  ImageFacts,
  ImageQuery,
  ImageRecord,
  ImageReference,
  ImageReservation,
  ImageState,
  ImageUpdate,
  Labels,
  SettledKey,
  StructuralOperation,
} from './catalog.ts';
import { DiskReserve, orFault } from './disk-reserve.ts';
import { changesMetadata, selectChain, selectImages, toFactsRow, toImageRecord } from './image-records.ts';
import type { ImageRow } from './image-records.ts';
import { migrate } from './migrate.ts';
import { keepPrivate } from './private-file.ts';
import { SqliteIdempotency } from './sqlite-idempotency.ts';
import { SqliteJobs } from './sqlite-jobs.ts';
import { SqliteLeases } from './sqlite-leases.ts';

/** The first generation of every image: a file that nobody has changed yet. */
const generationFirst = 1;

/** The version with which an image takes a name: above any that an image ever had. */
const nextVersion = '(SELECT highest + 1 FROM version_mark)';

/** One connection, and the only one that writes. */
export class SqliteCatalog implements Catalog {
  readonly jobs: SqliteJobs;
  readonly idempotency: SqliteIdempotency;
  readonly #database: Database;
  readonly leases: SqliteLeases;
  readonly #statements = new Map<string, Statement>();
  readonly #reserve: DiskReserve;

  private constructor(database: Database, reserve: DiskReserve) {
    this.#database = database;
    this.#reserve = reserve;
    this.jobs = new SqliteJobs(database, reserve);
    this.idempotency = new SqliteIdempotency(database, reserve);
    this.leases = new SqliteLeases(database, { reserve, idempotency: this.idempotency });
  }

  /** Opens the file, makes it if needed, and brings its schema up to date. `:memory:` is one that nobody keeps. */
  static open(path: string): SqliteCatalog {
    if (path !== ':memory:') keepPrivate(path);
    const database = new Sqlite(path);
    try {
      database.pragma('journal_mode = WAL');
      // Every verb is a promise to a client: FULL syncs the log before the promise is given.
      database.pragma('synchronous = FULL');
      database.pragma('foreign_keys = ON');
      migrate(database);
      return new SqliteCatalog(database, new DiskReserve(path === ':memory:' ? undefined : `${path}-reserve`));
    } catch (error) {
      database.close();
      throw error;
    }
  }

  async reserveImage(reservation: ImageReservation): Promise<ImageRecord> {
    // A new image is no reason to give up the reserve.
    return this.#whole(() => {
      const holder = this.#find(reservation.name);
      if (holder !== undefined) {
        throw new Fault('name-conflict', { name: reservation.name, imageId: holder.id });
      }
      if (reservation.backingId !== undefined) this.#requireReady(reservation.backingId);
      this.#insert(reservation);
      return this.#require(reservation.id);
    });
  }

  async publishImage(id: string, update: ImageUpdate, key?: string): Promise<ImageRecord> {
    return this.#atomically(() => {
      const { state } = this.#require(id);
      assert(state === 'creating' || state === 'importing', 'only a new image is published');
      this.#run(`UPDATE images SET state = 'ready', version = version + 1 WHERE id = ?`, id);
      const image = this.#update(id, update);
      if (key !== undefined) this.idempotency.settleInStep({ id: key, outcome: { kind: 'image', image } });
      return image;
    });
  }

  async removeImage(id: string): Promise<void> {
    this.#run('DELETE FROM images WHERE id = ?', id);
    this.#reserve.keep();
  }

  async beginDelete(id: string, meant?: number): Promise<ImageRecord | undefined> {
    return this.#atomically(() => {
      const { name, state, version, protected: isProtected } = this.#require(id);
      if (state === 'creating' || state === 'importing')
        throw new Fault('image-not-ready', { imageId: id, name, state });
      if (isProtected) throw new Fault('image-protected', { imageId: id, name });
      this.#requireNoDependents(id);
      if (meant !== undefined && meant !== version) return undefined;
      this.#run(`UPDATE images SET state = 'deleting', version = version + 1 WHERE id = ?`, id);
      return this.#require(id);
    });
  }

  async detachImage(id: string, change: { readonly nowMs: number }): Promise<ImageRecord> {
    return this.#atomically(() => {
      this.#requireReady(id);
      this.#requireNoDependents(id);
      return this.#enterState(id, { state: 'detached', nowMs: change.nowMs });
    });
  }

  async attachImage(id: string, change: { readonly nowMs: number }): Promise<ImageRecord> {
    return this.#atomically(() => {
      assert(this.#require(id).state === 'detached', 'only a detached image is attached');
      return this.#enterState(id, { state: 'ready', nowMs: change.nowMs });
    });
  }

  async failImage(id: string, change: { readonly reason: string; readonly nowMs: number }): Promise<void> {
    this.#run(
      `UPDATE images SET state = 'failed', state_reason = ?, version = version + 1, updated_at_ms = ? WHERE id = ?`,
      change.reason,
      Math.floor(change.nowMs),
      id,
    );
  }

  async editImage(id: string, edit: ImageEdit): Promise<ImageRecord | undefined> {
    return this.#atomically(() => {
      const { state, version } = this.#require(id);
      if (version !== edit.version) return undefined;
      if (state === 'deleting') throw new Fault('image-not-ready', { imageId: id, name: edit.name, state });
      const holder = this.#find(edit.name);
      if (holder !== undefined && holder.id !== id) {
        throw new Fault('name-conflict', { name: edit.name, imageId: holder.id });
      }
      this.#edit(id, edit, { renamed: holder === undefined });
      return this.#require(id);
    });
  }

  async findImage(image: string): Promise<ImageRecord | undefined> {
    return this.#find(image);
  }

  async listImages(query: ImageQuery): Promise<readonly ImageRecord[]> {
    const conditions: string[] = [];
    const values: unknown[] = [];
    const require = (condition: string, ...operands: unknown[]): void => {
      conditions.push(condition);
      values.push(...operands);
    };
    if (query.after !== undefined) require('images.id > ?', query.after);
    if (query.name !== undefined) require('images.name = ?', query.name);
    if (query.state !== undefined) require('images.state = ?', query.state);
    if (query.backingId !== undefined) require('images.backing_id = ?', query.backingId);
    for (const [key, value] of query.labels) {
      require('EXISTS (SELECT 1 FROM image_labels WHERE image_id = images.id AND key = ? AND value = ?)', key, value);
    }
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const rows = this.#all<ImageRow>(`${selectImages} ${where} ORDER BY images.id LIMIT ?`, ...values, query.limit);
    return rows.map(toImageRecord);
  }

  async listDependents(id: string): Promise<readonly ImageReference[]> {
    return this.#dependents(id);
  }

  async listChain(id: string): Promise<readonly ImageRecord[]> {
    const rows = this.#all<ImageRow>(selectChain, id);
    return rows.map(toImageRecord);
  }

  async reserveGenerations(id: string, options: { readonly jump: boolean }): Promise<number> {
    // Nothing above the ceiling was ever given out; a settled image's last generation may go on being its current one.
    const start = `CASE WHEN settled = 1 AND :jump = 0 THEN generation ELSE generation_ceiling + 1 END`;
    const statement = this.#statement(
      `UPDATE images SET generation = ${start}, generation_ceiling = ${start} + :reserved, settled = 0
       WHERE id = :id RETURNING generation`,
    );
    const values = { id, jump: Number(options.jump), reserved: generationsReserved };
    const row = this.#reserve.using(() => statement.get(values));
    return present(row as { readonly generation: number } | undefined, 'generations are reserved for an image')
      .generation;
  }

  async touchImage(id: string, { nowMs }: { readonly nowMs: number }): Promise<void> {
    this.#run('UPDATE images SET version = version + 1, updated_at_ms = ? WHERE id = ?', Math.floor(nowMs), id);
  }

  async updateImage(id: string, update: ImageUpdate): Promise<ImageRecord> {
    return this.#atomically(() => this.#update(id, update));
  }

  async markStructural(id: string, operation: StructuralOperation): Promise<void> {
    this.#run('UPDATE images SET structural = ? WHERE id = ?', operation, id);
  }

  async reserveBacking(id: string, backingId: string): Promise<void> {
    this.#atomically(() => {
      this.#requireReady(backingId);
      this.#requireNoDependents(id);
      this.#run('UPDATE images SET next_backing_id = ? WHERE id = ?', backingId, id);
    });
  }

  async settleBacking(
    id: string,
    { backingId, nowMs }: { readonly backingId: string | undefined; readonly nowMs: number },
  ): Promise<void> {
    this.#run(
      `UPDATE images SET backing_id = ?, next_backing_id = NULL, version = version + 1, updated_at_ms = ? WHERE id = ?`,
      backingId ?? null,
      Math.floor(nowMs),
      id,
    );
  }

  async clearStructural(id: string, keys: readonly SettledKey[]): Promise<void> {
    this.#atomically(() => {
      this.#run('UPDATE images SET structural = NULL, next_backing_id = NULL WHERE id = ?', id);
      for (const key of keys) this.idempotency.settleInStep(key);
    });
  }

  async sumImages(): Promise<{ readonly images: number; readonly virtualBytes: number }> {
    const [sums] = this.#all<{ readonly images: number; readonly virtual_bytes: number }>(
      `SELECT count(*) AS images, total(virtual_size) AS virtual_bytes
         FROM images LEFT JOIN image_facts ON image_id = id`,
    );
    const { images, virtual_bytes: virtualBytes } = present(sums, 'a sum has one row');
    return { images, virtualBytes: Math.min(virtualBytes, Number.MAX_SAFE_INTEGER) };
  }

  async ping(): Promise<void> {
    this.#all('SELECT count(*) FROM (SELECT id FROM images LIMIT 1)');
    // Nothing changes, and it is written all the same.
    const write = this.#statement('UPDATE version_mark SET highest = highest');
    orFault(() => write.run());
  }

  async close(): Promise<void> {
    this.#database.close();
  }

  #insert(reservation: ImageReservation): void {
    this.#statement(
      `INSERT INTO images (id, name, description, state, backing_id, version, generation, generation_ceiling, settled,
         snapshot_id_ceiling, created_at_ms, updated_at_ms)
       VALUES (:id, :name, :description, :state, :backingId, ${nextVersion}, :generation, :generation, 1, 0, :nowMs, :nowMs)`,
    ).run({
      id: reservation.id,
      name: reservation.name,
      description: reservation.description,
      state: reservation.state,
      backingId: reservation.backingId ?? null,
      generation: generationFirst,
      nowMs: Math.floor(reservation.nowMs),
    });
    this.#addLabels(reservation.id, reservation.labels);
    if (reservation.facts !== undefined) this.#storeFacts(reservation.id, reservation.facts);
  }

  #edit(id: string, edit: ImageEdit, options: { readonly renamed: boolean }): void {
    this.#statement(
      `UPDATE images SET name = :name, description = :description, protected = :protected,
         version = ${options.renamed ? nextVersion : 'version + 1'}, updated_at_ms = :nowMs
       WHERE id = :id`,
    ).run({
      id,
      name: edit.name,
      description: edit.description,
      protected: Number(edit.protected),
      nowMs: Math.floor(edit.nowMs),
    });
    this.#run('DELETE FROM image_labels WHERE image_id = ?', id);
    this.#addLabels(id, edit.labels);
  }

  #addLabels(id: string, labels: Labels): void {
    for (const [key, value] of Object.entries(labels)) {
      this.#run('INSERT INTO image_labels (image_id, key, value) VALUES (?, ?, ?)', id, key, value);
    }
  }

  #update(id: string, update: ImageUpdate): ImageRecord {
    const before = this.#require(id);
    assert(update.generation >= before.generation, 'a generation never falls back');
    this.#storeFacts(id, update.facts);
    const seen = changesMetadata(before.facts, update.facts);
    const changed = seen || update.generation > before.generation;
    this.#statement(
      `UPDATE images SET generation = :generation, generation_ceiling = max(generation_ceiling, :generation),
         settled = :settled, snapshot_id_ceiling = max(snapshot_id_ceiling, :snapshotIdMax), identity = :identity,
         version = version + :seen, updated_at_ms = :updatedAtMs
       WHERE id = :id`,
    ).run({
      id,
      generation: update.generation,
      settled: Number(update.settled),
      snapshotIdMax: update.snapshotIdMax,
      identity: update.identity ?? null,
      seen: Number(seen),
      updatedAtMs: changed ? Math.floor(update.nowMs) : before.updatedAtMs,
    });
    return this.#require(id);
  }

  #storeFacts(id: string, facts: ImageFacts): void {
    const row = toFactsRow(id, facts);
    const columns = Object.keys(row);
    const values = columns.map((column) => `:${column}`);
    this.#statement(`REPLACE INTO image_facts (${columns.join(', ')}) VALUES (${values.join(', ')})`).run(row);
  }

  #find(image: string): ImageRecord | undefined {
    const column = image.startsWith('img_') ? 'images.id' : 'images.name';
    const [row] = this.#all<ImageRow>(`${selectImages} WHERE ${column} = ?`, image);
    return row === undefined ? undefined : toImageRecord(row);
  }

  #require(id: string): ImageRecord {
    const record = this.#find(id);
    if (record === undefined) throw new Fault('image-not-found', { image: id });
    return record;
  }

  #requireReady(id: string): void {
    const { name, state } = this.#require(id);
    if (state === 'detached') throw new Fault('image-detached', { imageId: id, name });
    if (state !== 'ready') throw new Fault('image-not-ready', { imageId: id, name, state });
  }

  #requireNoDependents(id: string): void {
    const dependents = this.#dependents(id);
    if (dependents.length === 0) return;
    throw new Fault('image-has-dependents', { imageId: id, name: this.#require(id).name, dependents });
  }

  #enterState(id: string, change: { readonly state: ImageState; readonly nowMs: number }): ImageRecord {
    const nowMs = Math.floor(change.nowMs);
    this.#run(
      'UPDATE images SET state = ?, version = version + 1, updated_at_ms = ? WHERE id = ?',
      change.state,
      nowMs,
      id,
    );
    return this.#require(id);
  }

  #dependents(id: string): ImageReference[] {
    return this.#all<ImageReference>(
      'SELECT id, name FROM images WHERE backing_id = ? OR next_backing_id = ? ORDER BY id',
      id,
      id,
    );
  }

  /** All of it or nothing; the write lock is taken first, so that nothing read inside is out of date. */
  #atomically<Result>(work: () => Result): Result {
    return this.#reserve.using(() => this.#database.transaction(work).immediate());
  }

  /** Like {@link #atomically}, but a full disk is a fault at once. */
  #whole<Result>(work: () => Result): Result {
    return orFault(() => this.#database.transaction(work).immediate());
  }

  #all<Row>(sql: string, ...values: unknown[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  #run(sql: string, ...values: unknown[]): void {
    const run = (): void => {
      this.#statement(sql).run(...values);
    };
    // Inside a transaction only all of it can be done again.
    if (this.#database.inTransaction) run();
    else this.#reserve.using(run);
  }

  #statement(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}
