// Brings the schema of a database up to date: numbered files, forward only, counted in user_version.

import { readFileSync, readdirSync } from 'node:fs';

import type { Database } from 'better-sqlite3';

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';

/** Runs what is missing, each file in one transaction. Faults `catalog-too-new` for a database of a later version. */
export function migrate(database: Database): void {
  const migrations = listMigrations();
  const version = Number(database.pragma('user_version', { simple: true }));
  if (version > migrations.length) {
    throw new Fault('catalog-too-new', { version, known: migrations.length });
  }
  for (const [index, sql] of migrations.entries()) {
    if (index < version) continue;
    database.transaction(() => {
      database.exec(sql);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}

/** The texts in order; `0001-….sql` leads to version 1. */
function listMigrations(): string[] {
  const folder = new URL('migrations/', import.meta.url);
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .toSorted();
  return names.map((name, index) => {
    assert(Number.parseInt(name, 10) === index + 1, 'migrations are numbered without gaps');
    return readFileSync(new URL(name, folder), 'utf8');
  });
}
