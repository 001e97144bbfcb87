import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { generationsReserved } from '../../src/catalog/catalog.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import { brakedEngine } from '../support/braked-service.ts';
import type { Brake } from '../support/braked-service.ts';
import { journalOf, markDirty, memoryEngine, traps } from '../support/memory-image.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, plainWrite, readAll, writeAt } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const engine = memoryEngine;
const live = { snapshot: undefined, signal: undefined };

async function houseWithImage(options: { readonly imageIdleMs?: number; readonly path?: string }): Promise<{
  readonly house: ServiceHouse;
  readonly id: string;
  readonly path: string;
}> {
  const house = await openHouse({ engine, ...options });
  const { id } = await house.services.images.create(newImage({ name: 'vm1' }));
  return { house, id, path: house.directory.imagePath(id) };
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function isSettled(catalog: Catalog, id: string): Promise<boolean> {
  return (await catalog.findImage(id))?.settled === true;
}

describe('an image that is in use', () => {
  test('is opened once for many readers, and for reading only', async () => {
    const { house, path } = await houseWithImage({});
    await using _ = house;
    const { content } = house.services;
    const sessions = await Promise.all(Array.from({ length: 20 }, () => content.openRead('vm1', live)));
    await Promise.all(sessions.map((session) => session.read({ offset: 0, length: 512 })));
    for (const session of sessions) session.close();
    assert.deepEqual(journalOf(path), ['open']);
  });

  test('is opened for writing beneath its readers, who keep their generation', async () => {
    const { house, path } = await houseWithImage({});
    await using _ = house;
    const { content } = house.services;
    using reader = await content.openRead('vm1', live);
    using writer = await content.openWrite('vm1', { signal: undefined });
    assert.equal(writer.generation, reader.generation);
    await writer.write({ offset: 0, length: 3 }, bodyIn(Buffer.from('abc'), 3), plainWrite);
    assert.equal(Buffer.from((await reader.read({ offset: 0, length: 3 })).bytes).toString(), 'abc');
    assert.deepEqual(journalOf(path), ['open', 'close', 'open-writable', 'write', 'flush']);
  });

  test('comes to no harm when whoever opens it leaves meanwhile', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const leaving = new AbortController();
    const opening = house.services.content.openWrite('vm1', { signal: leaving.signal }).then(
      (session) => session.close(),
      () => undefined,
    );
    while (await isSettled(house.catalog, id)) await new Promise((resolve) => setImmediate(resolve));
    leaving.abort();
    await opening;
    await writeAt(house.services, 'vm1', 0, Buffer.from('abc'));
    assert.equal((await readAll(house.services, 'vm1')).subarray(0, 3).toString(), 'abc');
  });

  test('asks the catalog nothing while it is open', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const { services } = house;
    await writeAt(services, 'vm1', 0, Buffer.from('open'));
    await house.catalog.close();
    for (const image of [id, 'vm1']) {
      await writeAt(services, image, 0, Buffer.from('still open'));
      assert.equal((await readAll(services, image)).toString('latin1', 0, 10), 'still open');
    }
    await assert.rejects(services.images.show('vm1'), TypeError);
  });

  test('closes when nobody has used it for a while, and its row tells how it was left', async () => {
    const { house, id, path } = await houseWithImage({ imageIdleMs: 30 });
    await using _ = house;
    const { services, catalog, directory } = house;
    await writeAt(services, 'vm1', 0, Buffer.from('settle'));
    const { generation } = await services.images.show('vm1');
    assert.equal(await isSettled(catalog, id), false);
    await until(() => isSettled(catalog, id));
    const record = await catalog.findImage(id);
    assert.equal(record?.generation, generation);
    assert.equal(record.identity, await directory.identify(id));
    assert.equal(journalOf(path).at(-1), 'close');
    assert.deepEqual(house.failures, []);
    assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 6), 'settle');
    using session = await services.content.openRead('vm1', live);
    assert.equal(session.generation, generation);
  });

  test('stays open while somebody is in', async () => {
    const { house, path } = await houseWithImage({ imageIdleMs: 10 });
    await using _ = house;
    using session = await house.services.content.openRead('vm1', live);
    await new Promise((resolve) => setTimeout(resolve, 60));
    await session.read({ offset: 0, length: 512 });
    assert.deepEqual(journalOf(path), ['open']);
  });

  test('makes room for another one when nobody uses it', async () => {
    await using house = await openHouse({ engine, limits: { openImagesMax: 2 } });
    const { services } = house;
    for (const name of ['a', 'b', 'c', 'd']) await services.images.create(newImage({ name }));
    for (const name of ['a', 'b', 'c', 'd', 'a']) await writeAt(services, name, 0, Buffer.from(name));
    assert.equal((await readAll(services, 'd')).toString('latin1', 0, 1), 'd');
    using _a = await services.content.openRead('a', live);
    using _b = await services.content.openRead('b', live);
    await assert.rejects(services.content.openRead('c', live), faultOf('engine-busy'));
  });
});

describe('a generation', () => {
  test('goes on where it was after a clean end', async () => {
    using folder = tempFolder();
    let generation = 0;
    {
      const { house } = await houseWithImage({ path: folder.path });
      await using _ = house;
      await writeAt(house.services, 'vm1', 0, Buffer.from('x'));
      ({ generation } = await house.services.images.show('vm1'));
    }
    await using house = await openHouse({ engine, path: folder.path });
    assert.equal((await house.services.images.show('vm1')).generation, generation);
    using session = await house.services.content.openRead('vm1', live);
    assert.equal(session.generation, generation);
  });

  test('jumps over all that a crash may have used', async () => {
    using folder = tempFolder();
    const { house, id } = await houseWithImage({ path: folder.path });
    await house.services.stop();
    // As a crash leaves the row: open for changes, nobody knows how far.
    const start = await house.catalog.reserveGenerations(id, { jump: false });
    await house.pool.close();
    await house.catalog.close();
    await using after = await openHouse({ engine, path: folder.path });
    using session = await after.services.content.openRead('vm1', live);
    assert.ok(session.generation > start + generationsReserved - 1, 'no generation comes again');
  });

  test('jumps when somebody else has changed the file, whose facts are read again', async () => {
    using folder = tempFolder();
    const { house, path } = await houseWithImage({ path: folder.path });
    await house[Symbol.asyncDispose]();
    markDirty(path);
    utimesSync(path, 1, 1);
    await using after = await openHouse({ engine, path: folder.path });
    const before = await after.services.images.show('vm1');
    assert.equal(before.facts?.dirty, false);
    using session = await after.services.content.openRead('vm1', live);
    assert.ok(session.generation > before.generation, 'the bytes may be others');
    assert.equal((await after.services.images.show('vm1')).facts?.dirty, true);
  });
});

describe('a structural operation that was under way at a crash', () => {
  test('is repaired before anybody gets in, by the first who comes', async () => {
    const { house, id, path } = await houseWithImage({});
    await using _ = house;
    await house.catalog.markStructural(id, 'snapshot-create');
    const sessions = await Promise.all([1, 2, 3].map(() => house.services.content.openRead('vm1', live)));
    assert.deepEqual(journalOf(path), ['open-writable', 'flush']);
    assert.equal((await house.catalog.findImage(id))?.structural, undefined);
    for (const session of sessions) session.close();
  });

  test('is marked while it runs, and no longer', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const { snapshots } = house.services;
    await house.services.content.flush('vm1', { writeEpoch: undefined });
    const made = snapshots.create('vm1', { name: 's1' });
    await until(async () => (await house.catalog.findImage(id))?.structural === 'snapshot-create');
    await made;
    assert.equal((await house.catalog.findImage(id))?.structural, undefined);
  });

  test('stays marked when the disk fails in the middle, and is repaired at the next opening', async () => {
    await using house = await openHouse({ engine: failingOnce('createSnapshot', new Fault('io-error', {})) });
    const { services, catalog } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    const path = house.directory.imagePath(id);
    await writeAt(services, 'vm1', 0, Buffer.from('kept'));
    await assert.rejects(services.snapshots.create('vm1', { name: 's1' }), faultOf('io-error'));
    assert.equal((await catalog.findImage(id))?.structural, 'snapshot-create');
    assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 4), 'kept');
    assert.equal((await catalog.findImage(id))?.structural, undefined);
    assert.deepEqual(journalOf(path), ['open-writable', 'write', 'flush', 'close', 'open-writable', 'flush']);
  });

  test('is not marked any more when it was refused', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const options = { virtualSize: 512, allowShrink: false, preallocation: 'off' } as const;
    await assert.rejects(house.services.images.resize('vm1', options), faultOf('shrink-not-allowed'));
    assert.equal((await house.catalog.findImage(id))?.structural, undefined);
  });
});

describe('an image that breaks', () => {
  test('fails with the reason, and lets nobody in any more', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const { services } = house;
    using reader = await services.content.openRead('vm1', live);
    await assert.rejects(services.snapshots.create('vm1', { name: traps.bug }), faultOf('image-failed'));
    await until(async () => (await house.catalog.findImage(id))?.state === 'failed');
    assert.match((await services.images.show('vm1')).stateReason ?? '', /trap/);
    const refused = faultOf('image-not-ready', { state: 'failed' });
    await assert.rejects(services.content.openRead('vm1', live), refused);
    await assert.rejects(reader.read({ offset: 0, length: 1 }), refused);
    assert.equal((await house.catalog.findImage(id))?.structural, 'snapshot-create');
    reader.close();
    await services.images.delete('vm1');
  });

  test('has another write epoch when it could not be closed, and what was flushed is there', async () => {
    const { house, id } = await houseWithImage({ imageIdleMs: 20 });
    await using _ = house;
    const { services } = house;
    await writeAt(services, 'vm1', 0, Buffer.from('flushed'));
    const { writeEpoch } = await services.content.flush('vm1', { writeEpoch: undefined });
    await services.snapshots.create('vm1', { name: traps.close });
    await until(() => house.failures.some(({ doing, imageId }) => doing.startsWith('closing') && imageId === id));
    assert.equal((await house.catalog.findImage(id))?.settled, false);
    await assert.rejects(services.content.flush('vm1', { writeEpoch }), faultOf('writes-lost'));
    assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 7), 'flushed');
  });
});

describe('a disk that fails a change', () => {
  test('leaves doubts: another write epoch, and a repair before anybody gets in again', async () => {
    await using house = await openHouse({ engine: failingOnce('flush', new Fault('io-error', {})) });
    const { services, catalog } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    using session = await services.content.openWrite('vm1', { signal: undefined });
    const span = { offset: 0, length: 3 };
    const unflushed = { ...plainWrite, flush: false };
    const { writeEpoch } = await session.write(span, bodyIn(Buffer.from('abc'), 3), unflushed);
    await assert.rejects(services.content.flush('vm1', { writeEpoch }), faultOf('io-error'));
    await assert.rejects(services.content.flush('vm1', { writeEpoch }), faultOf('writes-lost'));
    assert.deepEqual(journalOf(house.directory.imagePath(id)).slice(0, 4), [
      'open-writable',
      'write',
      'close',
      'open-writable',
    ]);
    assert.equal((await catalog.findImage(id))?.structural, undefined);
    await writeAt(services, 'vm1', 0, Buffer.from('again'));
    assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 5), 'again');
  });

  test('leaves doubts also when it does so while the image closes', async () => {
    const faulty = failingOnce('flush', new Fault('io-error', {}));
    await using house = await openHouse({ engine: faulty, imageIdleMs: 20 });
    const { services } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    let writeEpoch: string;
    {
      using session = await services.content.openWrite('vm1', { signal: undefined });
      const body = bodyIn(Buffer.from('abc'), 3);
      ({ writeEpoch } = await session.write({ offset: 0, length: 3 }, body, { ...plainWrite, flush: false }));
    }
    await until(() => house.failures.some(({ doing, imageId }) => doing.startsWith('closing') && imageId === id));
    await assert.rejects(services.content.flush('vm1', { writeEpoch }), faultOf('writes-lost'));
    const [, , ...after] = journalOf(house.directory.imagePath(id));
    assert.equal(after.includes('open-writable'), true, 'it is repaired before anybody gets in again');
    await writeAt(services, 'vm1', 0, Buffer.from('again'));
  });

  test('does not doubt what was only read', async () => {
    await using house = await openHouse({ engine: failingOnce('read', new Fault('io-error', {})) });
    const { services } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    const { writeEpoch } = await services.content.flush('vm1', { writeEpoch: undefined });
    await assert.rejects(readAll(services, 'vm1'), faultOf('io-error'));
    await services.content.flush('vm1', { writeEpoch });
    assert.deepEqual(journalOf(house.directory.imagePath(id)), ['open']);
  });
});

describe('the end', () => {
  test('closes every image, settles its row, and lets nobody in', async () => {
    using folder = tempFolder();
    const { house, id, path } = await houseWithImage({ path: folder.path });
    const { services } = house;
    await writeAt(services, 'vm1', 0, Buffer.from('last words'));
    using reader = await services.content.openRead('vm1', live);
    await services.stop();
    assert.equal(journalOf(path).at(-1), 'close');
    assert.equal(await isSettled(house.catalog, id), true);
    await assert.rejects(services.content.openRead('vm1', live), faultOf('draining'));
    await assert.rejects(reader.read({ offset: 0, length: 1 }), faultOf('draining'));
    await assert.rejects(services.images.create(newImage({ name: 'vm2' })), faultOf('draining'));
    await house.pool.close();
    await house.catalog.close();
  });

  test('cuts a run, also while a writer waits for it', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { services } = house;
    await services.images.create(newImage({ name: 'vm1' }));
    brake.held = true;
    const check = services.images.check('vm1', { repair: 'none' });
    while (house.pool.figures().queuedRequests === 0) await new Promise((resolve) => setImmediate(resolve));
    const writer = writeAt(services, 'vm1', 0, Buffer.from('late'));
    const cut = Promise.all([assert.rejects(check, faultOf('draining')), Promise.allSettled([writer])]);
    while (house.pool.figures().queuedRequests < 2) await new Promise((resolve) => setImmediate(resolve));
    await services.stop();
    await cut;
    const [end] = await Promise.allSettled([writer]);
    // Without the cut it would have lost patience.
    if (end.status === 'rejected') assert.ok(faultOf('draining')(end.reason));
  });

  test('fails when an image cannot be closed, reports it, and closes the others', async () => {
    const { house, id } = await houseWithImage({});
    await using _ = house;
    const other = await house.services.images.create(newImage({ name: 'other' }));
    await writeAt(house.services, 'other', 0, Buffer.from('x'));
    await house.services.snapshots.create('vm1', { name: traps.close });
    await assert.rejects(house.services.stop(), Fault);
    assert.deepEqual(
      house.failures.map(({ doing, imageId }) => [doing, imageId]),
      [['closing an image at the end', id]],
    );
    const { error } = house.failures[0] ?? {};
    assert.ok(error instanceof Fault);
    assert.equal(await isSettled(house.catalog, other.id), true);
  });
});

/** The engine, whose images fail once in one verb. */
function failingOnce(verb: 'createSnapshot' | 'flush' | 'read', fault: Fault): Engine {
  let left = 1;
  return {
    ...engine,
    open: (options) => {
      const image = engine.open(options);
      const verbs: EngineImage = new Proxy(image, {
        get: (target, name) => {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== 'function') return value;
          if (name !== verb || left === 0) return value.bind(target) as unknown;
          return () => {
            left -= 1;
            throw fault;
          };
        },
      });
      return verbs;
    },
  };
}
