// The load generator, a process of its own: takes orders, one at a time, and answers with what came of them.

import { randomFillSync } from 'node:crypto';

import { MiB } from '../src/base/units.ts';
import { HttpLine } from './http-line.ts';
import type { LoadAnswer, LoadOrder, LoadResult } from './load-order.ts';

/** Bodies are sent in pieces of this length; it is no zeroes. */
const pieceLength = 1 * MiB;
const piece = randomFillSync(Buffer.allocUnsafe(pieceLength));

process.on('message', (order: LoadOrder) => {
  void perform(order).then((answer) => process.send?.(answer));
});

async function perform(order: LoadOrder): Promise<LoadAnswer> {
  try {
    const result = await load(order);
    return { kind: 'done', result };
  } catch (error) {
    return { kind: 'failed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

async function load(order: LoadOrder): Promise<LoadResult> {
  const lines = await Promise.all(Array.from({ length: order.connections }, () => HttpLine.open(order.port)));
  const latencies: number[] = [];
  const next = offsets(order);
  const startedAt = performance.now();
  try {
    await Promise.all(lines.map((line) => drive(line, { order, next, latencies })));
  } finally {
    for (const line of lines) line.close();
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const requests = latencies.length;
  latencies.sort((one, other) => one - other);
  return {
    requests,
    bytes: requests * order.rangeLength,
    seconds,
    p50Ms: latencies[Math.floor(requests * 0.5)] ?? Number.NaN,
    p99Ms: latencies[Math.floor(requests * 0.99)] ?? Number.NaN,
  };
}

/** One request after the other, until there is no offset left. */
async function drive(
  line: HttpLine,
  work: { readonly order: LoadOrder; readonly next: () => number | undefined; readonly latencies: number[] },
): Promise<void> {
  const { order, next, latencies } = work;
  const { method, rangeLength } = order;
  const expected = method === 'GET' ? { status: 206, length: rangeLength } : { status: 204, length: 0 };
  const lines = [`${method} ${order.path} HTTP/1.1`, `host: 127.0.0.1:${order.port}`, ...order.headers, ''];
  const start = lines.join('\r\n');
  for (let offset = next(); offset !== undefined; offset = next()) {
    const last = offset + rangeLength - 1;
    const head =
      method === 'GET'
        ? `${start}range: bytes=${offset}-${last}\r\n\r\n`
        : `${start}content-range: bytes ${offset}-${last}/*\r\ncontent-length: ${rangeLength}\r\n\r\n`;
    const sentAt = performance.now();
    const { status, length } = await line.ask(head, method === 'GET' ? [] : pieces(rangeLength));
    latencies.push(performance.now() - sentAt);
    if (status === expected.status && length === expected.length) continue;
    throw new Error(`${method} ${order.path} at ${offset}: status ${status}, ${length} bytes`);
  }
}

/** Where the next range starts, for all connections together. */
function offsets({ order, rangeLength, contentLength }: LoadOrder): () => number | undefined {
  if (order.kind === 'random') {
    const slots = Math.floor(contentLength / rangeLength);
    const endsAt = performance.now() + order.seconds * 1000;
    return () => (performance.now() < endsAt ? Math.floor(Math.random() * slots) * rangeLength : undefined);
  }
  let count = 0;
  return () => {
    if (count >= order.requests) return undefined;
    count += 1;
    return ((count - 1) * order.stride) % contentLength;
  };
}

function* pieces(length: number): Generator<Uint8Array> {
  for (let done = 0; done < length; done += pieceLength) {
    yield piece.subarray(0, Math.min(pieceLength, length - done));
  }
}
