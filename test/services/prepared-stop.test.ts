// The begin of a stop, while the last requests go on.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { MiB } from '../../src/base/units.ts';
import type { Engine } from '../../src/pool/engine.ts';
import { brakedEngine } from '../support/braked-service.ts';
import type { Brake } from '../support/braked-service.ts';
import { journalOf, memoryEngine } from '../support/memory-image.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, plainWrite, writeAt } from '../support/service-house.ts';

/** Written, and not flushed. */
const unflushed = { ...plainWrite, flush: false };

/** A job at once. */
const asked = { waitMs: 0, requestId: 'one', key: undefined, claim: undefined } as const;

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

function failFlush(): never {
  throw new Fault('io-error', {});
}

describe('the begin of a stop', { timeout: 60_000 }, () => {
  test('closes what nobody uses, and flushes the rest', async () => {
    await using house = await openHouse({ engine: memoryEngine });
    const { services, directory } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    const used = directory.imagePath((await services.images.create(newImage({ name: 'used' }))).id);
    await writeAt(services, 'vm1', 0, Buffer.from('nobody is here any more'));
    using writer = await services.content.openWrite('used', { signal: undefined });
    const write = (): Promise<unknown> =>
      writer.write({ offset: 0, length: 3 }, bodyIn(Buffer.from('abc'), 3), unflushed);
    await write();
    services.prepareToStop();
    await until(async () => (await house.catalog.findImage(id))?.settled === true);
    assert.equal(journalOf(directory.imagePath(id)).at(-1), 'close');
    await until(() => journalOf(used).at(-1) === 'flush');
    await write();
    assert.deepEqual(house.failures, []);
  });

  test('makes the end fail when it cannot flush what nobody else has', async () => {
    const failing: Engine['open'] = (options) => Object.assign(memoryEngine.open(options), { flush: failFlush });
    await using house = await openHouse({ engine: { ...memoryEngine, open: failing } });
    const { services } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    using writer = await services.content.openWrite('vm1', { signal: undefined });
    await writer.write({ offset: 0, length: 3 }, bodyIn(Buffer.from('abc'), 3), unflushed);
    services.prepareToStop();
    await assert.rejects(services.stop(), faultOf('io-error'));
    assert.deepEqual(
      house.failures.map(({ doing, imageId }) => [doing, imageId]),
      [['closing an image at the end', id]],
    );
  });

  test('cuts jobs, and no work that a request waits for', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { services } = house;
    for (const name of ['vm1', 'vm2']) await services.images.create(newImage({ name }));
    brake.held = true;
    const check = { ...asked, kind: 'check', image: 'vm1', options: { repair: 'none' }, waitsFrom: 'now' } as const;
    const outcome = await services.jobs.perform(check, (control) =>
      services.images.check('vm1', { repair: 'none' }, control),
    );
    assert.ok(outcome.kind === 'job');
    const waited = { ...asked, kind: 'check', image: 'vm2', options: {}, waitsFrom: 'never' } as const;
    const waitedFor = services.jobs.perform(waited, (control) =>
      services.images.check('vm2', { repair: 'none' }, control),
    );
    while (house.pool.figures().queuedRequests < 2) await new Promise((resolve) => setImmediate(resolve));
    services.prepareToStop();
    while (house.pool.figures().queuedRequests > 1) await new Promise((resolve) => setImmediate(resolve));
    brake.held = false;
    assert.equal((await waitedFor).kind, 'over');
    // The next process begins it again.
    const { state, endedAtMs } = (await house.catalog.jobs.find(outcome.job.id)) ?? {};
    assert.deepEqual([state, endedAtMs], ['running', undefined]);
    assert.deepEqual(house.failures, []);
  });

  test('has what it cut undone, so that the next start has nothing to repair', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { services, catalog } = house;
    const { id } = await services.images.create(newImage({ name: 'vm1' }));
    brake.held = true;
    const options = { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' } as const;
    const resize = { ...asked, kind: 'resize', image: 'vm1', options, waitsFrom: 'now' } as const;
    const outcome = await services.jobs.perform(resize, (control) => services.images.resize('vm1', options, control));
    assert.ok(outcome.kind === 'job');
    assert.equal((await catalog.findImage(id))?.structural, 'resize');
    services.prepareToStop();
    await until(async () => (await catalog.findImage(id))?.structural === undefined);
    await services.stop();
    assert.equal((await catalog.findImage(id))?.settled, true);
    assert.deepEqual(house.failures, []);
  });
});
