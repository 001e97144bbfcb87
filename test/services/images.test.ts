import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { describe, test } from 'node:test';

import { MiB, TiB } from '../../src/base/units.ts';
import { faultOf } from '../support/service-faults.ts';
import { houseEngine } from '../support/service-engine.ts';
import { newImage, openHouse, plainWrite, readAll, writeAt } from '../support/service-house.ts';

const engine = houseEngine;

describe('create', () => {
  test('makes an image that is found by id and by name, and whose file is in its place', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    const made = await images.create(newImage({ name: 'vm1', description: 'a disk', labels: { os: 'debian' } }));
    assert.equal(made.state, 'ready');
    assert.equal(made.facts?.virtualSize, MiB);
    assert.deepEqual(await images.show('vm1'), made);
    assert.deepEqual(await images.show(made.id), made);
    assert.deepEqual(house.files('images'), [`${made.id}.qcow2`]);
    assert.deepEqual(house.files('staging'), []);
  });

  test('rounds the size up to whole sectors', async () => {
    await using house = await openHouse({ engine });
    const made = await house.services.images.create(newImage({ name: 'vm1', virtualSize: 1000 }));
    assert.equal(made.facts?.virtualSize, 1024);
  });

  test('refuses a name that is taken and leaves nothing', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    const first = await images.create(newImage({ name: 'vm1' }));
    await assert.rejects(images.create(newImage({ name: 'vm1' })), faultOf('name-conflict', { imageId: first.id }));
    assert.deepEqual(house.files('images'), [`${first.id}.qcow2`]);
  });

  test('refuses sizes that do not go together and frees the name', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    await assert.rejects(images.create(newImage({ name: 'vm1', clusterSize: 1000 })), faultOf('invalid-geometry'));
    await assert.rejects(
      images.create(newImage({ name: 'vm1', compat: '0.10', refcountBits: 1 })),
      faultOf('unsupported-option'),
    );
    assert.deepEqual(house.files('staging'), []);
    assert.equal(await house.catalog.findImage('vm1'), undefined);
    await images.create(newImage({ name: 'vm1' }));
  });

  test('needs a size or an image below', async () => {
    await using house = await openHouse({ engine });
    await assert.rejects(
      house.services.images.create(newImage({ name: 'vm1', virtualSize: undefined })),
      faultOf('invalid-request'),
    );
  });

  test('refuses to preallocate what the disk cannot hold', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    const huge = { virtualSize: 100_000 * TiB, clusterSize: 2 * MiB };
    await assert.rejects(
      images.create(newImage({ name: 'vm1', ...huge, preallocation: 'full' })),
      faultOf('insufficient-storage', { required: huge.virtualSize }),
    );
    assert.equal(await house.catalog.findImage('vm1'), undefined);
  });
});

describe('an overlay', () => {
  test('is as large as its base unless said otherwise, shows its bytes, and keeps its own', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    const base = await services.images.create(newImage({ name: 'base' }));
    await writeAt(services, 'base', 1000, Buffer.from('from the base'));
    const overlay = await services.images.create(newImage({ name: 'top', virtualSize: undefined, backing: 'base' }));
    assert.equal(overlay.facts?.virtualSize, MiB);
    assert.deepEqual(overlay.backing, { id: base.id, name: 'base' });
    assert.equal((await readAll(services, 'top')).toString('latin1', 1000, 1013), 'from the base');
    await writeAt(services, 'top', 1000, Buffer.from('from the top!'));
    assert.equal((await readAll(services, 'top')).toString('latin1', 1000, 1013), 'from the top!');
    assert.equal((await readAll(services, 'base')).toString('latin1', 1000, 1013), 'from the base');
    const chain = await services.images.chain('top');
    assert.deepEqual(
      chain.map(({ name }) => name),
      ['top', 'base'],
    );
  });

  test('makes its base immutable: every change names the dependents', async () => {
    await using house = await openHouse({ engine });
    const { images, content, snapshots } = house.services;
    await images.create(newImage({ name: 'base' }));
    await snapshots.create('base', { name: 's1' });
    const { id } = await images.create(newImage({ name: 'top', backing: 'base' }));
    const refused = faultOf('image-has-dependents', { dependents: [{ id, name: 'top' }] });
    const span = { offset: 0, length: 512, flush: true };
    const changes: (() => Promise<unknown>)[] = [
      () => content.openWrite('base', { signal: undefined }),
      () => content.zero('base', { ...span, unmap: true }),
      () => content.discard('base', span),
      () => images.resize('base', { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' }),
      () => images.check('base', { repair: 'all' }),
      () => images.check('base', { repair: 'leaks' }),
      () => images.delete('base'),
      () => snapshots.create('base', { name: 's2' }),
      () => snapshots.delete('base', 's1'),
      () => snapshots.revert('base', 's1'),
    ];
    for (const change of changes) await assert.rejects(change(), refused);
    assert.equal((await images.check('base', { repair: 'none' })).clean, true);
    await content.flush('base', { writeEpoch: undefined });
    await images.delete('top');
    await writeAt(house.services, 'base', 0, Buffer.from('free again'));
  });

  test('comes while the base is read and written: readers go on, the writer is refused', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    await services.images.create(newImage({ name: 'base' }));
    await writeAt(services, 'base', 0, Buffer.from('before'));
    using reader = await services.content.openRead('base', { snapshot: undefined, signal: undefined });
    using writer = await services.content.openWrite('base', { signal: undefined });
    await services.images.create(newImage({ name: 'top', backing: 'base' }));
    const { bytes, generation } = await reader.read({ offset: 0, length: 6 });
    assert.equal(Buffer.from(bytes).toString(), 'before');
    assert.equal(generation, reader.generation);
    async function* body(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('after');
    }
    const options = { ...plainWrite, bodyLength: 5 };
    await assert.rejects(
      writer.write({ offset: 0, length: 5 }, body(), options),
      faultOf('image-has-dependents', { written: 0 }),
    );
    assert.equal((await readAll(services, 'top')).toString('latin1', 0, 6), 'before');
  });

  test('is refused when the name is taken, and the base stays as it was', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    await services.images.create(newImage({ name: 'base' }));
    await assert.rejects(services.images.create(newImage({ name: 'base', backing: 'base' })), faultOf('name-conflict'));
    await writeAt(services, 'base', 0, Buffer.from('still mine'));
    assert.equal((await services.images.show('base')).dependentCount, 0);
  });

  test('stands on at most so many images', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    await images.create(newImage({ name: 'layer-1', virtualSize: 512 }));
    for (let depth = 2; depth <= 64; depth += 1) {
      await images.create(newImage({ name: `layer-${depth}`, virtualSize: 512, backing: `layer-${depth - 1}` }));
    }
    await assert.rejects(
      images.create(newImage({ name: 'layer-65', backing: 'layer-64' })),
      faultOf('chain-too-deep', { depthMax: 64 }),
    );
    assert.equal((await images.chain('layer-64')).length, 64);
    await images.create(newImage({ name: 'other', virtualSize: 512 }));
    for (const mode of ['safe', 'unsafe'] as const) {
      const moved = house.services.chains.rebase('other', { backing: 'layer-64', mode });
      await assert.rejects(moved, faultOf('chain-too-deep', { depthMax: 64 }));
    }
    assert.equal((await images.show('other')).backing, undefined);
    await house.services.chains.rebase('other', { backing: 'layer-63', mode: 'safe' });
    assert.equal((await images.chain('other')).length, 64);
  });
});

test('lists go in the order of ids, page by page, by name, state, base and labels', async () => {
  await using house = await openHouse({ engine });
  const { images } = house.services;
  for (const name of ['a', 'b', 'c', 'd']) {
    await images.create(newImage({ name, virtualSize: 512, labels: { letter: name, kind: 'small' } }));
  }
  await images.create(newImage({ name: 'e', backing: 'b' }));
  const all = { limit: 3, cursor: undefined, name: undefined, state: undefined, backing: undefined, labels: [] };
  const names = (page: { readonly items: readonly { readonly name: string }[] }): string =>
    page.items.map(({ name }) => name).join();
  const first = await images.list(all);
  assert.equal(names(first), 'a,b,c');
  const second = await images.list({ ...all, cursor: first.nextCursor });
  assert.equal(names(second), 'd,e');
  assert.equal(second.nextCursor, undefined);
  assert.equal(names(await images.list({ ...all, name: 'c' })), 'c');
  assert.equal(names(await images.list({ ...all, backing: 'b' })), 'e');
  assert.equal(
    names(
      await images.list({
        ...all,
        labels: [
          ['kind', 'small'],
          ['letter', 'd'],
        ],
      }),
    ),
    'd',
  );
  assert.equal(names(await images.list({ ...all, state: 'failed' })), '');
  await assert.rejects(images.list({ ...all, backing: 'nobody' }), faultOf('image-not-found', { image: 'nobody' }));
});

test('every verb faults for an image that is not there', async () => {
  await using house = await openHouse({ engine });
  const { images, content, snapshots, exports } = house.services;
  const span = { offset: 0, length: 512, flush: true };
  const verbs: (() => Promise<unknown>)[] = [
    () => images.show('nobody'),
    () => images.delete('nobody'),
    () => images.resize('nobody', { virtualSize: MiB, allowShrink: false, preallocation: 'off' }),
    () => images.check('nobody', { repair: 'none' }),
    () => images.check('nobody', { repair: 'all' }),
    () => images.info('nobody'),
    () => images.chain('nobody'),
    () => images.create(newImage({ name: 'vm1', backing: 'nobody' })),
    () => content.openRead('nobody', { snapshot: undefined, signal: undefined }),
    () => content.openWrite('nobody', { signal: undefined }),
    () => content.zero('nobody', { ...span, unmap: false }),
    () => content.discard('nobody', span),
    () => content.flush('nobody', { writeEpoch: undefined }),
    () => snapshots.list('nobody', { limit: 10, after: undefined }),
    () => snapshots.create('nobody', { name: 's1' }),
    () =>
      exports.openExport('nobody', {
        format: 'raw',
        snapshot: undefined,
        layer: 'all',
        compress: false,
        signal: undefined,
      }),
  ];
  for (const verb of verbs) await assert.rejects(verb(), faultOf('image-not-found', { image: 'nobody' }));
});

test('an image whose file is gone fails, cannot be used, and can be deleted', async () => {
  await using house = await openHouse({ engine });
  const { images, content } = house.services;
  const { id } = await images.create(newImage({ name: 'vm1' }));
  rmSync(house.directory.imagePath(id));
  const refused = faultOf('image-not-ready', { imageId: id, name: 'vm1', state: 'failed' });
  await assert.rejects(content.openRead('vm1', { snapshot: undefined, signal: undefined }), refused);
  await assert.rejects(content.openWrite('vm1', { signal: undefined }), refused);
  const shown = await images.show('vm1');
  assert.equal(shown.state, 'failed');
  assert.match(shown.stateReason ?? '', /file/);
  await images.delete('vm1');
  await assert.rejects(images.show('vm1'), faultOf('image-not-found'));
});

describe('resize', () => {
  const options = { allowShrink: false, preallocation: 'off' } as const;

  test('grows in whole sectors, and shrinks only when that is allowed', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    const made = await images.create(newImage({ name: 'vm1' }));
    const grown = await images.resize('vm1', { ...options, virtualSize: 2 * MiB + 1 });
    assert.equal(grown.facts?.virtualSize, 2 * MiB + 512);
    assert.ok(grown.version > made.version, 'the metadata has another version');
    await assert.rejects(images.resize('vm1', { ...options, virtualSize: MiB }), faultOf('shrink-not-allowed'));
    await assert.rejects(images.resize('vm1', { ...options, virtualSize: 0 }), faultOf('invalid-geometry'));
    const shrunk = await images.resize('vm1', { ...options, allowShrink: true, virtualSize: MiB });
    assert.equal(shrunk.facts?.virtualSize, MiB);
    assert.equal((await house.catalog.findImage('vm1'))?.structural, undefined);
    assert.equal((await images.list({ ...everything, name: 'vm1' })).items[0]?.facts?.virtualSize, MiB);
  });

  test('refuses to preallocate what the disk cannot hold', async () => {
    await using house = await openHouse({ engine });
    const { images } = house.services;
    await images.create(newImage({ name: 'vm1', clusterSize: 2 * MiB }));
    await assert.rejects(
      images.resize('vm1', { virtualSize: 100_000 * TiB, allowShrink: false, preallocation: 'falloc' }),
      faultOf('insufficient-storage'),
    );
    assert.equal((await images.show('vm1')).facts?.virtualSize, MiB);
  });
});

const everything = {
  limit: 100,
  cursor: undefined,
  name: undefined,
  state: undefined,
  backing: undefined,
  labels: [],
};

test('info tells what the open file tells, and the name of the file', async () => {
  await using house = await openHouse({ engine });
  const { images } = house.services;
  const made = await images.create(newImage({ name: 'vm1' }));
  const info = await images.info('vm1');
  assert.equal(info.fileName, `${made.id}.qcow2`);
  assert.equal(info.description.virtualSize, MiB);
});

describe('delete', () => {
  test('takes the file, the row and the name away', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    await services.images.create(newImage({ name: 'vm1' }));
    await writeAt(services, 'vm1', 0, Buffer.from('gone soon'));
    await services.images.delete('vm1');
    assert.deepEqual(house.files('images'), []);
    await assert.rejects(services.images.show('vm1'), faultOf('image-not-found'));
    await services.images.create(newImage({ name: 'vm1' }));
    assert.equal((await readAll(services, 'vm1'))[0], 0);
  });

  test('waits for a reader that finishes, and lets nobody new in', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    await writeAt(services, 'vm1', 0, Buffer.from('read me'));
    const reader = await services.content.openRead('vm1', { snapshot: undefined, signal: undefined });
    const deleted = services.images.delete('vm1');
    while ((await services.images.show('vm1')).state !== 'deleting')
      await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(
      services.content.openRead('vm1', { snapshot: undefined, signal: undefined }),
      faultOf('image-not-ready', { imageId: id, state: 'deleting' }),
    );
    assert.equal(Buffer.from((await reader.read({ offset: 0, length: 7 })).bytes).toString(), 'read me');
    reader.close();
    await deleted;
    assert.deepEqual(house.files('images'), []);
  });

  test('cuts a reader that does not finish', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    await services.images.create(newImage({ name: 'vm1' }));
    using reader = await services.content.openRead('vm1', { snapshot: undefined, signal: undefined });
    await services.images.delete('vm1');
    await assert.rejects(reader.read({ offset: 0, length: 7 }), faultOf('image-not-ready', { state: 'deleting' }));
    assert.deepEqual(house.files('images'), []);
    await services.images.create(newImage({ name: 'vm1' }));
    await writeAt(services, 'vm1', 0, Buffer.from('another one of the same name'));
  });

  test('is refused while a run is under way', async () => {
    await using house = await openHouse({ engine });
    const { services } = house;
    await services.images.create(newImage({ name: 'vm1', virtualSize: 4 * MiB }));
    await services.content.flush('vm1', { writeEpoch: undefined });
    const check = services.images.check('vm1', { repair: 'none' });
    await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(services.images.delete('vm1'), faultOf('image-in-use'));
    await check;
    await services.images.delete('vm1');
  });
});
