import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { generationsReserved } from '../../src/catalog/catalog.ts';
import { Prng } from '../support/prng.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import {
  bodyIn,
  newImage,
  newImport,
  openHouse,
  plainWrite,
  qcow2Source,
  rawSource,
  readAll,
  writeAt,
} from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

/** The file of an image that another service has made and closed. */
async function fileOf(make: (house: ServiceHouse) => Promise<string>): Promise<Buffer> {
  using folder = tempFolder();
  const house = await openHouse({ engine, path: folder.path });
  const id = await make(house);
  await house[Symbol.asyncDispose]();
  return readFileSync(house.directory.imagePath(id));
}

async function overlayFile(): Promise<Buffer> {
  return fileOf(async ({ services }) => {
    await services.images.create(newImage({ name: 'base' }));
    const { id } = await services.images.create(newImage({ name: 'top', backing: 'base' }));
    await writeAt(services, 'top', 0, Buffer.from('on top'));
    return id;
  });
}

describe('the gate of imports', () => {
  test('refuses a backing name, unless it stands for an image of this service', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    const file = await overlayFile();
    await assert.rejects(
      services.imports.importImage(newImport({ name: 'top', source: qcow2Source }), bodyIn(file, 10_000)),
      (error: unknown) => {
        assert.ok(error instanceof Fault);
        assert.equal(error.code, 'unsafe-image');
        assert.match(JSON.stringify(error.context['violations']), /backing-refused/);
        return true;
      },
    );
    assert.deepEqual(house.files('staging'), []);

    const base = await services.images.create(newImage({ name: 'another base' }));
    await writeAt(services, base.id, 100 * KiB, Buffer.from('below'));
    const source = { ...qcow2Source, backing: base.id };
    const top = await services.imports.importImage(newImport({ name: 'top', source }), bodyIn(file, 10_000));
    assert.equal(top.backing?.id, base.id);
    const read = await readAll(services, 'top');
    assert.equal(read.toString('latin1', 0, 6), 'on top');
    assert.equal(read.toString('latin1', 100 * KiB, 100 * KiB + 5), 'below');
    await assert.rejects(services.images.delete(base.id), faultOf('image-has-dependents'));
  });

  test('refuses a corrupt image with its report, and takes it once everything may be mended', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    const file = await fileOf(async (other) => {
      const { id } = await other.services.images.create(newImage({ name: 'vm1' }));
      await writeAt(other.services, 'vm1', 0, new Prng(1).bytes(256 * KiB));
      return id;
    });
    // The refcount block is the cluster after the refcount table: all references are lost.
    file.fill(0, 2 * 64 * KiB, 3 * 64 * KiB);
    const importing = (repair: 'leaks' | 'all'): Promise<unknown> =>
      services.imports.importImage(
        newImport({ name: 'vm1', source: { ...qcow2Source, repair } }),
        bodyIn(file, 50_000),
      );
    await assert.rejects(importing('leaks'), (error: unknown) => {
      assert.ok(error instanceof Fault);
      assert.equal(error.code, 'unsafe-image');
      assert.match(JSON.stringify(error.context), /"corruptions":[1-9]/);
      return true;
    });
    assert.equal(await house.catalog.findImage('vm1'), undefined);
    await importing('all');
    assert.ok((await readAll(services, 'vm1')).subarray(0, 256 * KiB).equals(new Prng(1).bytes(256 * KiB)));
    assert.equal((await services.images.check('vm1', { repair: 'none' })).clean, true);
  });
});

test('a raw import leaves zero clusters out', async () => {
  await using house = await openHouse({ engine });
  const { services } = house;
  const bytes = Buffer.alloc(4 * MiB);
  bytes.fill(1, MiB, MiB + 64 * KiB);
  bytes.fill(2, 3 * MiB + 5, 3 * MiB + 6);
  const image = await services.imports.importImage(
    newImport({ name: 'vm1', source: rawSource, bodyLength: bytes.length }),
    bodyIn(bytes, 65_536),
  );
  assert.ok((await readAll(services, 'vm1')).equals(bytes));
  const whole = {
    snapshot: undefined,
    offset: 0,
    length: undefined,
    limit: 100,
    layer: 'all',
    hostOffsets: false,
  } as const;
  const { items } = await services.content.extents('vm1', whole);
  assert.deepEqual(
    items.map(({ offset, length, kind }) => [offset, length, kind]),
    [
      [0, MiB, 'hole'],
      [MiB, 64 * KiB, 'data'],
      [MiB + 64 * KiB, 2 * MiB - 64 * KiB, 'hole'],
      [3 * MiB, 64 * KiB, 'data'],
      [3 * MiB + 64 * KiB, MiB - 64 * KiB, 'hole'],
    ],
  );
  assert.ok((image.facts?.fileSize ?? MiB) < MiB, 'the file holds what is not zero');
});

test('an image whose tables somebody broke lets a check in, which tells so', async () => {
  using folder = tempFolder();
  const house = await openHouse({ engine, path: folder.path });
  const { id } = await house.services.images.create(newImage({ name: 'vm1' }));
  await house[Symbol.asyncDispose]();
  const path = house.directory.imagePath(id);
  const file = readFileSync(path);
  // One snapshot (header byte 60), whose table (byte 64) does not start a cluster.
  file.writeUInt32BE(1, 60);
  file.writeBigUInt64BE(8n, 64);
  writeFileSync(path, file);

  await using after = await openHouse({ engine, path: folder.path });
  const { images } = after.services;
  const report = await images.check('vm1', { repair: 'none' });
  assert.equal(report.clean, false);
  assert.ok(report.corruptions + report.checkErrors > 0);
  assert.equal((await images.show('vm1')).facts?.corrupt, true);
  await assert.rejects(readAll(after.services, 'vm1'), faultOf('snapshot-table-invalid'));
  await images.delete('vm1');
});

test('a killed process leaves what was flushed, another generation, and a sound image', async () => {
  using first = tempFolder();
  using second = tempFolder();
  await using house = await openHouse({ engine, path: first.path });
  const { services } = house;
  const { id } = await services.images.create(newImage({ name: 'vm1' }));
  await writeAt(services, 'vm1', 0, Buffer.from('flushed'));
  using writer = await services.content.openWrite('vm1', { signal: undefined });
  const unflushed = { ...plainWrite, flush: false };
  const span = { offset: 512 * KiB, length: 100_000 };
  const receipt = await writer.write(span, bodyIn(new Prng(2).bytes(100_000), 10_000), unflushed);
  // The files as they are now, while everything is open.
  cpSync(first.path, second.path, { recursive: true });

  await using after = await openHouse({ engine, path: second.path });
  const read = await readAll(after.services, 'vm1');
  assert.equal(read.toString('latin1', 0, 7), 'flushed');
  assert.equal((await after.services.images.check('vm1', { repair: 'leaks' })).clean, true);
  const { generation } = await after.services.images.show('vm1');
  assert.ok(generation > receipt.generation + generationsReserved / 2, 'no generation comes again');
  await assert.rejects(after.services.content.flush('vm1', { writeEpoch: receipt.writeEpoch }), faultOf('writes-lost'));
  assert.equal((await after.catalog.findImage(id))?.state, 'ready');
});
