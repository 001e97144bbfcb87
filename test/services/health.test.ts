import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { houseEngine } from '../support/service-engine.ts';
import { openHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

test('everything is well', async () => {
  await using house = await openHouse({ engine });
  const { freeBytes, ...health } = await house.services.health.check();
  assert.deepEqual(health, { catalog: 'ok', dataDirectory: 'ok', freeSpace: 'ok' });
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
    freeSpace: 'unknown',
    freeBytes: undefined,
  });
  assert.deepEqual(
    house.failures.map(({ doing }) => doing),
    ['asking the catalog', 'asking the file system'],
  );
});
