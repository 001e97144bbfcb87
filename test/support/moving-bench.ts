// A pool whose images a test moves from one lane to another.

import { MiB, KiB } from '../../src/base/units.ts';
import type { Engine } from '../../src/pool/engine.ts';
import type { EngineHandle } from '../../src/pool/engine-pool.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import type { LanePool } from '../../src/pool/lane-pool.ts';
import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';
import { bench, none } from './pool-bench.ts';
import type { Bench, PoolSettings } from './pool-bench.ts';

export const qcow2 = qcow2Engine({ locks: 'qemu', hostCopies: false, cacheBytes: 64 * MiB });
export const cell = 4 * KiB;

/** A bench whose pool moves images when the test says so. */
export async function moving<Pool extends LanePool>(
  start: (settings: PoolSettings) => Promise<Pool>,
): Promise<Bench & { readonly pool: Pool }> {
  return (await bench(start, { limits: { balanceMs: 60_000 } })) as Bench & { readonly pool: Pool };
}

/** Two lanes here. */
export const inlineWith =
  (engine: Engine) =>
  async (settings: PoolSettings): Promise<InlinePool> =>
    new InlinePool({ ...settings, engine, clock: () => performance.now(), lanes: 2 });
export async function byteAt(handle: EngineHandle, offset: number): Promise<number | undefined> {
  return (await handle.call('read', { offset, length: 1 }, none)).bytes[0];
}
