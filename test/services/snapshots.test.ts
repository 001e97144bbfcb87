import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

async function houseWithImage(): Promise<ServiceHouse> {
  const house = await openHouse({ engine });
  await house.services.images.create(newImage({ name: 'vm1' }));
  return house;
}

const firstPage = { limit: 1000, after: undefined } as const;

test('a snapshot keeps the bytes of its time, and a revert brings them back', async () => {
  await using house = await houseWithImage();
  const { services } = house;
  await writeAt(services, 'vm1', 0, Buffer.from('then'));
  const made = await services.snapshots.create('vm1', { name: 's1' });
  await writeAt(services, 'vm1', 0, Buffer.from('now!'));

  assert.equal((await readAll(services, 'vm1', 's1')).toString('latin1', 0, 4), 'then');
  assert.equal((await readAll(services, 'vm1', made.id)).toString('latin1', 0, 4), 'then');
  assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 4), 'now!');
  using session = await services.content.openRead('vm1', { snapshot: 's1', signal: undefined });
  assert.equal(session.snapshotId, made.id);

  const before = await services.images.show('vm1');
  const reverted = await services.snapshots.revert('vm1', 's1');
  assert.ok(reverted.generation > before.generation, 'the live bytes are of another generation');
  assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 4), 'then');
});

test('snapshots are listed in order, and found by id and by name', async () => {
  await using house = await houseWithImage();
  const { snapshots, images } = house.services;
  const first = await snapshots.create('vm1', { name: 'first' });
  const second = await snapshots.create('vm1', { name: 'second' });
  assert.deepEqual(
    (await snapshots.list('vm1', firstPage))?.items.map(({ id, name }) => [id, name]),
    [
      ['1', 'first'],
      ['2', 'second'],
    ],
  );
  assert.equal((await snapshots.get('vm1', first.id)).name, 'first');
  assert.equal((await snapshots.get('vm1', 'second')).id, second.id);
  assert.equal((await images.show('vm1')).facts?.snapshotCount, 2);
});

test('a page goes on where the one before ended, unless that snapshot is gone', async () => {
  await using house = await houseWithImage();
  const { snapshots } = house.services;
  for (const name of ['a', 'b', 'c', 'd']) await snapshots.create('vm1', { name });
  const idsAfter = async (after: {
    next: number;
    lastId: string | undefined;
  }): Promise<readonly string[] | undefined> =>
    (await snapshots.list('vm1', { limit: 2, after }))?.items.map(({ id }) => id);
  const page = await snapshots.list('vm1', { limit: 2, after: undefined });
  assert.deepEqual([page?.items.map(({ id }) => id), page?.next], [['1', '2'], 2]);
  assert.deepEqual(await idsAfter({ next: 2, lastId: '2' }), ['3', '4']);
  assert.deepEqual(await idsAfter({ next: 2, lastId: undefined }), ['3', '4'], 'the place alone');
  await snapshots.delete('vm1', '1');
  assert.deepEqual(await idsAfter({ next: 2, lastId: '2' }), ['3', '4'], 'the end of the page has moved');
  await snapshots.delete('vm1', '2');
  assert.equal(await idsAfter({ next: 2, lastId: '2' }), undefined);
});

test('an id never comes back, not even after a restart', async () => {
  using folder = tempFolder();
  {
    await using house = await openHouse({ engine, path: folder.path });
    const { snapshots, images } = house.services;
    await images.create(newImage({ name: 'vm1' }));
    await snapshots.create('vm1', { name: 'a' });
    assert.equal((await snapshots.create('vm1', { name: 'b' })).id, '2');
    await snapshots.delete('vm1', 'b');
    await snapshots.delete('vm1', 'a');
    assert.deepEqual(await snapshots.list('vm1', firstPage), { items: [], next: undefined });
  }
  await using house = await openHouse({ engine, path: folder.path });
  assert.equal((await house.services.snapshots.create('vm1', { name: 'b' })).id, '3');
});

describe('a snapshot name', () => {
  test('has 1 to 255 bytes of UTF-8 and is no id', async () => {
    await using house = await houseWithImage();
    const { snapshots } = house.services;
    for (const name of ['', '42', 'ä'.repeat(128), 'lone \ud800 half', 'a\0b']) {
      await assert.rejects(snapshots.create('vm1', { name }), (error: unknown) => {
        faultOf('invalid-request')(error);
        return true;
      });
    }
    assert.equal((await snapshots.create('vm1', { name: `${'ä'.repeat(127)}x` })).name, `${'ä'.repeat(127)}x`);
  });

  test('is taken once, also when two ask at the same time', async () => {
    await using house = await houseWithImage();
    const { snapshots } = house.services;
    const tries = await Promise.allSettled([1, 2, 3].map(() => snapshots.create('vm1', { name: 's1' })));
    const refused = tries.filter((each) => each.status === 'rejected');
    assert.equal(refused.length, 2);
    for (const { reason } of refused) faultOf('name-conflict', { name: 's1', snapshotId: '1' })(reason);
    assert.equal((await house.catalog.findImage('vm1'))?.structural, undefined);
  });
});

test('every verb faults for a snapshot that is not there', async () => {
  await using house = await houseWithImage();
  const { snapshots, content, exports } = house.services;
  const missing = faultOf('snapshot-not-found', { snapshot: 'nothing' });
  await assert.rejects(snapshots.get('vm1', 'nothing'), missing);
  await assert.rejects(snapshots.delete('vm1', 'nothing'), missing);
  await assert.rejects(snapshots.revert('vm1', 'nothing'), missing);
  await assert.rejects(content.openRead('vm1', { snapshot: 'nothing', signal: undefined }), missing);
  const options = { format: 'raw', snapshot: 'nothing', layer: 'all', compress: false, signal: undefined } as const;
  await assert.rejects(exports.openExport('vm1', options), missing);
});

test('a snapshot that is read goes away under its reader only when it is deleted', async () => {
  await using house = await houseWithImage();
  const { services } = house;
  await services.snapshots.create('vm1', { name: 's1' });
  using session = await services.content.openRead('vm1', { snapshot: 's1', signal: undefined });
  await services.images.resize('vm1', { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' });
  assert.equal(session.size, MiB);
  assert.equal((await session.read({ offset: MiB - 512, length: 512 })).bytes.length, 512);
  await services.snapshots.delete('vm1', 's1');
  await assert.rejects(session.read({ offset: 0, length: 512 }), faultOf('snapshot-not-found'));
});
