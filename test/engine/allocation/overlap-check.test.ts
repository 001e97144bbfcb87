// Which clusters belong to metadata, and who may write them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { OverlapCheck } from '../../../src/engine/allocation/overlap-check.ts';
import { hostCluster } from '../../../src/engine/format/offsets.ts';
import type { ClusterRun } from '../../../src/engine/metadata/refcount-tables.ts';
import { faultCodeOf } from '../../support/faults.ts';

const clusterSize = 512;

function run(first: number, count: number): ClusterRun {
  return { first: hostCluster(first), count };
}

function refusesData(overlap: OverlapCheck, offset: number, length: number): boolean {
  return (
    faultCodeOf(() => {
      overlap.admitData(offset, length);
    }) === 'metadata-overlap'
  );
}

describe('claimed clusters', () => {
  it('refuse data that touches a byte of them, and nothing else', () => {
    const overlap = new OverlapCheck(clusterSize);
    overlap.claim(run(28, 5));
    assert.equal(refusesData(overlap, 0, 28 * 512), false);
    assert.equal(refusesData(overlap, 28 * 512 - 1, 2), true);
    assert.equal(refusesData(overlap, 32 * 512 + 511, 1), true);
    assert.equal(refusesData(overlap, 33 * 512, 5000), false);
    for (let cluster = 0; cluster < 100; cluster += 1) {
      const isClaimed = cluster >= 28 && cluster < 33;
      assert.equal(refusesData(overlap, cluster * 512, 512), isClaimed, String(cluster));
      const code = faultCodeOf(() => {
        overlap.admitAllocation(run(cluster, 1));
      });
      assert.equal(code === 'metadata-overlap', isClaimed);
    }
  });

  it('are free again when they are released', () => {
    const overlap = new OverlapCheck(clusterSize);
    overlap.claim(run(28, 5));
    overlap.release(run(29, 2));
    assert.deepEqual(
      [28, 29, 30, 31, 32].map((cluster) => refusesData(overlap, cluster * 512, 1)),
      [true, false, false, true, true],
    );
  });

  it('may be written by their owner', () => {
    const overlap = new OverlapCheck(clusterSize);
    overlap.claim(run(28, 5));
    overlap.admitTable(29 * 512);
  });

  it('that two owners claim may be written by neither, also when one gives them up', () => {
    const overlap = new OverlapCheck(clusterSize);
    overlap.claim(run(28, 3));
    overlap.claim(run(30, 3));
    const isDisputed = (cluster: number): boolean =>
      faultCodeOf(() => {
        overlap.admitTable(cluster * 512);
      }) === 'metadata-overlap';
    assert.deepEqual([28, 29, 30, 31, 32].map(isDisputed), [false, false, true, false, false]);
    overlap.release(run(28, 3));
    assert.deepEqual([28, 29, 30].map(isDisputed), [false, false, true]);
    assert.equal(refusesData(overlap, 30 * 512, 1), true);
  });
});
