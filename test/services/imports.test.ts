import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { withoutZeroes } from '../../src/services/raw-import.ts';
import { Prng } from '../support/prng.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import {
  bodyIn,
  brokenBody,
  newImage,
  newImport,
  openHouse,
  qcow2Source,
  rawSource,
  readAll,
  writeAt,
} from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = houseEngine;

async function assertNothingLeft(house: ServiceHouse, name: string): Promise<void> {
  assert.deepEqual(house.files('staging'), []);
  assert.deepEqual(house.files('images'), []);
  assert.equal(await house.catalog.findImage(name), undefined);
  assert.deepEqual(house.failures, []);
}

/** A file of the engine's own form, made by another service. */
async function someImageFile(): Promise<Buffer> {
  using folder = tempFolder();
  const house = await openHouse({ engine, path: folder.path });
  const { id } = await house.services.images.create(newImage({ name: 'source' }));
  await writeAt(house.services, 'source', 4096, Buffer.from('made elsewhere'));
  await house.services.snapshots.create('source', { name: 's1' });
  await house[Symbol.asyncDispose]();
  return readFileSync(house.directory.imagePath(id));
}

function sha256Of(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer');
}

describe('a raw import', () => {
  test('makes an image of the bytes, rounded up to whole sectors', async () => {
    await using house = await openHouse({ engine });
    const bytes = new Prng(1).bytes(3 * MiB + 700);
    const image = await house.services.imports.importImage(
      newImport({ name: 'vm1', source: rawSource, bodyLength: bytes.length, labels: { from: 'raw' } }),
      bodyIn(bytes, 70_000),
    );
    assert.equal(image.state, 'ready');
    assert.deepEqual(image.labels, { from: 'raw' });
    assert.equal(image.facts?.virtualSize, 3 * MiB + 1024);
    const read = await readAll(house.services, 'vm1');
    assert.ok(read.subarray(0, bytes.length).equals(bytes), 'the bytes are there');
    assert.ok(read.subarray(bytes.length).every((byte) => byte === 0));
    assert.deepEqual(house.files('staging'), []);
    assert.deepEqual(house.files('images'), [`${image.id}.qcow2`]);
    assert.equal((await house.services.images.check('vm1', { repair: 'none' })).clean, true);
  });

  test('of a body whose length nobody says is as large as what comes', async () => {
    await using house = await openHouse({ engine });
    for (const length of [0, 100, 2 * MiB + 5]) {
      const bytes = new Prng(2).bytes(length);
      const name = `vm-${length}`;
      const image = await house.services.imports.importImage(
        newImport({ name, source: rawSource }),
        bodyIn(bytes, MiB),
      );
      assert.equal(image.facts?.virtualSize, Math.ceil(length / 512) * 512);
      assert.ok((await readAll(house.services, name)).subarray(0, length).equals(bytes));
      assert.equal((await house.services.images.check(name, { repair: 'none' })).clean, true);
    }
  });

  test('verifies the digest', async () => {
    await using house = await openHouse({ engine });
    const bytes = new Prng(3).bytes(MiB);
    const wrong = { name: 'vm1', source: rawSource, sha256: sha256Of(Buffer.from('x')), bodyLength: MiB };
    await assert.rejects(
      house.services.imports.importImage(newImport(wrong), bodyIn(bytes, 5000)),
      faultOf('digest-mismatch'),
    );
    await assertNothingLeft(house, 'vm1');
    await house.services.imports.importImage(newImport({ ...wrong, sha256: sha256Of(bytes) }), bodyIn(bytes, 5000));
  });

  test('leaves nothing of a body that ends early, breaks off, or is not wanted any more', async () => {
    await using house = await openHouse({ engine });
    const { imports } = house.services;
    const bytes = new Prng(4).bytes(MiB);
    const short = newImport({ name: 'vm1', source: rawSource, bodyLength: MiB + 1 });
    await assert.rejects(
      imports.importImage(short, bodyIn(bytes, 5000)),
      faultOf('content-range-mismatch', { expected: MiB + 1, received: MiB }),
    );
    await assertNothingLeft(house, 'vm1');

    const reset = new Error('ECONNRESET');
    await assert.rejects(imports.importImage(short, brokenBody(bytes, reset)), reset);
    await assertNothingLeft(house, 'vm1');

    const wanted = new AbortController();
    async function* left(): AsyncGenerator<Uint8Array> {
      yield bytes;
      wanted.abort(reset);
      yield bytes;
    }
    const aborted = newImport({ name: 'vm1', source: rawSource, bodyLength: 2 * MiB, signal: wanted.signal });
    await assert.rejects(imports.importImage(aborted, left()), reset);
    await assertNothingLeft(house, 'vm1');
  });

  test('refuses what create refuses, and preallocation without a length, before it takes a byte', async () => {
    await using house = await openHouse({ engine });
    const { imports } = house.services;
    const preallocated = { ...rawSource, create: { ...rawSource.create, preallocation: 'full' as const } };
    await assert.rejects(
      imports.importImage(newImport({ name: 'vm1', source: preallocated }), untouchable()),
      faultOf('unsupported-option', { option: 'preallocation' }),
    );
    const odd = { ...rawSource, create: { ...rawSource.create, clusterSize: 1000 } };
    await assert.rejects(
      imports.importImage(newImport({ name: 'vm1', source: odd, bodyLength: MiB }), untouchable()),
      faultOf('invalid-geometry'),
    );
    await assertNothingLeft(house, 'vm1');
  });
});

describe('zero clusters', () => {
  const lengthsOf = (bytes: Uint8Array, unit: number): readonly [number, number][] =>
    [...withoutZeroes({ offset: 1000, bytes }, unit)].map(({ offset, bytes: { length } }) => [offset, length]);

  test('are left out, whole ones only', () => {
    const bytes = new Uint8Array(10 * 512).fill(1);
    assert.deepEqual(lengthsOf(bytes, 512), [[1000, 5120]]);
    bytes.fill(0, 512, 3 * 512);
    bytes.fill(0, 5 * 512 + 1, 6 * 512);
    assert.deepEqual(lengthsOf(bytes, 512), [
      [1000, 512],
      [1000 + 3 * 512, 7 * 512],
    ]);
    bytes.fill(0, 9 * 512);
    assert.deepEqual(lengthsOf(bytes, 512), [
      [1000, 512],
      [1000 + 3 * 512, 6 * 512],
    ]);
    assert.deepEqual(lengthsOf(new Uint8Array(5120), 512), []);
    assert.deepEqual(lengthsOf(new Uint8Array(100), 512), []);
    assert.deepEqual(lengthsOf(new Uint8Array(300 * KiB), 300 * KiB), []);
    const last = new Uint8Array(300 * KiB);
    last[last.length - 1] = 1;
    assert.deepEqual(lengthsOf(last, 300 * KiB), [[1000, 300 * KiB]]);
  });
});

describe('a qcow2 import', () => {
  test('keeps the bytes as they are sent', async () => {
    await using house = await openHouse({ engine });
    const file = await someImageFile();
    const image = await house.services.imports.importImage(
      newImport({ name: 'vm1', source: qcow2Source, bodyLength: file.length, sha256: sha256Of(file) }),
      bodyIn(file, 50_000),
    );
    assert.equal(image.facts?.virtualSize, MiB);
    assert.equal(image.facts.snapshotCount, 1);
    assert.ok(readFileSync(house.directory.imagePath(image.id)).equals(file), 'the file is the same');
    assert.equal((await readAll(house.services, 'vm1')).toString('latin1', 4096, 4110), 'made elsewhere');
    assert.equal((await house.services.snapshots.create('vm1', { name: 's2' })).id, '2');
  });

  test('refuses a taken name before it takes a byte', async () => {
    await using house = await openHouse({ engine });
    await house.services.images.create(newImage({ name: 'vm1' }));
    for (const source of [qcow2Source, rawSource]) {
      await assert.rejects(
        house.services.imports.importImage(newImport({ name: 'vm1', source }), untouchable()),
        faultOf('name-conflict'),
      );
    }
    await assert.rejects(
      house.services.imports.importImage(
        newImport({ name: 'vm2', source: { ...qcow2Source, backing: 'nobody' } }),
        untouchable(),
      ),
      faultOf('image-not-found', { image: 'nobody' }),
    );
  });

  test('refuses what cannot fit before it takes a byte', async () => {
    await using house = await openHouse({ engine });
    const bodyLength = 2 ** 52;
    await assert.rejects(
      house.services.imports.importImage(newImport({ name: 'vm1', source: qcow2Source, bodyLength }), untouchable()),
      faultOf('insufficient-storage', { required: bodyLength }),
    );
    await assertNothingLeft(house, 'vm1');
  });

  test('refuses a file that is none after its first 64 KiB', async () => {
    await using house = await openHouse({ engine });
    let taken = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; taken < 100 * MiB; taken += 16 * KiB) yield new Uint8Array(16 * KiB).fill(1);
    }
    const options = newImport({ name: 'vm1', source: qcow2Source });
    await assert.rejects(house.services.imports.importImage(options, endless()), faultOf('unsafe-image'));
    assert.ok(taken < 64 * KiB, `the rest is not taken: ${taken}`);
    await assertNothingLeft(house, 'vm1');
    await assert.rejects(
      house.services.imports.importImage(options, bodyIn(Buffer.from('short'), 2)),
      faultOf('unsafe-image'),
    );
    await assertNothingLeft(house, 'vm1');
  });

  test('leaves nothing of a body that ends early, breaks off, or is another one', async () => {
    await using house = await openHouse({ engine });
    const { imports } = house.services;
    const file = await someImageFile();
    const options = { name: 'vm1', source: qcow2Source };
    await assert.rejects(
      imports.importImage(newImport({ ...options, bodyLength: file.length + 1 }), bodyIn(file, 9999)),
      faultOf('content-range-mismatch', { received: file.length }),
    );
    await assertNothingLeft(house, 'vm1');
    await assert.rejects(
      imports.importImage(newImport({ ...options, sha256: sha256Of(Buffer.from('x')) }), bodyIn(file, 9999)),
      faultOf('digest-mismatch'),
    );
    await assertNothingLeft(house, 'vm1');
    const timeout = new Fault('request-timeout', {});
    await assert.rejects(
      imports.importImage(newImport(options), brokenBody(file, timeout)),
      faultOf('request-timeout'),
    );
    await assertNothingLeft(house, 'vm1');
  });

  test('is undone when the service stops', async () => {
    using folder = tempFolder();
    const house = await openHouse({ engine, path: folder.path });
    const file = await someImageFile();
    const started = Promise.withResolvers<undefined>();
    const goOn = Promise.withResolvers<undefined>();
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield file.subarray(0, 70_000);
      started.resolve(undefined);
      await goOn.promise;
      yield file.subarray(70_000);
    }
    const importing = house.services.imports.importImage(newImport({ name: 'vm1', source: qcow2Source }), slow());
    const refused = assert.rejects(importing, faultOf('draining'));
    await started.promise;
    const stopped = house.services.stop();
    goOn.resolve(undefined);
    await refused;
    await stopped;
    await assertNothingLeft(house, 'vm1');
    await house[Symbol.asyncDispose]();
  });
});

/** A body of which nothing may be taken. */
async function* untouchable(): AsyncGenerator<Uint8Array> {
  assert.fail('the body is not touched');
  yield new Uint8Array(0);
}
