import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import Sqlite from 'better-sqlite3';

import { houseEngine } from '../support/service-engine.ts';
import { openHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

test('everything is well', async () => {
  await using house = await openHouse({ engine });
  const { freeBytes, ...health } = await house.services.health.check();
  assert.deepEqual(health, { catalog: 'ok', dataDirectory: 'ok', engine: 'ok', freeSpace: 'ok' });
  assert.ok(freeBytes !== undefined && freeBytes > 0);
});

test('little free space is low', async () => {
  await using house = await openHouse({ engine, freeBytesMin: Number.MAX_SAFE_INTEGER });
  assert.equal((await house.services.health.check()).freeSpace, 'low');
});

test('a folder that is gone and a catalog that is closed are told, and reported', async () => {
  using folder = tempFolder();
  await using house = await openHouse({ engine, path: folder.path });
  rmSync(join(folder.path, 'images'), { recursive: true });
  await house.catalog.close();
  assert.deepEqual(await house.services.health.check(), {
    catalog: 'failing',
    dataDirectory: 'failing',
    engine: 'ok',
    freeSpace: 'unknown',
    freeBytes: undefined,
  });
  assert.deepEqual(
    house.failures.map(({ doing }) => doing),
    ['asking the catalog', 'asking the file system'],
  );
});

test('a catalog that can only be read is failing', async () => {
  await using house = await openHouse({ engine });
  const other = new Sqlite(house.directory.catalogPath);
  other.exec(`CREATE TRIGGER frozen BEFORE UPDATE ON version_mark BEGIN SELECT RAISE (ABORT, 'read only'); END`);
  other.close();
  assert.equal((await house.services.health.check()).catalog, 'failing');
});

test('an engine that is gone is failing', async () => {
  await using house = await openHouse({ engine });
  await house.pool.close();
  assert.equal((await house.services.health.check()).engine, 'failing');
  assert.deepEqual(
    house.failures.map(({ doing }) => doing),
    ['asking the engine threads'],
  );
});

test('those who ask at the same time get one answer, those who come later another', async () => {
  let nowMs = 0;
  await using house = await openHouse({ engine, steadyClock: () => nowMs });
  const { health } = house.services;
  assert.equal((await health.check()).engine, 'ok');
  await house.pool.close();
  nowMs = 999;
  assert.equal((await health.check()).engine, 'ok');
  nowMs = 1_000;
  assert.equal((await health.check()).engine, 'failing');
});
