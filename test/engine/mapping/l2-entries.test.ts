// One L2 entry: its words in a slice, what it refers to, and what no entry may be.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { geometryOf } from '../../../src/engine/format/geometry.ts';
import type { Geometry } from '../../../src/engine/format/geometry.ts';
import {
  blobOf,
  emptyEntry,
  isOwnedPlace,
  judgeEntry,
  ownedEntry,
  placeOf,
  readEntry,
  sameEntry,
  writeEntry,
} from '../../../src/engine/mapping/l2-entries.ts';
import type { L2Entry } from '../../../src/engine/mapping/l2-entries.ts';
import { referencesOf } from '../../../src/engine/mapping/references.ts';
import { faultCodeOf } from '../../support/faults.ts';

const standard = geometryOf({ clusterBits: 16, extendedL2: false, refcountOrder: 4 });
const extended = geometryOf({ clusterBits: 16, extendedL2: true, refcountOrder: 4 });

/** An entry as stored: one or two words in hexadecimal. */
function entryOf(hex: string, bitmap = '0'.repeat(16)): L2Entry {
  const word = (text: string, from: number): number => Number.parseInt(text.slice(from, from + 8), 16);
  return { high: word(hex, 0), low: word(hex, 8), zeroes: word(bitmap, 0), allocated: word(bitmap, 8) };
}

describe('an entry in a slice', () => {
  it('is one big-endian word, or two, and leaves its neighbours alone (MAP-02, SUB-01)', () => {
    for (const [geometry, expected] of [
      [standard, 'eeeeeeeeeeeeeeee8000000000050001eeeeeeeeeeeeeeee'],
      [extended, `${'ee'.repeat(16)}80000000000500010123456789abcdef${'ee'.repeat(16)}`],
    ] as const) {
      const bytes = new Uint8Array(geometry.l2EntrySize * 3).fill(0xee);
      const view = new DataView(bytes.buffer);
      writeEntry(view, geometry, 1, entryOf('8000000000050001', '0123456789abcdef'));
      assert.equal(Buffer.from(bytes).toString('hex'), expected);
      const bitmap = geometry.extendedL2 ? '0123456789abcdef' : undefined;
      assert.deepEqual(readEntry(view, geometry, 1), entryOf('8000000000050001', bitmap));
    }
  });

  it('is the same only in all its words', () => {
    const entry = entryOf('8000000000050000', '0123456789abcdef');
    assert.equal(sameEntry(entry, { ...entry }), true);
    for (const word of ['high', 'low', 'zeroes', 'allocated'] as const) {
      assert.equal(sameEntry(entry, { ...entry, [word]: entry[word] + 1 }), false, word);
    }
  });
});

describe('the place of an entry', () => {
  it('is its host cluster, with the zero flag too, or none (MAP-03)', () => {
    assert.equal(placeOf(entryOf('8000000000050000'), standard), 0x5_0000);
    assert.equal(placeOf(entryOf('0000000000070001'), standard), 0x7_0000);
    assert.equal(placeOf(entryOf('0000000000000001'), standard), undefined);
    assert.equal(placeOf(emptyEntry, standard), undefined);
  });

  it('may be written in place only where it is there and used once (MAP-06)', () => {
    const owned = ['8000000000050000', '8000000000050001'];
    const not = ['0000000000050000', '0000000000000001', '8000000000000001', '4000000000050000', 'c000000000050000'];
    assert.deepEqual(
      [...owned, ...not].map((hex) => isOwnedPlace(entryOf(hex), standard)),
      [true, true, false, false, false, false, false],
    );
  });

  it('starts on a cluster and lies where a file can be', () => {
    const codes = ['8000000000050200', '0000000000058000', '00f0000000000000'].map((hex) =>
      faultCodeOf(() => placeOf(entryOf(hex), standard)),
    );
    assert.deepEqual(codes, ['l2-entry-invalid', 'l2-entry-invalid', 'host-offset-invalid']);
  });
});

describe('the blob of an entry', () => {
  it('is refused beyond its descriptor (CMP-08)', () => {
    assert.deepEqual(blobOf(entryOf('5d4000000005eada'), standard), { offset: 0x5_eada, length: 118 * 512 - 218 });
    assert.equal(
      faultCodeOf(() => blobOf(entryOf('7fffffffffffffff'), standard)),
      'host-offset-invalid',
    );
  });

  it('may name the header, which nothing unpacks from, so that a write can mend it', () => {
    assert.deepEqual(blobOf(entryOf('4000000000000000'), standard), { offset: 0, length: 512 });
  });
});

describe('what an entry refers to', () => {
  it('is one cluster, every cluster that its blob touches, or nothing (CMP-09)', () => {
    const found = [
      '8000000000050000',
      '0000000000070001',
      '0000000000000001',
      '5d40000000050000',
      '5d4000000005eada',
    ].map((hex) => referencesOf(entryOf(hex), { geometry: standard }));
    assert.deepEqual(found, [
      { first: 5, count: 1 },
      { first: 7, count: 1 },
      undefined,
      { first: 5, count: 1 },
      { first: 5, count: 2 },
    ]);
  });
});

describe('what no entry may be', () => {
  const judged = (geometry: Geometry, version: 2 | 3, entry: L2Entry): string | undefined =>
    faultCodeOf(() => {
      judgeEntry(entry, geometry, version);
    });

  it('is a zero cluster in version 2 (MAP-05)', () => {
    for (const hex of ['0000000000000001', '8000000000050001']) {
      assert.equal(judged(standard, 2, entryOf(hex)), 'l2-entry-invalid');
      assert.equal(judged(standard, 3, entryOf(hex)), undefined);
    }
    // In a compressed entry the lowest bit belongs to the offset.
    assert.equal(judged(standard, 2, entryOf('4000000000050001')), undefined);
  });

  it('is a subcluster that is both, or that is there without a place, whichever is asked for (SUB-04)', () => {
    const sound = [
      entryOf('8000000000050000', '00000000ffffffff'),
      entryOf('8000000000050000', 'fffffffe00000001'),
      entryOf('0000000000000000', 'ffffffff00000000'),
      entryOf('4000000000050000'),
    ];
    const broken = [
      entryOf('8000000000050000', '8000000080000000'),
      entryOf('8000000000050000', '0000000100000001'),
      entryOf('0000000000000000', '0000000000000001'),
      entryOf('0000000000000000', 'ffffffff80000000'),
    ];
    assert.deepEqual(
      sound.map((entry) => judged(extended, 3, entry)),
      sound.map(() => undefined),
    );
    assert.deepEqual(
      broken.map((entry) => judged(extended, 3, entry)),
      broken.map(() => 'l2-entry-invalid'),
    );
  });
});

it('an owned entry has the flag and the place, beyond 32 bits too', () => {
  const { high, low } = ownedEntry(0x123_4567_0000, { zeroes: 0, allocated: 0 });
  assert.deepEqual({ high, low }, { high: 0x8000_0123, low: 0x4567_0000 });
});
