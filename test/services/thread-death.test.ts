import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { journalOf, memoryEngine, traps } from '../support/memory-image.ts';
import { faultOf } from '../support/service-faults.ts';
import { newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';

const entry = new URL('../support/memory-worker.ts', import.meta.url);

describe('an engine thread that dies in the middle of a structural operation', { timeout: 60_000 }, () => {
  test('costs its images what was not flushed, and is replaced', async () => {
    await using house = await openHouse({ engine: memoryEngine, entry });
    const { images, content, snapshots, health, usage } = house.services;
    const { id } = await images.create(newImage({ name: 'doomed' }));
    await images.create(newImage({ name: 'other' }));
    await writeAt(house.services, 'doomed', 0, Buffer.from('flushed'));
    await writeAt(house.services, 'other', 0, Buffer.from('other'));
    const { writeEpoch } = await content.flush('doomed', { writeEpoch: undefined });
    const { writeEpoch: epochOfOther } = await content.flush('other', { writeEpoch: undefined });

    await assert.rejects(snapshots.create('doomed', { name: traps.exit }), faultOf('engine-lost'));
    assert.equal((await house.catalog.findImage(id))?.structural, 'snapshot-create');
    await content.flush('other', { writeEpoch: epochOfOther });
    assert.equal((await readAll(house.services, 'doomed')).toString('latin1', 0, 7), 'flushed');
    assert.equal((await house.catalog.findImage(id))?.structural, undefined, 'mended at the next opening');
    assert.equal(journalOf(house.directory.imagePath(id)).at(-1), 'flush');
    await assert.rejects(content.flush('doomed', { writeEpoch }), faultOf('writes-lost'));
    await snapshots.create('doomed', { name: 's1' });
    assert.equal((await health.check()).engine, 'ok');
    assert.equal(usage.engine().threadsLost, 1);
    assert.deepEqual(
      house.failures.map(({ doing }) => doing),
      ['running an engine thread'],
    );
  });

  test('fails a broken assertion of one image alone: the thread and the others go on', async () => {
    await using house = await openHouse({ engine: memoryEngine, entry });
    const { images, snapshots, usage } = house.services;
    const names = ['one', 'two', 'three', 'four'];
    for (const name of names) await images.create(newImage({ name }));
    for (const name of names) await writeAt(house.services, name, 0, Buffer.from(name));
    await assert.rejects(snapshots.create('one', { name: traps.bug }), faultOf('image-failed'));
    for (const name of names.slice(1)) {
      assert.equal((await readAll(house.services, name)).toString('latin1', 0, name.length), name);
    }
    await assert.rejects(readAll(house.services, 'one'), faultOf('image-not-ready', { state: 'failed' }));
    assert.equal(usage.engine().threadsLost, 0);
  });
});
