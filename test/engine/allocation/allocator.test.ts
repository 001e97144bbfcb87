// Handing out host clusters: the lowest free ones, in rows, and back again.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { hostCluster } from '../../../src/engine/format/offsets.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { newFile, partsOver } from '../../support/memory-parts.ts';

/** Parts whose free clusters start at `start`; the first `used` of them are taken. */
function open(used: number): { readonly parts: WriteParts; readonly start: number } {
  const parts = partsOver(newFile({}), undefined);
  const start = parts.refcounts.nextFree(hostCluster(0));
  if (used > 0) parts.allocator.allocateRun(used);
  return { parts, start };
}

function free(parts: WriteParts, ...clusters: readonly number[]): void {
  for (const cluster of clusters) parts.allocator.undo({ first: hostCluster(cluster), count: 1 });
}

describe('the allocator', () => {
  it('gives the lowest free clusters, one after the other (REF-07)', () => {
    const { parts, start } = open(0);
    assert.deepEqual(parts.allocator.allocateUpTo(3), { first: start, count: 3 });
    assert.deepEqual(parts.allocator.allocateUpTo(1), { first: start + 3, count: 1 });
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((index) => parts.refcounts.get(hostCluster(start + index))),
      [1, 1, 1, 1, 0],
    );
  });

  it('fills a gap with as much as it holds', () => {
    const { parts, start } = open(10);
    free(parts, start + 2, start + 3, start + 6);
    assert.deepEqual(parts.allocator.allocateUpTo(5), { first: start + 2, count: 2 });
    assert.deepEqual(parts.allocator.allocateUpTo(5), { first: start + 6, count: 1 });
    assert.deepEqual(parts.allocator.allocateUpTo(5), { first: start + 10, count: 5 });
  });

  it('passes gaps that are too short for a row, and finds them again', () => {
    const { parts, start } = open(10);
    free(parts, start + 2, start + 3, start + 6);
    assert.deepEqual(parts.allocator.allocateRun(3), { first: start + 10, count: 3 });
    assert.deepEqual(parts.allocator.allocateRun(2), { first: start + 2, count: 2 });
    assert.deepEqual(parts.allocator.allocateRun(1), { first: start + 6, count: 1 });
  });

  it('gives a row across the ends of what one block counts (REF-08, T42)', () => {
    const { parts, start } = open(0);
    const { refcountsPerBlock } = parts.geometry;
    parts.allocator.allocateRun(refcountsPerBlock - start - 3);
    // Three are left under the first block; the new block that is needed takes the first cluster behind them.
    const run = parts.allocator.allocateRun(10);
    assert.deepEqual(run, { first: refcountsPerBlock + 1, count: 10 });
    const rest = parts.allocator.allocateUpTo(10);
    assert.deepEqual(rest, { first: refcountsPerBlock - 3, count: 3 });
    const long = parts.allocator.allocateRun(refcountsPerBlock * 3);
    assert.equal(long.count, refcountsPerBlock * 3);
    for (const index of [0, refcountsPerBlock, refcountsPerBlock * 3 - 1]) {
      assert.equal(parts.refcounts.get(hostCluster(long.first + index)), 1);
    }
  });

  it('shares what is in use, and refuses a count too many without changing any (REF-05, T46)', () => {
    const parts = partsOver(newFile({ refcountBits: 2 }), undefined);
    const run = parts.allocator.allocateRun(2);
    parts.allocator.share(run);
    parts.allocator.share({ first: hostCluster(run.first + 1), count: 1 });
    const code = faultCodeOf(() => {
      parts.allocator.share(run);
    });
    assert.equal(code, 'refcount-overflow');
    assert.equal(parts.refcounts.get(run.first), 2);
    assert.equal(parts.refcounts.get(hostCluster(run.first + 1)), 3);
  });

  it('does not hand out a table that nobody counts (T51)', () => {
    const { parts, start } = open(0);
    parts.overlap.claim({ first: hostCluster(start + 1), count: 1 }, 'activeL1');
    assert.equal(
      faultCodeOf(() => parts.allocator.allocateRun(2)),
      'metadata-overlap',
    );
    assert.equal(parts.refcounts.get(hostCluster(start)), 0);
  });
});
