// The side tables of the catalog on a full disk: SQLite that may not grow says the same as one on a full disk.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import Sqlite from 'better-sqlite3';
import type { Database } from 'better-sqlite3';

import type { JobRecord } from '../../src/catalog/catalog.ts';
import { DiskReserve } from '../../src/catalog/disk-reserve.ts';
import { migrate } from '../../src/catalog/migrate.ts';
import { SqliteIdempotency } from '../../src/catalog/sqlite-idempotency.ts';
import { SqliteJobs } from '../../src/catalog/sqlite-jobs.ts';
import { SqliteLeases } from '../../src/catalog/sqlite-leases.ts';
import { someId } from '../support/catalog-values.ts';
import { faultOf } from '../support/service-faults.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** More than fits into the pages that there are. */
const large = 'x'.repeat(100_000);

const job: JobRecord = {
  id: 'job_1',
  kind: 'check',
  imageId: undefined,
  state: 'running',
  options: { large },
  trace: {},
  done: 0,
  total: 0,
  result: undefined,
  fault: undefined,
  requestId: 'request',
  createdAtMs: 1,
  startedAtMs: 1,
  endedAtMs: undefined,
};

const claim = { id: 'key', fingerprint: 'one', nowMs: 1, forgetBeforeMs: 0 };
const grant = {
  key: 'lease',
  imageId: someId(1),
  mode: 'exclusive',
  ttlMs: 1000,
  ended: [],
  idempotencyKey: undefined,
  nowMs: 1,
} as const;

/** A catalog with an image and a key, whose file cannot grow any more. */
function fullCatalog(path: string) {
  const database = new Sqlite(':memory:');
  migrate(database);
  const reserve = new DiskReserve(path);
  const parts = {
    jobs: new SqliteJobs(database, reserve),
    idempotency: new SqliteIdempotency(database, reserve),
    leases: new SqliteLeases(database, { reserve, idempotency: new SqliteIdempotency(database, reserve) }),
  };
  insertImage(database);
  return {
    ...parts,
    stopGrowing: () => {
      const pages: unknown = database.pragma('page_count', { simple: true });
      database.pragma(`max_page_count = ${String(pages)}`);
    },
    [Symbol.dispose]: () => {
      database.close();
    },
  };
}

function insertImage(database: Database): void {
  database
    .prepare(
      `INSERT INTO images (id, name, description, state, version, generation, generation_ceiling, settled,
         snapshot_id_ceiling, created_at_ms, updated_at_ms) VALUES (?, 'vm1', '', 'ready', 1, 1, 1, 1, 0, 1, 1)`,
    )
    .run(someId(1));
}

describe('on a full disk', () => {
  type Full = ReturnType<typeof fullCatalog>;
  const gives: Readonly<Record<string, (full: Full) => Promise<unknown>>> = {
    'a job that goes on': ({ jobs }) => jobs.save(job),
    'what a key is about to make': ({ idempotency }) => idempotency.note('key', { imageId: large }),
    'the answer of a key': ({ idempotency }) => idempotency.keep('key', large),
  };
  for (const [name, work] of Object.entries(gives)) {
    test(`${name} takes the reserve, and is insufficient-storage without it`, async () => {
      using folder = tempFolder();
      const path = join(folder.path, 'reserve');
      using full = fullCatalog(path);
      await full.idempotency.claim(claim);
      full.stopGrowing();
      await assert.rejects(work(full), faultOf('insufficient-storage'));
      assert.equal(existsSync(path), false);
    });
  }

  const keeps: Readonly<Record<string, (full: Full) => Promise<unknown>>> = {
    'a new key': ({ idempotency }) => idempotency.claim({ ...claim, id: large }),
    'a new lease': ({ leases }) => leases.grant({ ...grant, owner: large }),
  };
  for (const [name, work] of Object.entries(keeps)) {
    test(`${name} is refused and leaves the reserve alone`, async () => {
      using folder = tempFolder();
      const path = join(folder.path, 'reserve');
      using full = fullCatalog(path);
      full.stopGrowing();
      await assert.rejects(work(full), faultOf('insufficient-storage'));
      assert.ok(existsSync(path));
    });
  }
});
