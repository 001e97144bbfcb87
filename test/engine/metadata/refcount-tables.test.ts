// Counting host clusters: every width, the ends of what a width can count, and what broken tables do.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import { hostCluster, hostOffset } from '../../../src/engine/format/offsets.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
import { RefcountTables } from '../../../src/engine/metadata/refcount-tables.ts';
import { SliceCache } from '../../../src/engine/metadata/slice-cache.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { countsOf, fileBytes, newFile, partsOver } from '../../support/memory-parts.ts';

const widths = [1, 2, 4, 8, 16, 32, 64] as const;

function run(first: number, count: number): { first: ReturnType<typeof hostCluster>; count: number } {
  return { first: hostCluster(first), count };
}

function counts(parts: WriteParts, from: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => parts.refcounts.get(hostCluster(from + index)));
}

describe('refcounts', () => {
  for (const refcountBits of widths) {
    it(`of ${String(refcountBits)} bits go up and down by one, each for itself`, () => {
      const parts = partsOver(newFile({ refcountBits }), undefined);
      const { refcounts } = parts;
      const first = refcounts.nextFree(hostCluster(0));
      refcounts.raise(run(first, 5));
      assert.deepEqual(counts(parts, first - 1, 7), [1, 1, 1, 1, 1, 1, 0]);
      refcounts.lower(run(first + 1, 1));
      refcounts.lower(run(first + 3, 1));
      assert.deepEqual(counts(parts, first, 5), [1, 0, 1, 0, 1]);
      assert.equal(refcounts.nextFree(first), first + 1);
      assert.equal(refcounts.nextFree(hostCluster(first + 2)), first + 3);
      assert.equal(refcounts.nextFree(hostCluster(first + 4)), first + 5);
    });
  }

  for (const refcountBits of [1, 2, 4, 8] as const) {
    it(`of ${String(refcountBits)} bits overflow as a whole or not at all (REF-05, T46)`, () => {
      const parts = partsOver(newFile({ refcountBits }), undefined);
      const { refcounts } = parts;
      const first = refcounts.nextFree(hostCluster(0));
      const max = 2 ** refcountBits - 1;
      refcounts.raise(run(first, 3));
      for (let count = 1; count < max; count += 1) refcounts.raise(run(first + 2, 1));
      const code = faultCodeOf(() => {
        refcounts.raise(run(first, 3));
      });
      assert.equal(code, 'refcount-overflow');
      assert.deepEqual(counts(parts, first, 3), [1, 1, max]);
    });
  }

  it('do not go below zero, also where no block counts (REF-06)', () => {
    const { refcounts, geometry } = partsOver(newFile({}), undefined);
    const free = refcounts.nextFree(hostCluster(0));
    const far = hostCluster(geometry.refcountsPerBlock * 40);
    assert.equal(refcounts.get(far), 0);
    for (const first of [free, far]) {
      const code = faultCodeOf(() => {
        refcounts.lower({ first, count: 1 });
      });
      assert.equal(code, 'refcount-underflow');
    }
    assert.throws(() => {
      refcounts.raise({ first: far, count: 1 });
    }, BrokenAssertion);
  });

  it('make the lowest free cluster known when one is given back (T49)', () => {
    const { refcounts } = partsOver(newFile({}), undefined);
    const first = refcounts.nextFree(hostCluster(0));
    refcounts.raise(run(first, 9));
    refcounts.lowestFree = hostCluster(first + 9);
    refcounts.lower(run(first + 4, 1));
    refcounts.lower(run(first + 6, 1));
    assert.equal(refcounts.lowestFree, first + 4);
  });
});

describe('a refcount table entry', () => {
  const brokenEntries: readonly (readonly [string, bigint])[] = [
    ['not on a cluster', 0x1200n],
    ['with reserved bits', 0x2001n],
    ['beyond what a file can be', 0x0040_0000_0000_0000n],
  ];
  for (const [name, value] of brokenEntries) {
    it(`is refused: ${name}`, () => {
      const file = newFile({ clusterSize: 4096 });
      const tableAt = Number(new DataView(fileBytes(file).buffer).getBigUint64(48));
      const entry = new Uint8Array(8);
      new DataView(entry.buffer).setBigUint64(0, value);
      file.writeAt(hostOffset(tableAt), entry);
      const code = faultCodeOf(() => partsOver(file, undefined));
      assert.equal(code, 'refcount-entry-invalid');
    });
  }

  it('is refused when it names the block of another one', () => {
    const file = newFile({ clusterSize: 4096 });
    const bytes = fileBytes(file);
    const tableAt = Number(new DataView(bytes.buffer).getBigUint64(48));
    file.writeAt(hostOffset(tableAt + 8), bytes.slice(tableAt, tableAt + 8));
    assert.equal(
      faultCodeOf(() => partsOver(file, undefined)),
      'refcount-entry-invalid',
    );
    assert.ok(countsOf(file).corruptions > 0);
  });

  it('is entered once', () => {
    const { refcounts } = partsOver(newFile({}), undefined);
    assert.throws(() => {
      refcounts.setBlock(0, hostOffset(4096 * 9));
    }, BrokenAssertion);
    assert.throws(() => {
      refcounts.setBlock(refcounts.entryCount, hostOffset(4096 * 9));
    }, BrokenAssertion);
  });
});

describe('a refcount table that ends outside the file', () => {
  const clusterSize = 4096;
  /** LIM-02: 8 MiB. */
  const tableClusters = 2048;

  /** A table at 0x1000 over a file that ends with its first entry; `end` bytes after the start of the table. */
  function longest(end: number): { readonly refcounts: RefcountTables; readonly memory: MemoryFile } {
    const memory = MemoryFile.empty();
    memory.writeAt(hostOffset(clusterSize), Buffer.from('0000000000030000', 'hex').subarray(0, end));
    const geometry = geometryOf({ clusterBits: 12, extendedL2: false, refcountOrder: 4 });
    const cache = new SliceCache({
      file: memory,
      sliceLength: clusterSize,
      slicesMax: 4,
      beforeWrite: () => undefined,
    });
    const tableOffset = hostOffset(clusterSize);
    const parts = { file: memory, geometry, cache, sliceLength: clusterSize, tableOffset, tableClusters };
    return { refcounts: RefcountTables.read(parts), memory };
  }

  it('is empty there, and takes memory for what lies inside (FMT-14, T80)', () => {
    const before = process.memoryUsage().arrayBuffers;
    const { refcounts } = longest(8);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1024 ** 2, 'an eighth of the table');
    assert.deepEqual([refcounts.entryCount, refcounts.blockEnd], [tableClusters * 512, 1]);
    assert.deepEqual([refcounts.tableRun.first, refcounts.tableRun.count], [1, tableClusters]);
    assert.deepEqual(
      [0, 1, refcounts.entryCount - 1].map((index) => refcounts.hasBlock(index)),
      [true, false, false],
    );
    assert.equal(refcounts.blockOffset(0), 0x3_0000);
    assert.equal(refcounts.get(hostCluster(2048 * 7)), 0);
    assert.equal(longest(0).refcounts.blockEnd, 0);
  });

  it('takes new blocks and is written like any other', () => {
    const { refcounts, memory } = longest(8);
    refcounts.setBlock(1000, hostOffset(0x7000));
    refcounts.writeEntries();
    assert.equal(refcounts.blockOffset(1000), 0x7000);
    assert.equal(refcounts.blockEnd, 1001);
    const word = new Uint8Array(8);
    memory.readAt(hostOffset(clusterSize + 8000), word);
    assert.equal(Buffer.from(word).toString('hex'), '0000000000007000');
  });

  it('grows from all its entries', () => {
    const { refcounts } = longest(8);
    const grown = refcounts.grownTable(tableClusters + 1);
    assert.equal(grown.length, (tableClusters + 1) * clusterSize);
    assert.equal(Buffer.from(grown.subarray(0, 16)).toString('hex'), `0000000000030000${'0'.repeat(16)}`);
    assert.throws(() => refcounts.grownTable(tableClusters - 1), BrokenAssertion);
  });
});
