// The contract suite over the engine of the product, here and on threads.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';
import { ThreadPool, workerEntry } from '../../src/pool/thread-pool.ts';
import type { EnginePool } from '../../src/pool/engine-pool.ts';
import { packingContract } from '../contracts/pool-packing.ts';
import type { PoolSettings } from '../support/pool-bench.ts';
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

const startInline = async (settings: PoolSettings): Promise<EnginePool> =>
  new InlinePool({
    ...settings,
    engine: qcow2Engine({ locks: 'qemu', hostCopies: false, cacheBytes: 64 * MiB }),
    clock: () => performance.now(),
  });
const startThread = (settings: PoolSettings): Promise<EnginePool> =>
  ThreadPool.start({
    ...settings,
    threads: 1,
    entry: workerEntry,
    locks: 'qemu',
    hostCopies: false,
    cacheBytes: 64 * MiB,
    codecThreads: 2,
  });

enginePoolContract('qcow2, inline', startInline);
enginePoolContract('qcow2, one thread', startThread);
packingContract('qcow2', { inline: startInline, threads: startThread });
