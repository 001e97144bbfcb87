// The entry of a codec thread: does what it is sent, one task after the other.

import { parentPort } from 'node:worker_threads';

import { present } from '../base/assert.ts';
import { performTask } from '../engine/image.ts';
import type { CodecAnswer, CodecRequest } from './thread-codecs.ts';

const port = present(parentPort, 'this file runs in a worker thread');

port.on('message', ({ id, task }: CodecRequest) => {
  const result = performTask(task);
  const answer: CodecAnswer = { id, result };
  port.postMessage(answer, [result.bytes.buffer]);
});
