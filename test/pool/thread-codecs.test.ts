import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';

import { Fault } from '../../src/base/fault.ts';
import { ThreadCodecs } from '../../src/pool/thread-codecs.ts';

const clusterSize = 4096;

function taskOf(value: number, count: number) {
  return {
    kind: 'pack',
    type: 0,
    clusterSize,
    dropsZeroes: false,
    bytes: new Uint8Array(count * clusterSize).fill(value),
  } as const;
}

/** The code of the fault, or undefined when there is none. */
async function faultOf(packed: Promise<unknown>): Promise<string | undefined> {
  try {
    await packed;
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('codec threads', { timeout: 60_000 }, () => {
  it('pack what they are given, each cluster for itself, in the buffer that came', async () => {
    const codecs = new ThreadCodecs({ threads: 2 });
    const packed = await Promise.all([1, 2, 3, 4, 5, 6].map((value) => codecs.perform(taskOf(value, value))));
    for (const [index, { bytes, lengths }] of packed.entries()) {
      assert.equal(lengths.length, index + 1);
      assert.equal(bytes.buffer.byteLength, (index + 1) * clusterSize);
      const first = inflateRawSync(bytes.subarray(0, lengths[0]));
      assert.deepEqual(Uint8Array.from(first), new Uint8Array(clusterSize).fill(index + 1));
    }
    await codecs.close();
  });

  it('fail what is under way when they are closed, and what comes after', async () => {
    const codecs = new ThreadCodecs({ threads: 1 });
    const under = Array.from({ length: 8 }, () => faultOf(codecs.perform(taskOf(1, 256))));
    await codecs.close();
    const faults = await Promise.all(under);
    assert.equal(faults.at(-1), 'engine-lost');
    await assert.rejects(codecs.perform(taskOf(1, 1)), { code: 'engine-lost' });
  });
});
