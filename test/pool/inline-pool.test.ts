// The contract suite over a pool on the caller's own thread.

import { InlinePool } from '../../src/pool/inline-pool.ts';
import { enginePoolContract } from '../contracts/engine-pool.ts';
import { memoryEngine } from '../support/memory-image.ts';

enginePoolContract(
  'inline',
  async (settings) => new InlinePool({ ...settings, engine: memoryEngine, clock: () => performance.now() }),
);
