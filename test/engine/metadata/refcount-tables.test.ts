// Counting host clusters: every width, the ends of what a width can count, and what broken tables do.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { hostCluster, hostOffset } from '../../../src/engine/format/offsets.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
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
    it(`of ${String(refcountBits)} bits overflow as a whole or not at all`, () => {
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

  it('do not go below zero, also where no block counts', () => {
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

  it('make the lowest free cluster known when one is given back', () => {
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
