// The entry of an engine thread that runs the small engine of the pool's tests.

import { parentPort, workerData } from 'node:worker_threads';

import { present } from '../../src/base/assert.ts';
import { serveEngine } from '../../src/pool/engine-thread.ts';
import type { EngineThreadData } from '../../src/pool/engine-thread.ts';
import { memoryEngine } from './memory-image.ts';

serveEngine({
  port: present(parentPort, 'this file runs in a worker thread'),
  engine: memoryEngine,
  data: workerData as EngineThreadData,
  clock: () => performance.now(),
});
