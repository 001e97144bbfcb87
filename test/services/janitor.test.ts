import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { DataDirectory } from '../../src/store/data-directory.ts';
import { someId, someReservation } from '../support/catalog-values.ts';
import { houseEngine } from '../support/service-engine.ts';
import { newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

/** A data directory as a crash has left it. */
async function leaveBehind(
  path: string,
  work: (left: { readonly catalog: SqliteCatalog; readonly directory: DataDirectory }) => Promise<void>,
): Promise<void> {
  const directory = await DataDirectory.open(path);
  const catalog = SqliteCatalog.open(directory.catalogPath);
  await work({ catalog, directory });
  await catalog.close();
}

test('images that were being made are taken back, wherever their file was', async () => {
  using folder = tempFolder();
  await leaveBehind(folder.path, async ({ catalog, directory }) => {
    await catalog.reserveImage(someReservation(1, { name: 'no-file' }));
    await catalog.reserveImage(someReservation(2, { name: 'staged' }));
    writeFileSync(directory.stagingPath(someId(2)), 'half an image');
    await catalog.reserveImage(someReservation(3, { name: 'published' }));
    writeFileSync(directory.imagePath(someId(3)), 'an image');
    await catalog.reserveImage(someReservation(4, { name: 'imported', state: 'importing' }));
    writeFileSync(directory.stagingPath(someId(4)), 'half an import');
  });
  await using house = await openHouse({ engine, path: folder.path });
  assert.deepEqual(house.files('images'), []);
  assert.deepEqual(house.files('staging'), []);
  for (const name of ['no-file', 'staged', 'published', 'imported']) {
    assert.equal(await house.catalog.findImage(name), undefined);
    await house.services.images.create(newImage({ name }));
  }
  assert.deepEqual(house.failures, []);
});

test('deletions are finished', async () => {
  using folder = tempFolder();
  const ids: string[] = [];
  {
    await using house = await openHouse({ engine, path: folder.path });
    for (const name of ['with-file', 'without-file']) {
      ids.push((await house.services.images.create(newImage({ name }))).id);
    }
  }
  const [, withoutFile = ''] = ids;
  await leaveBehind(folder.path, async ({ catalog, directory }) => {
    for (const id of ids) await catalog.beginDelete(id);
    rmSync(directory.imagePath(withoutFile));
  });
  await using house = await openHouse({ engine, path: folder.path });
  assert.deepEqual(house.files('images'), []);
  for (const id of ids) assert.equal(await house.catalog.findImage(id), undefined);
});

test('staging files of nobody go, files that we did not name stay', async () => {
  using folder = tempFolder();
  await leaveBehind(folder.path, async ({ directory }) => {
    writeFileSync(directory.stagingPath(someId(1)), 'left over');
    writeFileSync(`${folder.path}/staging/notes.qcow2`, 'not ours');
  });
  await using house = await openHouse({ engine, path: folder.path });
  assert.deepEqual(house.files('staging'), ['notes.qcow2']);
});

test('an image file that no record knows stays, and is reported', async () => {
  using folder = tempFolder();
  await leaveBehind(folder.path, async ({ directory }) => {
    writeFileSync(directory.imagePath(someId(1)), 'somebody needs this');
  });
  await using house = await openHouse({ engine, path: folder.path });
  assert.deepEqual(house.files('images'), [`${someId(1)}.qcow2`]);
  assert.deepEqual(
    house.failures.map(({ imageId }) => imageId),
    [someId(1)],
  );
});

test('images whose file is gone are failed, with a reason', async () => {
  using folder = tempFolder();
  let id = '';
  {
    await using house = await openHouse({ engine, path: folder.path });
    ({ id } = await house.services.images.create(newImage({ name: 'vm1' })));
  }
  await leaveBehind(folder.path, async ({ directory }) => rmSync(directory.imagePath(id)));
  await using house = await openHouse({ engine, path: folder.path });
  const image = await house.services.images.show('vm1');
  assert.equal(image.state, 'failed');
  assert.match(image.stateReason ?? '', /file/);
});

test('what a structural operation left half done is repaired before the start is over', async () => {
  using folder = tempFolder();
  let id = '';
  {
    await using house = await openHouse({ engine, path: folder.path });
    ({ id } = await house.services.images.create(newImage({ name: 'vm1' })));
    await writeAt(house.services, 'vm1', 0, Buffer.from('kept'));
  }
  await leaveBehind(folder.path, async ({ catalog }) => catalog.markStructural(id, 'snapshot-delete'));
  await using house = await openHouse({ engine, path: folder.path });
  assert.equal((await house.catalog.findImage(id))?.structural, undefined);
  assert.equal((await readAll(house.services, 'vm1')).toString('latin1', 0, 4), 'kept');
  assert.deepEqual(house.failures, []);
});

test('trouble with one image is reported and does not hold up the others', async () => {
  using folder = tempFolder();
  const ids: string[] = [];
  {
    await using house = await openHouse({ engine, path: folder.path });
    for (const name of ['broken', 'sound']) ids.push((await house.services.images.create(newImage({ name }))).id);
  }
  await leaveBehind(folder.path, async ({ catalog, directory }) => {
    for (const id of ids) await catalog.markStructural(id, 'resize');
    writeFileSync(directory.imagePath(ids[0] ?? ''), 'no image at all');
  });
  await using house = await openHouse({ engine, path: folder.path });
  assert.deepEqual(
    house.failures.map(({ imageId }) => imageId),
    [ids[0]],
  );
  assert.equal((await house.catalog.findImage('sound'))?.structural, undefined);
  assert.equal((await house.catalog.findImage('broken'))?.structural, 'resize');
});
