// Jobs that find busy what they need: they wait for it, unless they are cancelled; requests are refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { MiB } from '../../src/base/units.ts';
import type { Job, WorkControl } from '../../src/services/services.ts';
import { brakedEngine } from '../support/braked-service.ts';
import type { Brake } from '../support/braked-service.ts';
import { faultOf } from '../support/service-faults.ts';
import { newImage, openHouse } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';

const gateWaitMs = 200;
/** Longer than a request is patient. */
const busyMs = 2 * gateWaitMs;
/** Longer than a test. */
const endlessMs = 600_000;

const options = { virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' } as const;
const live = { snapshot: undefined, signal: undefined };

const plainCopy = {
  clusterSize: undefined,
  compressionType: undefined,
  compress: false,
  mode: 'full',
  encryption: undefined,
  dataFile: undefined,
} as const;

/** A resize of `vm1` that is a job already when it begins. */
async function beginResize({ services }: ServiceHouse, id: string): Promise<Job> {
  const accepted = Promise.withResolvers<undefined>();
  const resize = async (control: WorkControl): ReturnType<typeof services.images.resize> => {
    control.admitted(id);
    control.onProgress(0, 1);
    await accepted.promise;
    return services.images.resize(id, options, control);
  };
  const asked = { waitMs: 0, requestId: 'one', key: undefined, claim: undefined, waitsFrom: 'now' } as const;
  const outcome = await services.jobs.perform({ ...asked, kind: 'resize', image: id, options }, resize);
  assert.ok(outcome.kind === 'job');
  accepted.resolve(undefined);
  return outcome.job;
}

async function endOf({ services }: ServiceHouse, { id }: Job): Promise<unknown> {
  const { state, fault } = await services.jobs.get(id, { waitMs: 30_000, signal: undefined });
  return fault === undefined ? state : fault;
}

/** Until the run of a job has got as far as the brake. */
async function untilHeld({ services }: ServiceHouse, { id }: Job): Promise<void> {
  for (;;) {
    const { done } = await services.jobs.get(id, { waitMs: 0, signal: undefined });
    if (done > 0) return;
    await pause(1);
  }
}

/** An image that a long run has, so that nobody opens it for writing. */
async function busyHouse(
  limits = { gateWaitMs },
): Promise<{ house: ServiceHouse; id: string; brake: Brake; check: Promise<unknown> }> {
  const brake: Brake = { held: false };
  const house = await openHouse({ engine: brakedEngine(brake), limits });
  const { id } = await house.services.images.create(newImage({ name: 'vm1' }));
  brake.held = true;
  const check = house.services.images.check(id, { repair: 'none' });
  while (house.pool.figures().queuedRequests === 0) await new Promise((resolve) => setImmediate(resolve));
  return { house, id, brake, check };
}

describe('a job that finds busy what it needs', { timeout: 60_000 }, () => {
  test('waits until the run on its image is over, where a request is refused', async () => {
    const { house, id, brake, check } = await busyHouse();
    await using _ = house;
    const job = await beginResize(house, id);
    await assert.rejects(house.services.content.openWrite(id, { signal: undefined }), faultOf('engine-busy'));
    await pause(busyMs);
    brake.held = false;
    assert.equal(await endOf(house, job), 'succeeded');
    await check;
    assert.equal((await house.services.images.show(id)).facts?.virtualSize, options.virtualSize);
    assert.deepEqual(house.failures, []);
  });

  test('waits until there is room for its image', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake), limits: { openImagesMax: 1 } });
    const { images, content } = house.services;
    const { id } = await images.create(newImage({ name: 'vm1' }));
    await images.create(newImage({ name: 'other' }));
    const reader = await content.openRead('other', live);
    const job = await beginResize(house, id);
    await assert.rejects(content.openRead(id, live), faultOf('engine-busy'));
    await pause(busyMs);
    reader.close();
    assert.equal(await endOf(house, job), 'succeeded');
    assert.deepEqual(house.failures, []);
  });

  test('ends when it is cancelled', async () => {
    const { house, id, brake, check } = await busyHouse();
    await using _ = house;
    const job = await beginResize(house, id);
    await pause(busyMs);
    await house.services.jobs.cancel(job.id);
    assert.equal(await endOf(house, job), 'cancelled');
    brake.held = false;
    await check;
  });

  test('ends at once when it is cancelled while its image is about to be opened for it', async () => {
    const { house, id, brake, check } = await busyHouse({ gateWaitMs: endlessMs });
    await using _ = house;
    const jobs = await Promise.all([beginResize(house, id), beginResize(house, id)]);
    for (const job of jobs) await house.services.jobs.cancel(job.id);
    for (const job of jobs) assert.equal(await endOf(house, job), 'cancelled');
    brake.held = false;
    await check;
    assert.equal((await house.services.images.show(id)).facts?.virtualSize, MiB);
    assert.deepEqual(house.failures, []);
  });

  test('ends at once when it is cancelled while other work on its image is ahead', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { id } = await house.services.images.create(newImage({ name: 'vm1' }));
    brake.held = true;
    const ahead = await beginResize(house, id);
    await untilHeld(house, ahead);
    const job = await beginResize(house, id);
    await house.services.jobs.cancel(job.id);
    assert.equal(await endOf(house, job), 'cancelled');
    assert.equal((await house.services.jobs.get(ahead.id, { waitMs: 0, signal: undefined })).state, 'running');
    brake.held = false;
    assert.equal(await endOf(house, ahead), 'succeeded');
  });

  test('ends at once when it is cancelled while what it reads first must wait', async () => {
    const brake: Brake = { held: false };
    await using house = await openHouse({ engine: brakedEngine(brake), limits: { gateWaitMs: endlessMs } });
    const { images, copies, jobs } = house.services;
    const { id } = await images.create(newImage({ name: 'vm1' }));
    brake.held = true;
    const ahead = await beginResize(house, id);
    await untilHeld(house, ahead);
    const wish = { ...plainCopy, name: 'copy', snapshot: 'none' };
    const copy = (control: WorkControl): ReturnType<typeof copies.copy> => copies.copy(id, wish, control);
    const asked = { waitMs: 0, requestId: 'one', key: undefined, claim: undefined, waitsFrom: 'now' } as const;
    const outcome = await jobs.perform({ ...asked, kind: 'copy', image: id, options: wish }, copy);
    assert.ok(outcome.kind === 'job');
    await jobs.cancel(outcome.job.id);
    assert.equal(await endOf(house, outcome.job), 'cancelled');
    brake.held = false;
    assert.equal(await endOf(house, ahead), 'succeeded');
  });
});

describe('requests that find an image busy', { timeout: 60_000 }, () => {
  test('do not wait for those that wait already', async () => {
    const { house, id, brake, check } = await busyHouse();
    await using _ = house;
    let opens = 0;
    const open = house.pool.open.bind(house.pool);
    house.pool.open = (...asked) => {
      opens += 1;
      return open(...asked);
    };
    const asked = Array.from({ length: 6 }, () => house.services.content.openWrite(id, { signal: undefined }));
    await Promise.all(asked.map((write) => assert.rejects(write, faultOf('engine-busy'))));
    // Each would take as long as the one before.
    assert.ok(opens <= 2, `${opens} of them have waited in line`);
    brake.held = false;
    await check;
  });
});
