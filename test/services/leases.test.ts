import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { Fault } from '../../src/base/fault.ts';
import { leasesMax } from '../../src/services/lease-book.ts';
import type { Lease, LeaseClaim, LeaseView, Services, WorkControl } from '../../src/services/services.ts';
import { brakedEngine } from '../support/braked-service.ts';
import type { Brake } from '../support/braked-service.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, plainWrite } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ttlMs = 10_000;
const day = 86_400_000;

interface Lived extends AsyncDisposable {
  readonly house: ServiceHouse;
  readonly services: Services;
  readonly clocks: { wallMs: number; steadyMs: number };
  readonly brake: Brake;
}

/** A house with one image and clocks that a test turns; over a folder, one that outlives it. */
async function live(path?: string): Promise<Lived> {
  const clocks = { wallMs: 1_700_000_000_000, steadyMs: 5_000 };
  const brake: Brake = { held: false };
  const options = {
    engine: brakedEngine(brake),
    clock: () => clocks.wallMs,
    steadyClock: () => clocks.steadyMs,
  };
  const house = await openHouse(path === undefined ? options : { ...options, path });
  const { services } = house;
  if ((await house.catalog.findImage('vm')) === undefined) await services.images.create(newImage({ name: 'vm' }));
  return { house, services, clocks, brake, [Symbol.asyncDispose]: () => house[Symbol.asyncDispose]() };
}

async function acquire(services: Services, mode: 'exclusive' | 'shared' = 'exclusive'): Promise<Lease> {
  return services.leases.acquire('vm', { mode, ttlMs, owner: undefined, key: undefined });
}

async function leasesOf(services: Services): Promise<readonly LeaseView[]> {
  return (await services.leases.list('vm', { limit: 10, after: undefined })).items;
}

function claimOf(lease: Lease): LeaseClaim {
  return { leaseId: lease.id, fencingToken: lease.fencingToken };
}

async function write(services: Services, claim: LeaseClaim | undefined): Promise<void> {
  using session = await services.content.openWrite('vm', { signal: undefined, claim });
  const options = { ...plainWrite, bodyLength: 3 };
  await session.write({ offset: 0, length: 3 }, bodyIn(Buffer.from('abc'), 3), options);
}

function controlWith(claim: LeaseClaim): WorkControl {
  return {
    signal: new AbortController().signal,
    accepted: () => false,
    claim,
    key: undefined,
    onProgress: () => undefined,
    admitted: () => undefined,
    started: () => undefined,
    note: async () => undefined,
  };
}

describe('the end of a lease', () => {
  test('comes by the steady clock alone', async () => {
    await using lived = await live();
    const { services, clocks } = lived;
    const lease = await acquire(services);
    for (const jump of [day, -3 * day]) {
      clocks.wallMs += jump;
      await assert.rejects(acquire(services), faultOf('image-locked'));
      await assert.rejects(write(services, undefined), faultOf('image-locked'));
      const [shown] = await leasesOf(services);
      assert.equal(shown?.expiresAtMs, clocks.wallMs + ttlMs);
    }
    const [before] = await leasesOf(services);
    clocks.wallMs += 1;
    assert.deepEqual(await leasesOf(services), [before], 'a lease says the same end each time it is asked');
    clocks.steadyMs += ttlMs - 1;
    await assert.rejects(write(services, undefined), faultOf('image-locked'));
    clocks.steadyMs += 1;
    assert.equal((await services.images.show('vm')).lease, undefined);
    assert.deepEqual(await leasesOf(services), []);
    await assert.rejects(services.leases.renew('vm', lease.id), faultOf('lease-lost'));
    await assert.rejects(write(services, claimOf(lease)), faultOf('lease-lost'));
    await write(services, undefined);
    assert.equal((await acquire(services)).fencingToken, 2);
    await assert.rejects(write(services, { leaseId: undefined, fencingToken: 1 }), faultOf('image-locked'));
    await assert.rejects(write(services, claimOf(lease)), faultOf('lease-lost'));
  });

  test('is put off by whatever is done with it, and by nothing that is refused or done without it', async () => {
    await using lived = await live();
    const { services, clocks } = lived;
    const lease = await acquire(services);
    const claim = claimOf(lease);
    const uses: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['renew', () => services.leases.renew('vm', lease.id)],
      ['write', () => write(services, claim)],
      ['zero', () => services.content.zero('vm', zeroed, controlWith(claim))],
      ['snapshot', () => services.snapshots.create('vm', { name: 's1' }, controlWith(claim))],
      ['update', () => services.images.update('vm', { description: 'x' }, { judge: () => undefined, claim })],
      ['flush', () => services.content.flush('vm', { writeEpoch: undefined, claim })],
      ['check', () => services.images.check('vm', { repair: 'none' }, controlWith(claim))],
      ['extents', () => services.content.extents('vm', { ...wholeMap, claim })],
      ['read', async () => (await services.content.openRead('vm', { ...unsnapped, claim })).close()],
      ['export', async () => (await services.exports.openExport('vm', { ...exported, claim })).close()],
      ['detach', () => services.images.detach('vm', claim)],
      ['attach', () => services.images.attach('vm', claim)],
    ];
    for (const [name, use] of uses) {
      clocks.steadyMs += ttlMs - 1;
      await use();
      clocks.steadyMs += 2;
      assert.equal((await leasesOf(services)).length, 1, name);
      clocks.steadyMs -= 2;
    }
    await services.leases.release('vm', lease.id);
    const second = await acquire(services);
    clocks.steadyMs += ttlMs - 1;
    const stale = { leaseId: second.id, fencingToken: 1 };
    await assert.rejects(write(services, stale), faultOf('fencing-token-stale'));
    await assert.rejects(write(services, undefined), faultOf('image-locked'));
    await services.content.flush('vm', { writeEpoch: undefined });
    clocks.steadyMs += 1;
    await assert.rejects(services.leases.renew('vm', second.id), faultOf('lease-lost'));
  });

  test('waits for long work that is done with it, and comes a full period after', async () => {
    await using lived = await live();
    const { services, clocks, brake } = lived;
    const lease = await acquire(services);
    brake.held = true;
    const snapshot = services.snapshots.create('vm', { name: 's1' }, controlWith(claimOf(lease)));
    await untilRuns(lived);
    clocks.steadyMs += 5 * ttlMs;
    await assert.rejects(acquire(services), faultOf('image-locked'));
    brake.held = false;
    await snapshot;
    clocks.steadyMs += ttlMs - 1;
    await write(services, claimOf(lease));
    clocks.steadyMs += ttlMs;
    await acquire(services);
  });
});

describe('as many leases as an image may have', () => {
  test('keep out one more until one of them is over', async () => {
    await using lived = await live();
    const { services, clocks } = lived;
    const first = await acquire(services, 'shared');
    for (let count = 1; count < leasesMax; count += 1) await acquire(services, 'shared');
    await assert.rejects(acquire(services, 'shared'), faultOf('too-many-leases'));
    await assert.rejects(acquire(services), faultOf('image-locked'));
    clocks.steadyMs += 1;
    await services.leases.renew('vm', first.id);
    clocks.steadyMs += ttlMs - 1;
    await acquire(services, 'shared');
    assert.equal((await leasesOf(services)).length, 2);
  });
});

describe('a break', () => {
  test('ends the lease after its grace, however much it is used; a later one only shortens it', async () => {
    await using lived = await live();
    const { services, clocks } = lived;
    const lease = await acquire(services);
    const [left] = await services.leases.break('vm', { graceMs: 4_000 });
    assert.equal(left?.expiresAtMs, clocks.wallMs + 4_000);
    clocks.steadyMs += 3_000;
    await write(services, claimOf(lease));
    await assert.rejects(services.leases.renew('vm', lease.id), faultOf('lease-lost', { breaking: true }));
    await services.leases.break('vm', { graceMs: 60_000 });
    clocks.steadyMs += 999;
    await write(services, claimOf(lease));
    await assert.rejects(acquire(services), faultOf('image-locked'));
    clocks.steadyMs += 1;
    await assert.rejects(write(services, claimOf(lease)), faultOf('lease-lost'));
    const next = await acquire(services, 'shared');
    await services.leases.break('vm', { graceMs: 4_000 });
    assert.deepEqual(await services.leases.break('vm', { graceMs: 0 }), []);
    await assert.rejects(services.leases.renew('vm', next.id), faultOf('lease-lost'));
    await write(services, undefined);
  });

  test('undoes long work that is done with the lease before it answers', async () => {
    await using lived = await live();
    const { services, brake } = lived;
    const lease = await acquire(services);
    brake.held = true;
    const snapshot = services.snapshots.create('vm', { name: 's1' }, controlWith(claimOf(lease)));
    await untilRuns(lived);
    const waiting = write(services, claimOf(lease));
    const outcomes = Promise.allSettled([snapshot, waiting]);
    for (let turns = 0; turns < 10; turns += 1) await turn();
    await services.leases.break('vm', { graceMs: 0 });
    brake.held = false;
    for (const outcome of await outcomes) {
      assert.equal(outcome.status, 'rejected');
      assert.ok(faultOf('lease-lost')(outcome.reason));
    }
    assert.deepEqual((await services.snapshots.list('vm', { limit: 1000, after: undefined }))?.items, []);
    await services.snapshots.create('vm', { name: 's1' });
    assert.equal((await services.images.check('vm', { repair: 'none' })).clean, true);
  });
});

describe('an overlay that waits for its base', () => {
  test('is refused when somebody has got an exclusive lease meanwhile', async () => {
    await using lived = await live();
    const { services, brake } = lived;
    await services.images.create(newImage({ name: 'upper' }));
    brake.held = true;
    const snapshot = services.snapshots.create('vm', { name: 's1' });
    await untilRuns(lived);
    const overlays = [
      services.images.create(newImage({ name: 'over', virtualSize: undefined, backing: 'vm' })),
      services.chains.rebase('upper', { backing: 'vm', mode: 'safe' }),
    ];
    const outcomes = Promise.allSettled([snapshot, ...overlays]);
    for (let turns = 0; turns < 50; turns += 1) await turn();
    await acquire(services);
    brake.held = false;
    for (const outcome of await outcomes) {
      assert.equal(outcome.status, 'rejected');
      assert.ok(faultOf('image-locked')(outcome.reason), String(outcome.reason));
    }
    assert.equal((await services.images.show('vm')).dependentCount, 0);
  });
});

describe('a restart', () => {
  test('gives every lease one full period, a broken one its grace, and nobody else the image before', async () => {
    using folder = tempFolder();
    const path = join(folder.path, 'data');
    let lease: Lease;
    {
      await using first = await live(path);
      lease = await acquire(first.services);
      first.clocks.steadyMs += ttlMs - 1;
    }
    {
      await using second = await live(path);
      const { services, clocks } = second;
      clocks.steadyMs += ttlMs - 1;
      await assert.rejects(acquire(services), faultOf('image-locked'));
      await assert.rejects(write(services, undefined), faultOf('image-locked'));
      await write(services, claimOf(lease));
      await services.leases.break('vm', { graceMs: 4_000 });
      clocks.steadyMs += 3_999;
    }
    await using third = await live(path);
    const { services, clocks } = third;
    clocks.steadyMs += 3_999;
    await write(services, claimOf(lease));
    await assert.rejects(services.leases.renew('vm', lease.id), faultOf('lease-lost', { breaking: true }));
    clocks.steadyMs += 1;
    assert.equal((await acquire(services)).fencingToken, lease.fencingToken + 1);
  });

  test('never brings back a lease that was over, nor a token', async () => {
    using folder = tempFolder();
    const path = join(folder.path, 'data');
    let lost: Lease;
    {
      await using first = await live(path);
      const { services, clocks } = first;
      lost = await acquire(services);
      clocks.steadyMs += ttlMs;
      await write(services, undefined);
      const released = await acquire(services);
      await services.leases.release('vm', released.id);
    }
    await using second = await live(path);
    const { services } = second;
    await assert.rejects(write(services, { leaseId: lost.id, fencingToken: undefined }), faultOf('lease-lost'));
    await assert.rejects(write(services, { leaseId: undefined, fencingToken: 1 }), faultOf('fencing-token-stale'));
    assert.equal((await acquire(services)).fencingToken, 3);
  });
});

describe('a grant while the image goes away', () => {
  for (const verb of ['detach', 'delete'] as const) {
    test(`and its ${verb} never both succeed`, { timeout: 120_000 }, async () => {
      const winners = new Set<string>();
      await using lived = await live();
      const { services } = lived;
      for (let delay = 0; delay < 24; delay += 1) {
        const name = `vm${String(delay)}`;
        await services.images.create(newImage({ name }));
        using reader = await services.content.openRead(name, unsnapped);
        const go = (): Promise<unknown> => services.images[verb](name);
        const claim = (): Promise<unknown> =>
          services.leases.acquire(name, { mode: 'exclusive', ttlMs, owner: undefined, key: undefined });
        // Each begins first in its turn, and the other later and later.
        const [first, second] = delay % 2 === 0 ? [go, claim] : [claim, go];
        const firsts = Promise.allSettled([first()]);
        for (let step = 0; step < delay / 2; step += 1) await (step < 8 ? undefined : turn());
        const seconds = Promise.allSettled([second()]);
        reader.close();
        const outcomes = [...(await firsts), ...(await seconds)];
        const [gone, granted] = delay % 2 === 0 ? outcomes : outcomes.toReversed();
        assert.ok(gone !== undefined && granted !== undefined);
        assert.notEqual(gone.status, granted.status, `${verb} ${gone.status} after ${String(delay)} turns`);
        const refusal: unknown =
          gone.status === 'rejected' ? gone.reason : granted.status === 'rejected' && granted.reason;
        assert.ok(refusal instanceof Fault, String(refusal));
        winners.add(gone.status === 'fulfilled' ? verb : 'grant');
      }
      assert.deepEqual([...winners].toSorted(), [verb, 'grant'].toSorted());
    });
  }
});

const zeroed = { offset: 0, length: 512, unmap: true, flush: true };
const unsnapped = { snapshot: undefined, signal: undefined };
const exported = { format: 'raw', layer: 'all', compress: false, ...unsnapped } as const;
const wholeMap = {
  snapshot: undefined,
  offset: 0,
  length: undefined,
  limit: 10,
  layer: 'all',
  hostOffsets: false,
} as const;

/** Until a run has got to its brake. */
async function untilRuns({ house }: Lived): Promise<void> {
  while ((await house.catalog.findImage('vm'))?.structural === undefined) await turn();
  while (house.pool.figures().queuedRequests === 0) await turn();
  for (let turns = 0; turns < 10; turns += 1) await turn();
}
