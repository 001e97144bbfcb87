import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import type { LeaseGrant, Outcome } from '../../src/catalog/catalog.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { someId, someReservation, someUpdate } from '../support/catalog-values.ts';
import { faultOf } from '../support/service-faults.ts';
import { tempFolder } from '../support/temp-folder.ts';

const vm1 = someId(1);
const vm2 = someId(2);

async function catalogWithImages(path: string): Promise<SqliteCatalog> {
  const catalog = SqliteCatalog.open(path);
  for (const number of [1, 2]) {
    await catalog.reserveImage(someReservation(number, { name: `vm${String(number)}` }));
    await catalog.publishImage(someId(number), someUpdate({}));
  }
  return catalog;
}

function someGrant(change: Partial<LeaseGrant>): LeaseGrant {
  return {
    key: 'k1',
    imageId: vm1,
    mode: 'exclusive',
    owner: undefined,
    ttlMs: 60_000,
    ended: [],
    idempotencyKey: undefined,
    nowMs: 7,
    ...change,
  };
}

test('a lease is kept as it was granted, over a restart too', async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'catalog.db');
  const catalog = await catalogWithImages(path);
  const granted = await catalog.leases.grant(someGrant({ owner: 'backup', nowMs: 7.9 }));
  assert.deepEqual(granted, {
    key: 'k1',
    imageId: vm1,
    mode: 'exclusive',
    owner: 'backup',
    fencingToken: 1,
    ttlMs: 60_000,
    breakingMs: undefined,
    acquiredAtMs: 7,
  });
  await catalog.leases.renew('k1', { nowMs: 9 });
  await catalog.leases.renew('nobody', { nowMs: 9 });
  assert.deepEqual(await catalog.leases.list(), [granted]);
  await catalog.close();
  const again = SqliteCatalog.open(path);
  assert.deepEqual(await again.leases.list(), [granted]);
  assert.deepEqual(await again.leases.listTokens(), [{ imageId: vm1, token: 1 }]);
  await again.close();
});

test('tokens grow by one with every exclusive lease of an image, whatever became of those before', async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'catalog.db');
  let catalog = await catalogWithImages(path);
  const tokens: number[] = [];
  for (const [index, mode] of (['exclusive', 'shared', 'exclusive', 'exclusive'] as const).entries()) {
    const key = `k${String(index)}`;
    tokens.push((await catalog.leases.grant(someGrant({ key, mode }))).fencingToken);
    await catalog.leases.end([key]);
    await catalog.close();
    catalog = SqliteCatalog.open(path);
  }
  assert.deepEqual(tokens, [1, 1, 2, 3]);
  assert.equal((await catalog.leases.grant(someGrant({ key: 'other', imageId: vm2, mode: 'shared' }))).fencingToken, 0);
  await catalog.close();
});

test('an exclusive lease is alone; shared ones stand beside each other', async () => {
  const catalog = await catalogWithImages(':memory:');
  const { leases } = catalog;
  await leases.grant(someGrant({ key: 'a', mode: 'shared' }));
  await leases.grant(someGrant({ key: 'b', mode: 'shared' }));
  await assert.rejects(leases.grant(someGrant({ key: 'c' })), faultOf('image-locked'));
  await leases.grant(someGrant({ key: 'd', imageId: vm2 }));
  for (const mode of ['exclusive', 'shared'] as const) {
    await assert.rejects(leases.grant(someGrant({ key: 'e', imageId: vm2, mode })), faultOf('image-locked'));
  }
  // A refusal takes no token.
  assert.deepEqual(await leases.listTokens(), [
    { imageId: vm1, token: 0 },
    { imageId: vm2, token: 1 },
  ]);
  await catalog.close();
});

test('a grant takes the leases that are over away, or fails with all of it', async () => {
  const catalog = await catalogWithImages(':memory:');
  const { leases } = catalog;
  await leases.grant(someGrant({ key: 'old' }));
  await assert.rejects(leases.grant(someGrant({ key: 'new', ended: ['nobody'] })), faultOf('image-locked'));
  const { fencingToken } = await leases.grant(someGrant({ key: 'new', ended: ['old'] }));
  assert.equal(fencingToken, 2);
  await assert.rejects(
    leases.grant(someGrant({ key: 'x', imageId: someId(9), ended: ['new'] })),
    faultOf('image-not-found'),
  );
  assert.deepEqual(
    (await leases.list()).map(({ key }) => key),
    ['new'],
  );
  await catalog.close();
});

test('a break stays the shortest of all', async () => {
  const catalog = await catalogWithImages(':memory:');
  const { leases } = catalog;
  await leases.grant(someGrant({ key: 'a', mode: 'shared' }));
  await leases.grant(someGrant({ key: 'b', imageId: vm2 }));
  const seen: (number | undefined)[] = [];
  for (const graceMs of [5_000, 9_000, 0]) {
    await leases.break(vm1, { graceMs });
    const [broken, other] = await leases.list();
    seen.push(broken?.breakingMs);
    assert.equal(other?.breakingMs, undefined);
  }
  assert.deepEqual(seen, [5_000, 5_000, 0]);
  await leases.break(someId(9), { graceMs: 1 });
  await catalog.close();
});

test('only an image that is ready is leased, and with the image its leases and tokens go', async () => {
  const catalog = await catalogWithImages(':memory:');
  await catalog.leases.grant(someGrant({ key: 'a' }));
  await catalog.beginDelete(vm1);
  await assert.rejects(
    catalog.leases.grant(someGrant({ key: 'b', ended: ['a'] })),
    faultOf('image-not-ready', { state: 'deleting' }),
  );
  assert.equal((await catalog.leases.list()).length, 1);
  await catalog.removeImage(vm1);
  assert.deepEqual(await catalog.leases.list(), []);
  assert.deepEqual(await catalog.leases.listTokens(), []);
  await catalog.detachImage(vm2, { nowMs: 1 });
  await assert.rejects(catalog.leases.grant(someGrant({ key: 'c', imageId: vm2 })), faultOf('image-not-ready'));
  await catalog.close();
});

test('a grant settles the key of its request, and one that is refused does not', async () => {
  const { idempotency, leases } = await catalogWithImages(':memory:');
  const claim = { fingerprint: 'f', nowMs: 1, forgetBeforeMs: 0 };
  const outcomeOf = async (id: string): Promise<Outcome | undefined> =>
    (await idempotency.claim({ ...claim, id }))?.outcome;
  for (const id of ['first', 'second']) await idempotency.claim({ ...claim, id });
  const lease = await leases.grant(someGrant({ key: 'a', idempotencyKey: 'first' }));
  await assert.rejects(leases.grant(someGrant({ key: 'b', idempotencyKey: 'second' })), faultOf('image-locked'));
  const stored = await outcomeOf('first');
  assert.deepEqual([stored?.kind, await outcomeOf('second')], ['lease', undefined]);
  assert.equal(JSON.stringify(stored), JSON.stringify({ kind: 'lease', lease }));
  await idempotency.unsettle('first');
  assert.equal(await outcomeOf('first'), undefined);
});
