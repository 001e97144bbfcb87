// What the guest finds: every kind of entry, how far it goes, and what is refused.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
import { writeEntry } from '../../../src/engine/mapping/l2-entries.ts';
import { lookup } from '../../../src/engine/mapping/lookup.ts';
import { ensureOwnTable } from '../../../src/engine/mapping/table-ownership.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { newFile, partsOver } from '../../support/memory-parts.ts';

const cluster = 16_384;
const owned = 0x8000_0000;

interface Words {
  readonly high: number;
  readonly low: number;
  readonly zeroes?: number;
  readonly allocated?: number;
}

/** Parts whose first L2 table has these entries. */
function withEntries(entries: readonly Words[], change: { extendedL2?: boolean; compat?: '0.10' }): WriteParts {
  const parts = partsOver(newFile({ virtualSize: cluster * 5000, clusterSize: cluster, ...change }), undefined);
  const table = ensureOwnTable(parts, 0);
  for (const [index, words] of entries.entries()) {
    const slice = parts.mapping.slice(table, index);
    const entry = { zeroes: 0, allocated: 0, ...words };
    writeEntry(slice.view, parts.geometry, index % parts.mapping.entriesPerSlice, entry);
  }
  return parts;
}

function find(parts: WriteParts, at: number, lengthMax = cluster * 10_000): Record<string, unknown> {
  return { ...lookup(parts, guestOffset(at), { lengthMax }) };
}

function place(index: number): number {
  return index * cluster;
}

describe('a lookup', () => {
  const parts = withEntries(
    [
      { high: owned, low: place(10) },
      { high: owned, low: place(11) },
      { high: 0, low: place(12) },
      { high: owned, low: place(14) },
      { high: 0, low: 1 },
      { high: 0, low: 1 },
      { high: owned, low: place(20) + 1 },
      { high: 0x4000_0000, low: place(30) + 100 },
      { high: 0, low: 0 },
    ],
    {},
  );

  it('joins data that lies in a row and is owned alike', () => {
    assert.deepEqual(find(parts, 0), { kind: 'data', length: cluster * 2, host: place(10), owned: true });
    assert.deepEqual(find(parts, 100, 7), { kind: 'data', length: 7, host: place(10) + 100, owned: true });
    assert.deepEqual(find(parts, cluster - 1), { kind: 'data', length: cluster + 1, host: place(11) - 1, owned: true });
    assert.deepEqual(find(parts, cluster * 2), { kind: 'data', length: cluster, host: place(12), owned: false });
    assert.deepEqual(find(parts, cluster * 3), { kind: 'data', length: cluster, host: place(14), owned: true });
  });

  it('tells zeroes with a place from those without', () => {
    assert.deepEqual(find(parts, cluster * 4), { kind: 'zero', length: cluster * 2, host: undefined });
    assert.deepEqual(find(parts, cluster * 6 + 5), { kind: 'zero', length: cluster - 5, host: place(20) + 5 });
  });

  it('gives compressed clusters one by one', () => {
    const found = find(parts, cluster * 7 + 3);
    assert.equal(found['kind'], 'compressed');
    assert.equal(found['length'], cluster - 3);
    assert.equal(found['host'], place(30) + 100);
  });

  it('ends with its slice of the table, and with the table (MAP-10, T21)', () => {
    const slice = parts.mapping.entriesPerSlice * cluster;
    assert.deepEqual(find(parts, cluster * 8), { kind: 'absent', length: slice - cluster * 8, host: undefined });
    assert.deepEqual(find(parts, slice + 1), { kind: 'absent', length: slice - 1, host: undefined });
    const { l2Span } = parts.geometry;
    assert.deepEqual(find(parts, l2Span + 5), { kind: 'absent', length: l2Span - 5, host: undefined });
  });

  it('faults where an entry is broken, and only there', () => {
    const broken = withEntries(
      [
        { high: owned, low: place(10) },
        { high: owned, low: place(11) + 512 },
        { high: owned | 0x00f0_0000, low: place(11) },
        { high: 0x7fff_ffff, low: 0xffff_ffff },
      ],
      {},
    );
    assert.equal(find(broken, 0)['length'], cluster);
    const codes = [1, 2, 3].map((index) => faultCodeOf(() => find(broken, cluster * index)));
    assert.deepEqual(codes, ['l2-entry-invalid', 'host-offset-invalid', 'host-offset-invalid']);
  });

  it('faults for a zero cluster in version 2', () => {
    const version2 = withEntries([{ high: owned, low: place(10) + 1 }], { compat: '0.10' });
    assert.equal(
      faultCodeOf(() => find(version2, 0)),
      'l2-entry-invalid',
    );
  });

  it('faults for an L1 entry that is not on a cluster', () => {
    const wrong = withEntries([], {});
    wrong.mapping.setL2Table(0, { offset: hostOffset(512), owned: true });
    assert.equal(
      faultCodeOf(() => find(wrong, 0)),
      'l1-entry-invalid',
    );
  });
});

describe('a lookup of subclusters', () => {
  const part = cluster / 32;
  const parts = withEntries(
    [
      { high: owned, low: place(10), allocated: 0b0111, zeroes: 0b1000 },
      { high: owned, low: place(11), allocated: 0xffff_ffff },
      { high: owned, low: place(12), allocated: 0x0000_ffff },
      { high: 0, low: 0, zeroes: 0xffff_ffff },
      { high: 0, low: 0, zeroes: 1 },
    ],
    { extendedL2: true },
  );

  it('joins them within and across clusters (SUB-03, SUB-10, T28)', () => {
    assert.deepEqual(find(parts, 0), { kind: 'data', length: part * 3, host: place(10), owned: true });
    assert.deepEqual(find(parts, part * 3), { kind: 'zero', length: part, host: place(10) + part * 3 });
    assert.deepEqual(find(parts, part * 4 + 1), {
      kind: 'absent',
      length: part * 28 - 1,
      host: place(10) + part * 4 + 1,
    });
    assert.deepEqual(find(parts, cluster), { kind: 'data', length: cluster + part * 16, host: place(11), owned: true });
    assert.deepEqual(find(parts, cluster * 3), { kind: 'zero', length: cluster + part, host: undefined });
  });

  it('faults for one that is allocated and zero, or allocated without a place', () => {
    for (const words of [
      { high: owned, low: place(10), allocated: 3, zeroes: 1 },
      { high: 0, low: 0, allocated: 1 },
    ]) {
      const broken = withEntries([words], { extendedL2: true });
      assert.equal(
        faultCodeOf(() => find(broken, 0)),
        'l2-entry-invalid',
      );
    }
  });
});
