// What every pool of the product's engine does with packed writes: the same, whoever packs and however fast.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import type { EnginePool } from '../../src/pool/engine-pool.ts';
import { bench, none, noRun } from '../support/pool-bench.ts';
import type { PoolSettings } from '../support/pool-bench.ts';
import { Prng } from '../support/prng.ts';

/** Clusters that shrink by very different parts, so that packing them takes different times. */
function pieceOf(seed: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length).fill(seed);
  const chance = new Prng(seed);
  for (let at = 0; at < length; at += 64 * KiB) bytes.set(chance.bytes(chance.below(64 * KiB)), at);
  return bytes;
}

export function packingContract(
  name: string,
  starts: {
    readonly inline: (settings: PoolSettings) => Promise<EnginePool>;
    readonly threads: (settings: PoolSettings) => Promise<EnginePool>;
  },
): void {
  const lengths = [1 * MiB, 2 * MiB, 64 * KiB, 4 * MiB, 1 * MiB];

  async function packAll(start: (settings: PoolSettings) => Promise<EnginePool>): Promise<Buffer> {
    await using at = await bench(start, {});
    await at.make('one', 16 * MiB);
    const handle = await at.open('one', { writable: true });
    let offset = 0;
    const writes = lengths.map((length, index) => {
      const bytes = pieceOf(index + 1, length);
      const write = handle.run('writeCompressed', { offset, bytes, detectZeroes: false }, noRun);
      offset += length;
      return write;
    });
    await Promise.all(writes);
    await handle.call('flush', {}, none);
    offset = 0;
    for (const [index, length] of lengths.entries()) {
      const part = Math.min(length, 1 * MiB);
      const { bytes } = await handle.call('read', { offset, length: part }, none);
      assert.equal(Buffer.compare(bytes, pieceOf(index + 1, length).subarray(0, part)), 0);
      offset += length;
    }
    handle.release();
    await at.pool.evict('one');
    return readFileSync(at.pathOf('one'));
  }

  describe(`${name}: packed writes`, { timeout: 60_000 }, () => {
    it('lie in the file in the order of the writes, whoever has packed them (OPS-23, LIM-10)', async () => {
      const here = await packAll(starts.inline);
      const threads = await packAll(starts.threads);
      assert.equal(Buffer.compare(here, threads), 0);
    });

    it('let reads pass, and end when they are not wanted any more', async () => {
      await using at = await bench(starts.threads, {});
      await at.make('one', 16 * MiB);
      const handle = await at.open('one', { writable: true });
      const abort = new AbortController();
      const control = { signal: abort.signal, onProgress: undefined };
      const args = { offset: 0, bytes: pieceOf(1, 4 * MiB), detectZeroes: false };
      const write = handle.run('writeCompressed', args, control);
      const order: string[] = [];
      const ended = write.catch((error: unknown) => error).finally(() => order.push('write'));
      await handle.call('read', { offset: 0, length: 1 }, none);
      order.push('read');
      abort.abort(new Error('not wanted'));
      assert.match(String(await ended), /not wanted/);
      assert.deepEqual(order, ['read', 'write']);
      assert.equal((await handle.run('check', {}, noRun)).clean, true);
    });

    it('are lost when nobody packs any more, and the image goes on', async () => {
      await using at = await bench(starts.threads, {});
      await at.make('one', 16 * MiB);
      const handle = await at.open('one', { writable: true });
      const args = { offset: 0, bytes: pieceOf(1, 4 * MiB), detectZeroes: false };
      const write = handle.run('writeCompressed', args, noRun);
      at.pool.stopPacking();
      await assert.rejects(write, { code: 'engine-lost' });
      assert.equal((await handle.run('check', {}, noRun)).clean, true);
    });
  });
}
