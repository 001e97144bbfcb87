import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bodyChunks, exactly, gatherAll, isOneChunk, whileWanted } from '../../src/services/body-chunks.ts';
import type { ChunkRule } from '../../src/services/body-chunks.ts';
import { Prng } from '../support/prng.ts';
import { bodyIn, gather } from '../support/service-house.ts';
import { faultOf } from '../support/service-faults.ts';

interface SeenChunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

async function chunksOf(body: AsyncIterable<Uint8Array>, rule: ChunkRule): Promise<readonly SeenChunk[]> {
  const seen: SeenChunk[] = [];
  for await (const { offset, bytes } of bodyChunks(body, rule)) seen.push({ offset, bytes: bytes.slice() });
  return seen;
}

test('chunks end on a boundary, all but the last one, and join to the body', async () => {
  const prng = new Prng(7);
  for (let round = 0; round < 200; round += 1) {
    const alignment = 2 ** prng.below(6);
    const lengthMax = alignment * (1 + prng.below(4));
    const length = prng.below(500);
    const offset = prng.below(100);
    const bytes = prng.bytes(length);
    const known = prng.chance(50) ? length : undefined;
    const rule = { offset, lengthMax, alignment, length: known };
    const chunks = await chunksOf(bodyIn(bytes, 1 + prng.below(120)), rule);

    assert.deepEqual(Buffer.concat(chunks.map((chunk) => chunk.bytes)), Buffer.from(bytes));
    let at = offset;
    for (const [index, chunk] of chunks.entries()) {
      assert.equal(chunk.offset, at);
      assert.ok(chunk.bytes.length > 0 && chunk.bytes.length <= lengthMax, 'a chunk is within its limit');
      at += chunk.bytes.length;
      if (index < chunks.length - 1) assert.equal(at % alignment, 0);
    }
  }
});

test('what is one chunk is known before it comes, and gathered at once it is the same', async () => {
  const prng = new Prng(8);
  const counts = { one: 0, more: 0 };
  for (let round = 0; round < 400; round += 1) {
    const alignment = 2 ** prng.below(6);
    const length = prng.below(100);
    const rule = { offset: prng.below(100), lengthMax: alignment * (1 + prng.below(4)), alignment, length };
    const bytes = prng.bytes(length);
    const chunks = await chunksOf(bodyIn(bytes, 1 + prng.below(120)), rule);
    assert.equal(isOneChunk(rule), chunks.length === 1);
    counts[chunks.length === 1 ? 'one' : 'more'] += 1;
    const whole = await gatherAll(bodyIn(bytes, 1 + prng.below(120)), length);
    assert.deepEqual(Buffer.from(whole), Buffer.from(bytes));
  }
  assert.ok(counts.one > 50 && counts.more > 50, JSON.stringify(counts));
});

test('a piece that is a whole chunk is not copied', async () => {
  const piece = new Uint8Array(64).fill(1);
  const rule = { offset: 0, lengthMax: 64, alignment: 8, length: 64 };
  for await (const { bytes } of bodyChunks(bodyIn(piece, 64), rule)) assert.equal(bytes.length, 64);
  const whole = new Uint8Array(32).fill(2);
  async function* once(): AsyncGenerator<Uint8Array> {
    yield whole;
  }
  for await (const { bytes } of bodyChunks(once(), { ...rule, length: 32 })) assert.equal(bytes.buffer, whole.buffer);
  assert.equal(await gatherAll(once(), 32), whole);
});

test('gathered chunks fill a buffer of their own, so that they can be given away', async () => {
  const rule = { offset: 0, lengthMax: 4096, alignment: 512, length: undefined };
  for await (const { bytes } of bodyChunks(bodyIn(new Uint8Array(8192).fill(3), 100), rule)) {
    assert.equal(bytes.byteLength, bytes.buffer.byteLength);
  }
});

test('a body that is too short or too long is refused', async () => {
  const body = (): AsyncIterable<Uint8Array> => bodyIn(new Uint8Array(10), 4);
  assert.equal((await gather(exactly(body(), 10))).length, 10);
  await assert.rejects(gather(exactly(body(), 11)), faultOf('content-range-mismatch', { expected: 11, received: 10 }));
  await assert.rejects(gather(exactly(body(), 9)), faultOf('content-range-mismatch', { expected: 9 }));
  await assert.rejects(gatherAll(body(), 11), faultOf('content-range-mismatch', { expected: 11, received: 10 }));
  await assert.rejects(gatherAll(body(), 4), faultOf('content-range-mismatch', { expected: 4 }));
  await assert.rejects(gatherAll(body(), 0), faultOf('content-range-mismatch', { expected: 0 }));
});

test('a body that nobody wants any more ends between two pieces', async () => {
  const wanted = new AbortController();
  const reason = new Error('gone');
  const seen: number[] = [];
  const read = async (): Promise<void> => {
    for await (const piece of whileWanted(bodyIn(new Uint8Array(10), 4), wanted.signal)) {
      seen.push(piece.length);
      wanted.abort(reason);
    }
  };
  await assert.rejects(read(), reason);
  assert.deepEqual(seen, [4]);
});
