import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import type { Engine } from '../../src/pool/engine.ts';
import type { WorkControl } from '../../src/services/services.ts';
import { brakedEngine } from '../support/braked-service.ts';
import { journalOf, memoryEngine } from '../support/memory-image.ts';
import { faultOf } from '../support/service-faults.ts';
import { newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';

/** A work with a lease that nobody watches. */
function controlWith(claim: WorkControl['claim']): WorkControl {
  return {
    signal: new AbortController().signal,
    accepted: () => false,
    onProgress: () => undefined,
    claim,
    key: undefined,
    admitted: () => undefined,
    started: () => undefined,
    note: async () => undefined,
  };
}

describe('the mark of a structural operation', { timeout: 60_000 }, () => {
  test('goes at once when the lease of the work ends in its middle', async () => {
    const brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { images, leases, snapshots } = house.services;
    const { id } = await images.create(newImage({ name: 'vm1' }));
    const lease = await leases.acquire('vm1', { mode: 'exclusive', ttlMs: 60_000, owner: undefined, key: undefined });
    brake.held = true;
    const claim = { leaseId: lease.id, fencingToken: lease.fencingToken };
    const refused = assert.rejects(snapshots.create('vm1', { name: 's1' }, controlWith(claim)), faultOf('lease-lost'));
    while ((await house.catalog.findImage(id))?.structural === undefined) await new Promise(setImmediate);
    await leases.break('vm1', { graceMs: 0 });
    await refused;
    assert.equal((await house.catalog.findImage(id))?.structural, undefined);
    brake.held = false;
    assert.deepEqual((await snapshots.list('vm1', { limit: 10, after: undefined }))?.items, []);
    assert.equal((await images.check('vm1', { repair: 'none' })).clean, true);
  });

  for (const failure of [
    new Fault('insufficient-storage', { length: 65_536 }),
    // What undoing says after a failed flush.
    new Fault('image-read-only', { reason: 'a flush failed', diskFailed: true }),
  ]) {
    test(`stays after ${failure.code} in the middle, and whoever comes next finds the image mended`, async () => {
      await using house = await openHouse({ engine: failingSnapshots(failure) });
      const { services, catalog } = house;
      const { id } = await services.images.create(newImage({ name: 'vm1' }));
      await writeAt(services, 'vm1', 0, Buffer.from('kept'));
      await assert.rejects(services.snapshots.create('vm1', { name: 's1' }), faultOf(failure.code));
      assert.equal((await catalog.findImage(id))?.structural, 'snapshot-create');
      assert.equal(journalOf(house.directory.imagePath(id)).at(-1), 'close');
      assert.equal((await readAll(services, 'vm1')).toString('latin1', 0, 4), 'kept');
      assert.equal((await catalog.findImage(id))?.structural, undefined);
      assert.deepEqual(house.failures, []);
    });
  }
});

/** An engine that gets no snapshot to its end. */
function failingSnapshots(fault: Fault): Engine {
  return {
    ...memoryEngine,
    open: (options) =>
      Object.assign(memoryEngine.open(options), {
        *createSnapshot() {
          yield { done: 0, total: 1 };
          throw fault;
        },
      }),
  };
}
