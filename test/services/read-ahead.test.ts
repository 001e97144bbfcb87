import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { ReadAhead } from '../../src/services/read-ahead.ts';
import { inChunks } from '../../src/services/read-session.ts';

/** Reads that are counted; each gives bytes of its own offset. */
function countedReads(): {
  readonly read: (part: { offset: number; length: number }) => Promise<Uint8Array>;
  count: number;
} {
  const reads = {
    count: 0,
    read: async ({ offset, length }: { offset: number; length: number }) => {
      reads.count += 1;
      return Buffer.alloc(length, offset / MiB);
    },
  };
  return reads;
}

describe('chunks', () => {
  test('are read one ahead of who takes them', async () => {
    const reads = countedReads();
    const chunks = inChunks({ offset: 0, length: 3 * MiB }, { ...reads, ahead: new ReadAhead({ bytesMax: MiB }) });
    await chunks.next();
    assert.equal(reads.count, 2);
    await chunks.return(undefined);
  });

  test('are read only when asked for by those for whom there is nothing left', async () => {
    const ahead = new ReadAhead({ bytesMax: 2 * MiB });
    const readers = Array.from({ length: 4 }, () => {
      const reads = countedReads();
      return { reads, chunks: inChunks({ offset: 0, length: 3 * MiB }, { read: reads.read, ahead }) };
    });
    for (const { chunks } of readers) await chunks.next();
    assert.deepEqual(
      readers.map(({ reads }) => reads.count),
      [2, 2, 1, 1],
    );
    // The first one leaves: its share is the next one's.
    await readers[0]?.chunks.return(undefined);
    await readers[3]?.chunks.next();
    assert.deepEqual(
      readers.map(({ reads }) => reads.count),
      [2, 2, 1, 3],
    );
  });

  test('come whole and in order, with any share', async () => {
    for (const bytesMax of [0, 1 * MiB, 8 * MiB]) {
      const ahead = new ReadAhead({ bytesMax });
      const { read } = countedReads();
      const firsts: number[] = [];
      let length = 0;
      for await (const bytes of inChunks({ offset: 0, length: 2.5 * MiB }, { read, ahead })) {
        firsts.push(bytes[0] ?? -1);
        length += bytes.length;
      }
      assert.deepEqual([firsts, length], [[0, 1, 2], 2.5 * MiB]);
      assert.ok(ahead.take(bytesMax), 'everything was given back');
    }
  });

  test('give their share back when a read fails', async () => {
    const ahead = new ReadAhead({ bytesMax: MiB });
    const read = async ({ offset, length }: { offset: number; length: number }): Promise<Uint8Array> => {
      if (offset > 0) throw new Error('broken');
      return new Uint8Array(length);
    };
    const chunks = inChunks({ offset: 0, length: 3 * MiB }, { read, ahead });
    await chunks.next();
    await assert.rejects(async () => chunks.next(), /broken/);
    assert.ok(ahead.take(MiB));
  });
});
