// The entry of an engine thread.

import { parentPort, workerData } from 'node:worker_threads';

import { present } from '../base/assert.ts';
import { serveEngine } from './engine-thread.ts';
import type { EngineThreadData } from './engine-thread.ts';
import { qcow2Engine } from './qcow2-engine.ts';

const data = workerData as EngineThreadData;

serveEngine({
  port: present(parentPort, 'this file runs in a worker thread'),
  engine: qcow2Engine(data),
  data,
  clock: () => performance.now(),
});
