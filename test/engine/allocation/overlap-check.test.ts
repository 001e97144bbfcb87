// Which clusters belong to metadata, and who may write them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { OverlapCheck } from '../../../src/engine/allocation/overlap-check.ts';
import type { OverlapRules, OverlapTemplate } from '../../../src/engine/allocation/overlap-check.ts';
import { hostCluster, hostOffset } from '../../../src/engine/format/offsets.ts';
import type { ClusterRun } from '../../../src/engine/metadata/refcount-tables.ts';
import { faultCodeOf } from '../../support/faults.ts';

const clusterSize = 512;

function run(first: number, count: number): ClusterRun {
  return { first: hostCluster(first), count };
}

function checkOf(template: OverlapTemplate, inactive: () => readonly number[] = () => []): OverlapCheck {
  return new OverlapCheck({
    clusterSize,
    rules: { overlapCheck: template },
    inactiveTables: () => inactive().map(hostOffset),
  });
}

function refusesData(overlap: OverlapCheck, offset: number, length: number): boolean {
  return (
    faultCodeOf(() => {
      overlap.admitData(offset, length);
    }) === 'metadata-overlap'
  );
}

describe('claimed clusters', () => {
  it('refuse data that touches a byte of them, and nothing else (T51)', () => {
    const overlap = checkOf('cached');
    overlap.claim(run(28, 5), 'activeL1');
    assert.equal(refusesData(overlap, 0, 28 * 512), false);
    assert.equal(refusesData(overlap, 28 * 512 - 1, 2), true);
    assert.equal(refusesData(overlap, 32 * 512 + 511, 1), true);
    assert.equal(refusesData(overlap, 33 * 512, 5000), false);
    for (let cluster = 1; cluster < 100; cluster += 1) {
      const isClaimed = cluster >= 28 && cluster < 33;
      assert.equal(refusesData(overlap, cluster * 512, 512), isClaimed, String(cluster));
      const code = faultCodeOf(() => {
        overlap.admitAllocation(run(cluster, 1));
      });
      assert.equal(code === 'metadata-overlap', isClaimed);
    }
  });

  it('are free again when they are released', () => {
    const overlap = checkOf('cached');
    overlap.claim(run(28, 5), 'activeL1');
    overlap.release(run(29, 2), 'activeL1');
    assert.deepEqual(
      [28, 29, 30, 31, 32].map((cluster) => refusesData(overlap, cluster * 512, 1)),
      [true, false, false, true, true],
    );
  });

  it('may be written by their owner', () => {
    const overlap = checkOf('cached');
    overlap.claim(run(28, 5), 'activeL1');
    overlap.admitTable(29 * 512);
  });

  it('that two owners claim may be written by neither, also when one gives them up', () => {
    const overlap = checkOf('cached');
    overlap.claim(run(28, 3), 'activeL1');
    overlap.claim(run(30, 3), 'activeL1');
    const isDisputed = (cluster: number): boolean =>
      faultCodeOf(() => {
        overlap.admitTable(cluster * 512);
      }) === 'metadata-overlap';
    assert.deepEqual([28, 29, 30, 31, 32].map(isDisputed), [false, false, true, false, false]);
    overlap.release(run(28, 3), 'activeL1');
    assert.deepEqual([28, 29, 30].map(isDisputed), [false, false, true]);
    assert.equal(refusesData(overlap, 30 * 512, 1), true);
  });
});

describe('a template', () => {
  const templates: readonly OverlapTemplate[] = ['none', 'constant', 'cached', 'all'];

  it('says which tables are guarded, also against each other', () => {
    const found = templates.map((template) => {
      const overlap = checkOf(template, () => [30 * 512]);
      overlap.claim(run(10, 2), 'activeL1');
      overlap.claim(run(20, 2), 'refcountBlock');
      overlap.claim(run(11, 1), 'refcountBlock');
      const isDisputed = faultCodeOf(() => overlap.admitTable(11 * 512)) !== undefined;
      overlap.release(run(20, 1), 'refcountBlock');
      return [...[10, 20, 21, 30].map((cluster) => refusesData(overlap, cluster * 512, 1)), isDisputed];
    });
    assert.deepEqual(found, [
      [false, false, false, false, false],
      [true, false, false, false, false],
      [true, false, true, false, true],
      [true, false, true, true, true],
    ]);
  });

  it('gives way to what is said of an area by itself (OPT-11)', () => {
    const refused = (rules: OverlapRules): readonly boolean[] => {
      const overlap = new OverlapCheck({ clusterSize, rules, inactiveTables: () => [hostOffset(30 * 512)] });
      overlap.claim(run(10, 1), 'activeL1');
      overlap.claim(run(11, 1), 'snapshotTable');
      overlap.claim(run(20, 1), 'refcountBlock');
      return [10, 11, 20, 30].map((cluster) => refusesData(overlap, cluster * 512, 1));
    };
    const overlapAreas = { activeL1: false, snapshotTable: true, inactiveL2: true };
    assert.deepEqual(refused({ overlapAreas }), [false, true, true, true]);
    assert.deepEqual(refused({ overlapCheck: 'none', overlapAreas }), [false, true, false, true]);
    assert.deepEqual(refused({ overlapCheck: 'all', overlapAreas: { inactiveL2: false } }), [true, true, true, false]);
    assert.deepEqual(refused({}), [true, true, true, false]);
  });

  it('never lets the header be handed out (MAP-09)', () => {
    for (const template of templates) {
      assert.equal(
        faultCodeOf(() => checkOf(template).admitAllocation(run(0, 1))),
        'metadata-overlap',
      );
    }
  });

  it('reads the tables of snapshots once, and again when the snapshots are others', () => {
    let reads = 0;
    let tables = [30 * 512];
    const overlap = checkOf('all', () => {
      reads += 1;
      return tables;
    });
    assert.equal(refusesData(overlap, 30 * 512, 1), true);
    assert.equal(
      faultCodeOf(() => overlap.admitActiveTable(30 * 512)),
      'metadata-overlap',
    );
    overlap.admitTable(30 * 512);
    tables = [31 * 512];
    assert.equal(refusesData(overlap, 31 * 512, 1), false);
    assert.equal(reads, 1);
    overlap.snapshotsChanged();
    assert.equal(refusesData(overlap, 31 * 512, 1), true);
    assert.equal(refusesData(overlap, 30 * 512, 1), false);
    assert.equal(reads, 2);
  });
});
