import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { PiB, TiB } from '../../../src/base/units.ts';
import { geometryOf, l1EntriesFor } from '../../../src/engine/format/geometry.ts';
import { guestOffset, hostCluster, hostOffset } from '../../../src/engine/format/offsets.ts';

test('derives the numbers of appendix A for every cluster size, width and entry size (SUB-01, SUB-02, T24)', () => {
  for (let clusterBits = 9; clusterBits <= 21; clusterBits += 1) {
    for (let refcountOrder = 0; refcountOrder <= 6; refcountOrder += 1) {
      for (const extendedL2 of clusterBits >= 14 ? [false, true] : [false]) {
        const geometry = geometryOf({ clusterBits, extendedL2, refcountOrder });
        const l2Bits = clusterBits - (extendedL2 ? 4 : 3);
        assert.equal(geometry.clusterSize, 2 ** clusterBits);
        assert.equal(geometry.l2Entries, 2 ** l2Bits);
        assert.equal(geometry.l2Entries * geometry.l2EntrySize, geometry.clusterSize);
        assert.equal(geometry.l2Span, 2 ** (clusterBits + l2Bits));
        assert.equal(geometry.refcountsPerBlock, 2 ** (clusterBits - refcountOrder + 3));
        assert.equal(geometry.subclusterSize * geometry.subclustersPerCluster, geometry.clusterSize);
        assert.ok(geometry.subclusterSize >= 512);
        assert.equal(geometry.refcountMax, refcountOrder === 6 ? 2 ** 53 - 1 : 2 ** (2 ** refcountOrder) - 1);
      }
    }
  }
});

test('counts the L1 entries that a disk needs (FMT-07)', () => {
  const common = geometryOf({ clusterBits: 16, extendedL2: false, refcountOrder: 4 });
  const count = (virtualSize: number): number => l1EntriesFor(common, virtualSize);
  assert.deepEqual([0, 1, 2 ** 29, 2 ** 29 + 1, 2 * PiB].map(count), [0, 1, 1, 2, 4_194_304]);
  // Vector B20: clusters of 4 KiB, 100 GiB.
  const small = geometryOf({ clusterBits: 12, extendedL2: false, refcountOrder: 4 });
  assert.equal(l1EntriesFor(small, 100 * 2 ** 30), 51_200);
  const large = geometryOf({ clusterBits: 21, extendedL2: true, refcountOrder: 4 });
  assert.equal(l1EntriesFor(large, 8 * PiB), (8 * PiB) / (0.25 * TiB));
});

test('refuses what was not validated', () => {
  const sound = { clusterBits: 16, extendedL2: false, refcountOrder: 4 };
  for (const change of [{ clusterBits: 8 }, { clusterBits: 22 }, { refcountOrder: 7 }, { refcountOrder: -1 }]) {
    assert.throws(() => geometryOf({ ...sound, ...change }), BrokenAssertion);
  }
  assert.throws(() => geometryOf({ clusterBits: 13, extendedL2: true, refcountOrder: 4 }), BrokenAssertion);
});

test('makes positions of whole numbers in bounds only', () => {
  assert.equal(guestOffset(8 * PiB), 2 ** 53);
  for (const make of [guestOffset, hostOffset, hostCluster]) {
    assert.equal(make(0), 0);
    for (const wrong of [-1, 0.5, Number.NaN, 2 ** 54]) assert.throws(() => make(wrong), BrokenAssertion);
  }
  assert.throws(() => hostOffset(2 ** 53), BrokenAssertion);
});
