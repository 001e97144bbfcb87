// Growing what counts clusters: new blocks and tables count themselves, whatever the width, up to the format's limit.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import type { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostCluster, hostOffset } from '../../../src/engine/format/offsets.ts';
import { refcountTableLengthMax } from '../../../src/engine/format/header.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { countsOf, newFile, partsOver } from '../../support/memory-parts.ts';

/** The file reaches as far as its blocks count: a check looks at what lies inside the file. */
function reachOut(parts: WriteParts): void {
  const { refcounts, geometry, file } = parts;
  const end = refcounts.blockEnd * geometry.refcountsPerBlock * geometry.clusterSize;
  if (file.size < end) file.resize(end);
}

/** Every cluster that was allocated is a leak to a check, which knows of no other trouble. */
function assertCounts(file: MemoryFile | FaultyFile, parts: WriteParts, allocated: number): void {
  parts.order.settle();
  reachOut(parts);
  assert.deepEqual(countsOf(file), { corruptions: 0, leaks: allocated });
}

describe('growing refcounts', () => {
  for (const refcountBits of [1, 2, 4, 8, 16, 32, 64] as const) {
    it(`leaves exact counts (REF-09, T43, T44) with 512-byte clusters and ${String(refcountBits)} bits`, () => {
      const file = newFile({ clusterSize: 512, refcountBits });
      const parts = partsOver(file, undefined);
      const before = parts.refcounts.tableRun;
      let allocated = 0;
      // One by one, and in rows that cross what one block, and then what the whole table, can count.
      const { refcountsPerBlock } = parts.geometry;
      for (let count = 0; count < refcountsPerBlock + 5; count += 1) {
        parts.allocator.allocateUpTo(1);
        allocated += 1;
      }
      const step = Math.max(1, Math.floor(refcountsPerBlock / 3));
      while (parts.refcounts.tableRun.first === before.first) {
        allocated += parts.allocator.allocateUpTo(step).count;
      }
      for (const count of [1, refcountsPerBlock, refcountsPerBlock * 5 + 3]) {
        parts.allocator.allocateRun(count);
        allocated += count;
      }
      assert.ok(parts.refcounts.tableRun.count > before.count);
      assertCounts(file, parts, allocated);
    });
  }

  it('makes one large row and the counts of it at once', () => {
    const file = newFile({ clusterSize: 512, refcountBits: 64 });
    const parts = partsOver(file, undefined);
    const run = parts.allocator.allocateRun(20_000);
    assert.equal(run.count, 20_000);
    assert.ok(parts.refcounts.tableRun.count >= 5);
    assertCounts(file, parts, 20_000);
  });

  it('gives the old table back after a flush (REF-09)', () => {
    const file = newFile({ clusterSize: 512, refcountBits: 64 });
    const parts = partsOver(file, undefined);
    const before = parts.refcounts.tableRun;
    parts.allocator.allocateRun(8_000);
    assert.equal(parts.refcounts.get(before.first), 1, 'nobody gets it before the header is durable');
    parts.order.flush();
    assert.equal(parts.refcounts.get(before.first), 0);
    assert.equal(parts.allocator.allocateUpTo(1).first, before.first);
  });

  it('adds one block where the table has a hole (REF-08, T43)', () => {
    const file = newFile({ clusterSize: 512, refcountBits: 64 });
    const parts = partsOver(file, undefined);
    const { refcountsPerBlock, clusterSize } = parts.geometry;
    // The block of the third range lies under the second one: the second block's own range is a hole afterwards.
    const start = refcountsPerBlock * 2;
    const first = parts.refcounts.nextFree(hostCluster(0));
    parts.refcounts.raise({ first, count: 1 });
    file.writeAt(hostOffset(first * clusterSize), new Uint8Array(clusterSize));
    parts.refcounts.setBlock(2, hostOffset(first * clusterSize));
    parts.overlap.claim({ first, count: 1 }, 'refcountBlock');
    parts.order.settle();
    parts.allocator.allocateRun(refcountsPerBlock - first - 1);
    const run = parts.allocator.allocateUpTo(1);
    assert.equal(run.first, refcountsPerBlock + 1, 'the new block took the first cluster of its own range');
    assert.equal(parts.refcounts.get(hostCluster(start)), 0);
    assertCounts(file, parts, refcountsPerBlock - first);
  });

  it('ends with image-full at the limit of the table, and goes on with what is free (REF-10, LIM-02)', () => {
    const file = newFile({ clusterSize: 512, refcountBits: 64 });
    const parts = partsOver(file, undefined);
    const { refcountsPerBlock } = parts.geometry;
    const clustersMax = (refcountTableLengthMax / 8) * refcountsPerBlock;
    assert.equal(
      faultCodeOf(() => parts.allocator.allocateRun(clustersMax)),
      'image-full',
    );
    const run = parts.allocator.allocateUpTo(2);
    assert.equal(run.count, 2);
    assertCounts(file, parts, 2);
  });

  it('ends with image-full where host offsets would reach 2^53 (REF-07, LIM-06)', () => {
    const file = newFile({ clusterSize: 2 * 1024 * 1024, refcountBits: 64, virtualSize: 1024 });
    const parts = partsOver(file, undefined);
    const { refcountsPerBlock, clusterSize } = parts.geometry;
    // As many as fill one cluster of the table.
    const grown = (clusterSize / 8) * refcountsPerBlock;
    assert.equal(
      faultCodeOf(() => parts.allocator.allocateRun(grown)),
      'image-full',
      'host offsets end below 2^53',
    );
    assert.deepEqual(parts.refcounts.tableRun.count, 1);
  });

  for (const call of ['write', 'flush'] as const) {
    it(`leaves at most leaks, and counts that go on, when a ${call} fails`, () => {
      for (let after = 0; after < 12; after += 1) {
        const file = new FaultyFile(newFile({ clusterSize: 512, refcountBits: 64 }), {
          observer: undefined,
          ignoresFlush: () => false,
        });
        const parts = partsOver(file, undefined);
        file.failLater({ call, after, fault: new Fault('insufficient-storage', {}) });
        let allocated = 0;
        const attempt = (count: number): boolean => {
          const code = faultCodeOf(() => {
            allocated += parts.allocator.allocateRun(count).count;
            parts.order.flush();
          });
          return code === undefined;
        };
        for (const count of [10, 70, 500, 9_000]) attempt(count);
        file.takeFailureBack();
        if (call === 'flush') {
          // After a failed flush the file takes no more changes; what it holds is sound.
          assert.equal(countsOf(file.content).corruptions, 0, `flush ${String(after)}`);
          continue;
        }
        assert.ok(attempt(5));
        parts.order.settle();
        reachOut(parts);
        assert.equal(countsOf(file).corruptions, 0, `write ${String(after)}`);
        assert.ok(countsOf(file).leaks >= allocated);
      }
    });
  }
});
