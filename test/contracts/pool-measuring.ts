// How every engine pool measures: files that there are not yet, and images that there are.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import type { EnginePool } from '../../src/pool/engine-pool.ts';
import { specOf } from '../support/memory-image-spec.ts';
import { bench, noRun, none } from '../support/pool-bench.ts';
import type { PoolSettings } from '../support/pool-bench.ts';

export function poolMeasuringContract(name: string, start: (settings: PoolSettings) => Promise<EnginePool>): void {
  describe(`${name}: measuring`, { timeout: 60_000 }, () => {
    it('measures what there is not yet, and an image that there is', async () => {
      await using at = await bench(start, {});
      const spec = { ...specOf(0), luks: undefined };
      const small = await at.pool.measure({ spec, virtualSize: 1 * MiB }, none);
      const large = await at.pool.measure({ spec, virtualSize: 8 * MiB }, none);
      assert.ok(large.fullyAllocated >= small.fullyAllocated + 7 * MiB);
      await at.make('one', 8 * MiB);
      const handle = await at.open('one', { writable: false });
      assert.equal((await handle.run('measure', { spec }, noRun)).fullyAllocated, large.fullyAllocated);
    });
  });
}
