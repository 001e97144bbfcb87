// Bytes that qemu-img 7.2 wrote, row by row of the golden vectors: decoded to the facts, encoded to the same bytes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { featureNames } from '../../../src/engine/format/features.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import { decodeExtensions, encodeExtensions, noExtensions } from '../../../src/engine/format/header-extensions.ts';
import { decodeHeader, encodeHeader } from '../../../src/engine/format/header.ts';
import { entryOffset, isOwned } from '../../../src/engine/format/l1-entry.ts';
import {
  decodeCompressed,
  encodeCompressed,
  standardKind,
  subclusterKind,
} from '../../../src/engine/format/l2-entry.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { readRefcount } from '../../../src/engine/format/refcount-block.ts';
import { decodeSnapshotEntry, encodeSnapshotEntry } from '../../../src/engine/format/snapshot-table.ts';
import { headerV2, headerV3 } from '../../support/header-values.ts';

const common = geometryOf({ clusterBits: 16, extendedL2: false, refcountOrder: 4 });

function bytesOfHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
}

/** The two halves of a 64-bit word given in hexadecimal. */
function halves(hex: string): readonly [number, number] {
  const view = viewOf(bytesOfHex(hex.padStart(16, '0')));
  return [view.getUint32(0), view.getUint32(4)];
}

function kindAndPlace(hex: string): readonly [string, number, boolean] {
  const [high, low] = halves(hex);
  return [standardKind(high, low, common), entryOffset(high, low), isOwned(high)];
}

const headerOfB01 = bytesOfHex(`
  514649fb 00000003 00000000 00000000 00000000 00000010 00000000 00100000
  00000000 00000001 00000000 00030000 00000000 00010000 00000001 00000000
  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000004 00000070 00000000 00000000`);

test('B01: the header of an empty image of version 3', () => {
  assert.deepEqual(decodeHeader(headerOfB01), headerV3);
  assert.deepEqual(encodeHeader(headerV3), headerOfB01);
});

test('B01: the same in version 2 ends after 72 bytes', () => {
  const bytes = headerOfB01.slice(0, 72);
  viewOf(bytes).setUint32(4, 2);
  assert.deepEqual(decodeHeader(bytes), headerV2);
  assert.deepEqual(encodeHeader(headerV2), bytes);
});

test('B01: the feature name table of 8 rows and 384 bytes at 0x70', () => {
  const bytes = encodeExtensions(noExtensions, { named: true });
  assert.deepEqual(bytes.subarray(0, 8), bytesOfHex('6803f857 00000180'));
  assert.deepEqual(bytes.subarray(8, 20), bytesOfHex('0000 64697274792062697400'));
  assert.equal(bytes.length, 8 + 0x180 + 8);
  assert.deepEqual(decodeExtensions(bytes, { start: 0, end: bytes.length }).featureNames, featureNames);
});

test('B02: the backing format before the feature names, and the name behind both', () => {
  const bytes = encodeExtensions({ ...noExtensions, backingFormat: 'qcow2' }, { named: true });
  assert.deepEqual(bytes.subarray(0, 24), bytesOfHex('e2792aca 00000005 71636f7732 000000 6803f857 00000180'));
  assert.equal(0x70 + bytes.length, 0x210);
});

test('B03, B04, B05, B06, B07, B09: standard entries', () => {
  assert.deepEqual(kindAndPlace('8000000000050000'), ['data', 0x50000, true]);
  assert.deepEqual(kindAndPlace('0000000000050000'), ['data', 0x50000, false]);
  assert.deepEqual(kindAndPlace('0000000000000001'), ['zero', 0, false]);
  assert.deepEqual(kindAndPlace('8000000000050001'), ['zero-placed', 0x50000, true]);
  assert.deepEqual(kindAndPlace('0000000000070001'), ['zero-placed', 0x70000, false]);
  assert.deepEqual(kindAndPlace('0'), ['unallocated', 0, false]);
});

test('B07: refcounts of 16 bits', () => {
  const view = viewOf(bytesOfHex('0001 0001 0001 0001 0002 0002 0002 0002 0001 0001 0000'));
  const counts = Array.from({ length: 11 }, (_, index) => readRefcount(view, 4, index));
  assert.deepEqual(counts, [1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 0]);
});

test('B08: the snapshot entry of 68 bytes', () => {
  const bytes = bytesOfHex(`
    0000000000080000 00000001 0001 0003 6553f100 00000000 0000000000000000 00000000 00000018
    0000000000000000 0000000000100000 0000000000000000 31 616263`);
  assert.equal(bytes.length, 68);
  const record = decodeSnapshotEntry(bytes);
  assert.equal(record.id, '1');
  assert.equal(record.name, 'abc');
  assert.equal(record.l1TableOffset, 0x80000);
  assert.equal(record.l1Entries, 1);
  assert.equal(record.virtualSize, 0x100000);
  assert.deepEqual(record.icount, { high: 0, low: 0 });
  assert.deepEqual(encodeSnapshotEntry(record, 0), bytes);
});

test('B11, B12, B13, B14: compressed descriptors', () => {
  const blobs: readonly (readonly [string, number, number, number])[] = [
    // entry, offset, true length, sectors to read
    ['4000000000050000', 0x50000, 79, 1],
    ['400000000005004f', 0x5004f, 79, 1],
    ['400000000005009e', 0x5009e, 79, 1],
    ['4000000000060000', 0x60000, 79, 1],
    ['5d40000000050000', 0x50000, 60_122, 118],
    ['5d4000000005eada', 0x5eada, 60_122, 118],
    ['5d8000000006d5b4', 0x6d5b4, 60_122, 119],
    ['4000000000050000', 0x50000, 20, 1],
  ];
  for (const [hex, offset, length, sectors] of blobs) {
    const [high, low] = halves(hex);
    assert.deepEqual(decodeCompressed(high, low, common), { offset, length: sectors * 512 - (offset % 512) });
    assert.deepEqual(encodeCompressed({ offset, length }, common), { high, low });
  }
});

test('B15, B16: extended entries', () => {
  const kinds = (entry: string, bitmap: string): string => {
    const [high, low] = halves(entry);
    const [zeroes, allocated] = halves(bitmap);
    const all = Array.from({ length: 32 }, (_, index) =>
      subclusterKind(high, low, { zeroes, allocated, index }, { ...common, extendedL2: true }),
    );
    return [...new Set(all)].join(' ');
  };
  assert.equal(kinds('0', 'ffffffff00000000'), 'zero');
  assert.equal(kinds('0', '0000000100000000'), 'zero unallocated');
  assert.equal(kinds('8000000000060000', 'ffffffff00000000'), 'zero-placed');
  assert.equal(kinds('8000000000050000', '0'), 'unallocated-placed');
  assert.equal(kinds('8000000000050000', '00000000ffffffff'), 'data');
});

test('B19, B20: headers of wide refcounts and of a large sparse disk', () => {
  const wide = {
    ...headerV3,
    clusterBits: 9,
    refcountOrder: 6,
    refcountTableOffset: hostOffset(8_423_936),
    refcountTableClusters: 7,
  };
  assert.deepEqual(decodeHeader(encodeHeader(wide)), wide);
  const sparse = { ...headerV3, clusterBits: 12, size: 100 * 2 ** 30, l1Entries: 51_200 };
  const bytes = encodeHeader(sparse);
  assert.deepEqual(bytes.subarray(24, 40), bytesOfHex('0000001900000000 00000000 0000c800'));
});
