import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import Sqlite from 'better-sqlite3';

import { createApplication } from '../src/app.ts';
import { StartError } from '../src/base/start-error.ts';
import { loadConfig } from '../src/config.ts';
import { tempFolder } from './support/temp-folder.ts';

/** What a person is told who starts the service over a data directory that was made so. */
async function wordsOf(make: (folder: string) => void): Promise<string> {
  using folder = tempFolder();
  make(folder.path);
  const config = loadConfig({ QCOWD_DATA_DIR: folder.path, QCOWD_LOG_LEVEL: 'silent' }, { cores: 1 });
  const starting = createApplication({ config, identity: { name: 'qcowd', version: '0' }, engine: 'inline' });
  const error = await starting.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof StartError, `the start is refused in words: ${String(error)}`);
  return error.message;
}

describe('a data directory that cannot be used', () => {
  test('is named, where the file to lock cannot be opened', async () => {
    const words = await wordsOf((folder) => mkdirSync(join(folder, 'lock')));
    assert.match(words, /^QCOWD_DATA_DIR: the folder cannot be made or used \(EISDIR.*Give it to the user/);
  });

  test('is said to have a catalog that is none', async () => {
    const words = await wordsOf((folder) => writeFileSync(join(folder, 'catalog.sqlite'), 'no database at all'));
    assert.match(words, /catalog\.sqlite: the catalog cannot be opened \(file is not a database\)\. .*from a backup/);
  });

  test('is said to be of a later version', async () => {
    const words = await wordsOf((folder) => {
      const database = new Sqlite(join(folder, 'catalog.sqlite'));
      database.pragma('user_version = 999');
      database.close();
    });
    assert.match(words, /catalog\.sqlite was written by a later version of qcowd\. Start that version, or/);
  });
});
