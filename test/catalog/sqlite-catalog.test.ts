import assert from 'node:assert/strict';
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import Sqlite from 'better-sqlite3';

import { Fault } from '../../src/base/fault.ts';
import type { FileIdentity } from '../../src/base/file-identity.ts';
import { generationsReserved } from '../../src/catalog/catalog.ts';
import type { ImageQuery, ImageReservation } from '../../src/catalog/catalog.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { someFacts, someId, someReservation, someUpdate } from '../support/catalog-values.ts';
import { tempFolder } from '../support/temp-folder.ts';

const everything: ImageQuery = {
  limit: 100,
  after: undefined,
  name: undefined,
  state: undefined,
  backingId: undefined,
  labels: [],
};

function faultOf(code: string, facts: Record<string, unknown> = {}) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, code);
    for (const [key, value] of Object.entries(facts)) assert.deepEqual(error.context[key], value);
    return true;
  };
}

async function withImages(...reservations: readonly ImageReservation[]): Promise<SqliteCatalog> {
  const catalog = SqliteCatalog.open(':memory:');
  for (const reservation of reservations) {
    await catalog.reserveImage(reservation);
    await catalog.publishImage(reservation.id, someUpdate({}));
  }
  return catalog;
}

test('an image is found by id and by name, with everything that was stored', async () => {
  const catalog = await withImages(
    someReservation(1, { name: 'vm1', description: 'a disk', labels: { os: 'debian', tier: 'gold' } }),
  );
  const byName = await catalog.findImage('vm1');
  assert.deepEqual(byName, await catalog.findImage(someId(1)));
  assert.deepEqual(byName, {
    id: someId(1),
    name: 'vm1',
    description: 'a disk',
    labels: { os: 'debian', tier: 'gold' },
    protected: false,
    state: 'ready',
    stateReason: undefined,
    facts: someFacts,
    backing: undefined,
    dependentCount: 0,
    generation: 1,
    version: byName?.version,
    createdAtMs: 1_000,
    updatedAtMs: 2_000,
    settled: true,
    generationCeiling: 1,
    snapshotIdCeiling: 0,
    structural: undefined,
    nextBackingId: undefined,
    identity: undefined,
  });
  assert.equal(await catalog.findImage('vm2'), undefined);
});

test('of many reservations of one name exactly one wins', async () => {
  const catalog = SqliteCatalog.open(':memory:');
  const tries = Array.from({ length: 20 }, (_, index) => catalog.reserveImage(someReservation(index, { name: 'vm1' })));
  const results = await Promise.allSettled(tries);
  const lost = results.filter((result) => result.status === 'rejected');
  assert.equal(lost.length, 19);
  for (const { reason } of lost) faultOf('name-conflict', { imageId: someId(0) })(reason);
  assert.equal((await catalog.listImages(everything)).length, 1);
});

test('a refused reservation leaves nothing of itself', async () => {
  const catalog = SqliteCatalog.open(':memory:');
  const lost = someReservation(1, { name: 'vm1', backingId: someId(9), labels: { os: 'debian' } });
  await assert.rejects(catalog.reserveImage(lost), faultOf('image-not-found', { image: someId(9) }));
  assert.deepEqual(await catalog.listImages(everything), []);
});

test('an overlay needs a ready image below it', async () => {
  const catalog = SqliteCatalog.open(':memory:');
  await catalog.reserveImage(someReservation(1, { name: 'base', state: 'importing' }));
  const overlay = someReservation(2, { name: 'top', backingId: someId(1) });
  await assert.rejects(catalog.reserveImage(overlay), faultOf('image-not-ready', { state: 'importing' }));
});

test('an image with dependents is not deleted and says which they are', async () => {
  const catalog = await withImages(
    someReservation(1, { name: 'base' }),
    someReservation(2, { name: 'top', backingId: someId(1) }),
  );
  assert.equal((await catalog.findImage('base'))?.dependentCount, 1);
  const dependents = [{ id: someId(2), name: 'top' }];
  await assert.rejects(catalog.beginDelete(someId(1)), faultOf('image-has-dependents', { dependents }));
  await catalog.beginDelete(someId(2));
  await assert.rejects(catalog.beginDelete(someId(1)), faultOf('image-has-dependents', { dependents }));
  await catalog.removeImage(someId(2));
  const version = (await catalog.findImage('base'))?.version ?? 0;
  assert.equal(await catalog.beginDelete(someId(1), version + 1), undefined);
  assert.equal((await catalog.findImage('base'))?.state, 'ready');
  assert.equal((await catalog.beginDelete(someId(1), version))?.state, 'deleting');
  assert.equal((await catalog.beginDelete(someId(1)))?.state, 'deleting');
});

test('an image that is still being made is not deleted', async () => {
  const catalog = SqliteCatalog.open(':memory:');
  await catalog.reserveImage(someReservation(1, { name: 'vm1' }));
  await assert.rejects(catalog.beginDelete(someId(1)), faultOf('image-not-ready', { state: 'creating' }));
});

test('a chain is listed top first', async () => {
  const catalog = await withImages(
    someReservation(3, { name: 'base' }),
    someReservation(1, { name: 'middle', backingId: someId(3) }),
    someReservation(2, { name: 'top', backingId: someId(1) }),
  );
  const names = (await catalog.listChain(someId(2))).map(({ name, backing }) => [name, backing?.name]);
  assert.deepEqual(names, [
    ['top', 'middle'],
    ['middle', 'base'],
    ['base', undefined],
  ]);
});

test('lists are filtered by every given member and cut into pages by id', async () => {
  const catalog = await withImages(
    someReservation(1, { name: 'base', labels: { os: 'debian' } }),
    someReservation(2, { name: 'a', backingId: someId(1), labels: { os: 'debian', tier: 'gold' } }),
    someReservation(3, { name: 'b', backingId: someId(1), labels: { os: 'alpine', tier: 'gold' } }),
  );
  await catalog.reserveImage(someReservation(4, { name: 'c' }));
  const names = async (change: Partial<ImageQuery>): Promise<string[]> =>
    (await catalog.listImages({ ...everything, ...change })).map(({ name }) => name);

  assert.deepEqual(await names({}), ['base', 'a', 'b', 'c']);
  assert.deepEqual(await names({ limit: 2 }), ['base', 'a']);
  assert.deepEqual(await names({ limit: 2, after: someId(2) }), ['b', 'c']);
  assert.deepEqual(await names({ name: 'b' }), ['b']);
  assert.deepEqual(await names({ state: 'creating' }), ['c']);
  assert.deepEqual(await names({ backingId: someId(1) }), ['a', 'b']);
  const gold = ['tier', 'gold'] as const;
  assert.deepEqual(await names({ labels: [gold] }), ['a', 'b']);
  assert.deepEqual(await names({ labels: [gold, ['os', 'debian']] }), ['a']);
  assert.deepEqual(await names({ labels: [gold, ['tier', 'silver']] }), []);
  assert.deepEqual(await names({ backingId: someId(1), labels: [['os', 'none']] }), []);
});

test('a settled image goes on with its generation, any other with one that was never given out', async () => {
  const catalog = await withImages(someReservation(1, { name: 'vm1' }));
  const id = someId(1);
  assert.equal(await catalog.reserveGenerations(id, { jump: false }), 1);

  await catalog.updateImage(id, someUpdate({ generation: 7, settled: true }));
  assert.equal(await catalog.reserveGenerations(id, { jump: false }), 7);

  // Now the image is open: up to the ceiling everything may have been given out.
  const afterCrash = await catalog.reserveGenerations(id, { jump: false });
  assert.equal(afterCrash, 7 + generationsReserved + 1);

  await catalog.updateImage(id, someUpdate({ generation: afterCrash, settled: true }));
  const afterForeignChange = await catalog.reserveGenerations(id, { jump: true });
  assert.ok(afterForeignChange > afterCrash + generationsReserved);
});

test('the version grows when clients see other metadata, and only then', async () => {
  const catalog = await withImages(someReservation(1, { name: 'vm1' }));
  const { version, updatedAtMs } = (await catalog.findImage('vm1')) ?? assert.fail('the image is there');
  const grown = { ...someFacts, fileSize: 10_000_000, allocatedSize: 9_000_000 };
  const sizes = await catalog.updateImage(someId(1), someUpdate({ facts: grown, nowMs: 3_000 }));
  assert.deepEqual([sizes.version, sizes.updatedAtMs], [version, updatedAtMs]);
  assert.equal(sizes.facts?.allocatedSize, 9_000_000);

  const written = await catalog.updateImage(someId(1), someUpdate({ generation: 2, nowMs: 4_000 }));
  assert.deepEqual([written.version, written.updatedAtMs], [version, 4_000]);

  const facts = { ...grown, virtualSize: 2_097_152 };
  const resized = await catalog.updateImage(someId(1), someUpdate({ facts, generation: 2, nowMs: 5_000 }));
  assert.deepEqual([resized.version, resized.updatedAtMs], [version + 1, 5_000]);
});

test('a snapshot id ceiling never falls', async () => {
  const catalog = await withImages(someReservation(1, { name: 'vm1' }));
  await catalog.updateImage(someId(1), someUpdate({ snapshotIdMax: 4 }));
  const after = await catalog.updateImage(someId(1), someUpdate({ snapshotIdMax: 0 }));
  assert.equal(after.snapshotIdCeiling, 4);
});

test('a structural operation stays marked until it is cleared', async () => {
  const catalog = await withImages(someReservation(1, { name: 'vm1' }));
  await catalog.markStructural(someId(1), 'snapshot-delete');
  assert.equal((await catalog.findImage('vm1'))?.structural, 'snapshot-delete');
  await catalog.clearStructural(someId(1), []);
  assert.equal((await catalog.findImage('vm1'))?.structural, undefined);
});

test('a failed image says why', async () => {
  const catalog = await withImages(someReservation(1, { name: 'vm1' }));
  await catalog.failImage(someId(1), { reason: 'the file is missing', nowMs: 9_000 });
  const failed = await catalog.findImage('vm1');
  assert.deepEqual([failed?.state, failed?.stateReason], ['failed', 'the file is missing']);
});

test('only the user of the service may read the catalog, one of an earlier day too', async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'catalog.sqlite');
  const modes = (): readonly number[] => ['', '-wal', '-shm'].map((part) => statSync(path + part).mode & 0o777);
  const catalog = SqliteCatalog.open(path);
  assert.deepEqual(modes(), [0o600, 0o600, 0o600]);
  await catalog.close();
  chmodSync(path, 0o644);
  const again = SqliteCatalog.open(path);
  assert.deepEqual(modes(), [0o600, 0o600, 0o600]);
  await again.close();
});

test('everything is there when the catalog is opened again, and a later schema is refused', async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'catalog.sqlite');
  const first = SqliteCatalog.open(path);
  await first.reserveImage(someReservation(1, { name: 'vm1' }));
  const identity = '1:2:3' as FileIdentity;
  const stored = await first.publishImage(someId(1), someUpdate({ identity }));
  await first.close();

  const second = SqliteCatalog.open(path);
  assert.deepEqual(await second.findImage('vm1'), stored);
  await second.ping();
  await second.close();
  await assert.rejects(second.ping());

  const raw = new Sqlite(path);
  raw.pragma('user_version = 999');
  raw.close();
  assert.throws(() => SqliteCatalog.open(path), faultOf('catalog-too-new', { version: 999 }));
});
