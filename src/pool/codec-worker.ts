// The entry of a codec thread: packs what it is sent, one task after the other.

import { parentPort } from 'node:worker_threads';

import { present } from '../base/assert.ts';
import { packClusters } from '../engine/image.ts';
import type { CodecAnswer, CodecRequest } from './thread-codecs.ts';

const port = present(parentPort, 'this file runs in a worker thread');

port.on('message', ({ id, task }: CodecRequest) => {
  const packed = packClusters(task);
  const answer: CodecAnswer = { id, packed };
  port.postMessage(answer, [packed.bytes.buffer]);
});
