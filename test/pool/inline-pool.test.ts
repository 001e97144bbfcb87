// The contract suite over a pool on the caller's own thread.

import { InlinePool } from '../../src/pool/inline-pool.ts';
import { enginePoolContract } from '../contracts/engine-pool.ts';
import { poolFencingContract } from '../contracts/pool-fencing.ts';
import { poolMeasuringContract } from '../contracts/pool-measuring.ts';
import { memoryEngine } from '../support/memory-image.ts';
import type { PoolSettings } from '../support/pool-bench.ts';

const start = async (settings: PoolSettings): Promise<InlinePool> =>
  new InlinePool({ ...settings, engine: memoryEngine, clock: () => performance.now() });

enginePoolContract('inline', start);
poolFencingContract('inline', start);
poolMeasuringContract('inline', start);
