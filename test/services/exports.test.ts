import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { Prng } from '../support/prng.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import {
  bodyIn,
  gather,
  newImage,
  newImport,
  openHouse,
  qcow2Source,
  readAll,
  writeAt,
} from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';

const engine = houseEngine;
const raw = { format: 'raw', snapshot: undefined, layer: 'all', compress: false, signal: undefined } as const;
const qcow2 = { ...raw, format: 'qcow2' } as const;
const packed = { ...qcow2, compress: true } as const;

async function houseWith(bytes: Uint8Array): Promise<ServiceHouse> {
  const house = await openHouse({ engine });
  await house.services.images.create(newImage({ name: 'vm1', virtualSize: bytes.length }));
  await writeAt(house.services, 'vm1', 0, bytes);
  return house;
}

describe('an export', () => {
  test('is a file of known length, any part of which can be read', async () => {
    const bytes = new Prng(1).bytes(2 * MiB + 512);
    await using house = await houseWith(bytes);
    using session = await house.services.exports.openExport('vm1', raw);
    assert.equal(session.imageName, 'vm1');
    assert.equal(session.length, bytes.length);
    assert.equal(session.generation, (await house.services.images.show('vm1')).generation);
    assert.ok((await gather(session.chunks({ offset: 0, length: session.length }))).equals(bytes));
    assert.ok(Buffer.from(await session.read({ offset: 777, length: 1000 })).equals(bytes.subarray(777, 1777)));
  });

  test('comes in again as the same image', async () => {
    const bytes = new Prng(2).bytes(MiB);
    await using house = await houseWith(bytes);
    const { services } = house;
    using session = await services.exports.openExport('vm1', qcow2);
    const file = await gather(session.chunks({ offset: 0, length: session.length }));
    await services.imports.importImage(newImport({ name: 'vm2', source: qcow2Source }), bodyIn(file, 60_000));
    assert.ok((await readAll(services, 'vm2')).equals(bytes));
    assert.equal((await services.images.check('vm2', { repair: 'none' })).clean, true);
  });

  test('ends when the live image changes', async () => {
    await using house = await houseWith(new Prng(3).bytes(MiB));
    using session = await house.services.exports.openExport('vm1', raw);
    await session.read({ offset: 0, length: 512 });
    await writeAt(house.services, 'vm1', 0, Buffer.from('changed'));
    await assert.rejects(session.read({ offset: 0, length: 512 }), faultOf('export-stale'));
  });

  test('of a snapshot does not care what happens to the live image', async () => {
    const bytes = new Prng(4).bytes(MiB);
    await using house = await houseWith(bytes);
    const { services } = house;
    const { id } = await services.snapshots.create('vm1', { name: 's1' });
    using session = await services.exports.openExport('vm1', { ...raw, snapshot: 's1' });
    assert.equal(session.snapshotId, id);
    await writeAt(services, 'vm1', 0, new Uint8Array(MiB));
    assert.ok((await gather(session.chunks({ offset: 0, length: MiB }))).equals(bytes));
  });

  test('goes on when the image becomes a base, or is opened for writing, beneath it', async () => {
    const bytes = new Prng(5).bytes(MiB);
    await using house = await houseWith(bytes);
    const { services } = house;
    using session = await services.exports.openExport('vm1', raw);
    await session.read({ offset: 0, length: 512 });
    await services.images.create(newImage({ name: 'top', backing: 'vm1' }));
    const [one, other] = await Promise.all([
      session.read({ offset: 0, length: 512 }),
      session.read({ offset: 512, length: 512 }),
    ]);
    assert.ok(Buffer.concat([one, other]).equals(bytes.subarray(0, 1024)));
    await services.images.delete('top');
    using writer = await services.content.openWrite('vm1', { signal: undefined });
    assert.equal(writer.size, MiB);
    assert.ok(Buffer.from(await session.read({ offset: 1024, length: 512 })).equals(bytes.subarray(1024, 1536)));
  });

  test('that is compressed needs the image only until it is made', async () => {
    const bytes = new Uint8Array(2 * MiB).fill(7);
    await using house = await houseWith(bytes);
    const { services } = house;
    await services.snapshots.create('vm1', { name: 's1' });
    await writeAt(services, 'vm1', 0, Buffer.from('changed'));
    const { generation } = await services.images.show('vm1');
    using live = await services.exports.openExport('vm1', packed);
    using then = await services.exports.openExport('vm1', { ...packed, snapshot: 's1' });
    assert.deepEqual([live.generation, live.snapshotId, then.snapshotId], [generation, undefined, '1']);
    assert.ok(live.length < MiB);
    await services.images.delete('vm1');
    assert.deepEqual(await house.directory.list('staging'), []);
    for (const [index, session] of [live, then].entries()) {
      const file = await gather(session.chunks({ offset: 0, length: session.length }));
      const name = `out${String(index)}`;
      await services.imports.importImage(newImport({ name, source: qcow2Source }), bodyIn(file, 60_000));
      const expected = Buffer.from(bytes);
      if (session === live) expected.set(Buffer.from('changed'));
      assert.ok((await readAll(services, name)).equals(expected));
    }
    live.close();
    assert.deepEqual(house.failures, []);
  });

  test('that is compressed leaves nothing when nobody wants it any more', async () => {
    await using house = await houseWith(new Prng(7).bytes(8 * MiB));
    const abort = new AbortController();
    const made = house.services.exports.openExport('vm1', { ...packed, signal: abort.signal });
    setImmediate(() => abort.abort(new Error('not wanted')));
    await assert.rejects(made, /not wanted/);
    assert.deepEqual(await house.directory.list('staging'), []);
    await house.services.images.delete('vm1');
  });

  test('lets go of the image when it is closed, once', async () => {
    await using house = await houseWith(new Prng(6).bytes(MiB));
    const session = await house.services.exports.openExport('vm1', raw);
    session.close();
    session.close();
    await house.services.images.delete('vm1');
    assert.deepEqual(house.failures, []);
  });
});
