// The contract suite over the engine of the product, here and on threads.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';
import { ThreadPool, workerEntry } from '../../src/pool/thread-pool.ts';
import { enginePoolContract } from '../contracts/engine-pool.ts';

// As the product does: without a cache each of the many threads would strip and compile the engine again.
let cache: string | undefined;
before(() => {
  cache = mkdtempSync(join(tmpdir(), 'qcowd-compiled-'));
  process.env['NODE_COMPILE_CACHE'] = cache;
});
after(() => {
  if (cache !== undefined) rmSync(cache, { recursive: true, force: true });
});

enginePoolContract(
  'qcow2, inline',
  async (settings) =>
    new InlinePool({
      ...settings,
      engine: qcow2Engine({ locks: 'qemu', cacheBytes: 64 * MiB }),
      clock: () => performance.now(),
    }),
);

enginePoolContract('qcow2, one thread', (settings) =>
  ThreadPool.start({ ...settings, threads: 1, entry: workerEntry, locks: 'qemu', cacheBytes: 64 * MiB }),
);
