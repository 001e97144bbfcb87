// The entry of an engine thread.

import { parentPort, workerData } from 'node:worker_threads';

import { present } from '../base/assert.ts';
import { serveEngine } from './engine-thread.ts';
import type { EngineThreadData } from './engine-thread.ts';
import { qcow2Engine } from './qcow2-engine.ts';

serveEngine({
  port: present(parentPort, 'this file runs in a worker thread'),
  engine: qcow2Engine,
  data: workerData as EngineThreadData,
  clock: () => performance.now(),
});
