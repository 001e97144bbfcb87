// Other caches and rules for an image that is in use: nobody who reads it notices.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { inlineWith, moving, qcow2 } from '../support/moving-bench.ts';
import { bytesOf, none, write } from '../support/pool-bench.ts';

describe('an image that gets other runtime options', { timeout: 60_000 }, () => {
  it('keeps its generation and its planned exports, as when they are refused', async () => {
    await using at = await moving(inlineWith(qcow2));
    await at.make('one', 2 * MiB);
    const handle = await at.open('one', { writable: true });
    await handle.call('write', write(1 * MiB, bytesOf(64 * KiB, 5)), none);
    const { generation } = handle;
    const plan = await handle.call('planExport', { format: 'qcow2', layer: 'all' }, none);
    const whole = { id: plan.id, offset: 0, length: plan.length };
    const before = (await handle.call('readExport', whole, none)).bytes.slice();
    await handle.call('setRuntime', { cacheBytes: 1 * MiB, lazyRefcounts: true }, none);
    const refused = handle.call('setRuntime', { cacheBytes: 1, overlapCheck: 'none' }, none);
    await assert.rejects(refused, { code: 'unsupported-option' });
    assert.equal(handle.generation, generation);
    assert.ok(Buffer.from(before).equals((await handle.call('readExport', whole, none)).bytes));
    const { caches } = await handle.call('inspect', {}, none);
    assert.equal(caches.refcounts?.lengthMax, 1 * MiB - 64 * KiB);
    await handle.call('write', write(0, bytesOf(1, 5)), none);
    await assert.rejects(handle.call('readExport', whole, none), { code: 'export-stale' });
  });
});
