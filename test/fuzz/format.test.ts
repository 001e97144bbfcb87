// Every decoder over random and mutated bytes: a value or a fault, nothing else. FC_SEED=… replays a run.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';

import fc from 'fast-check';

import { Fault } from '../../src/base/fault.ts';
import { decodeBitmapDirectory, encodeBitmapDirectory } from '../../src/engine/format/bitmap-directory.ts';
import { decodeBitmapTable, encodeBitmapTable } from '../../src/engine/format/bitmap-table.ts';
import { viewOf } from '../../src/engine/format/big-endian.ts';
import { geometryOf } from '../../src/engine/format/geometry.ts';
import { decodeExtensions, encodeExtensions, judgeExtensions } from '../../src/engine/format/header-extensions.ts';
import { decodeLuksHeader, encodeLuksHeader } from '../../src/engine/format/luks-header.ts';
import { decodeHeader, encodeHeader, headerGeometry, judgeTables } from '../../src/engine/format/header.ts';
import { entryOffset } from '../../src/engine/format/l1-entry.ts';
import {
  compressedOffsetMax,
  decodeCompressed,
  encodeCompressed,
  standardKind,
  subclusterKind,
} from '../../src/engine/format/l2-entry.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { readRefcount, writeRefcount } from '../../src/engine/format/refcount-block.ts';
import { refcountBlockOffset } from '../../src/engine/format/refcount-table-entry.ts';
import {
  decodeSnapshotEntry,
  encodeSnapshotEntry,
  snapshotEntryLength,
} from '../../src/engine/format/snapshot-table.ts';
import { fuzzSeed } from '../support/fuzz-seed.ts';
import { headerV2, headerV3 } from '../support/header-values.ts';
import { luksAreaLength, luksHeaderOfQemu } from '../support/luks-values.ts';

const runs = 3000;

/** Runs the decoder; a fault is an answer, everything else that is thrown ends the test. */
function valueOrFault<Value>(decode: () => Value): Value | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Fault) return undefined;
    throw error;
  }
}

function check<Values extends [unknown, ...unknown[]]>(context: TestContext, property: fc.IProperty<Values>): void {
  const seed = fuzzSeed();
  context.diagnostic(`FC_SEED=${seed}`);
  fc.assert(property, { seed, numRuns: runs });
}

/** The bytes with a few of them overwritten, and perhaps cut. */
function mutated(valid: Uint8Array): fc.Arbitrary<Uint8Array> {
  const patch = fc.tuple(fc.nat(valid.length - 1), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x10, 0x45));
  return fc.tuple(fc.array(patch, { maxLength: 6 }), fc.option(fc.nat(valid.length))).map(([patches, cut]) => {
    const bytes = Uint8Array.from(valid);
    for (const [at, value] of patches) bytes[at] = value;
    return bytes.subarray(0, cut ?? bytes.length);
  });
}

/** Random bytes behind a valid magic and version, so that the decoder gets past them. */
const randomHeader = fc.tuple(
  fc.uint8Array({ maxLength: 200 }),
  fc.constantFrom(2, 3),
  fc.integer({ min: 8, max: 22 }),
);

const half = fc.integer({ min: 0, max: 0xffff_ffff });
const anyGeometry = fc
  .record({ clusterBits: fc.integer({ min: 9, max: 21 }), extendedL2: fc.boolean(), refcountOrder: fc.nat(6) })
  .map((choice) => geometryOf({ ...choice, extendedL2: choice.extendedL2 && choice.clusterBits >= 14 }));

test('a header is decoded and judged, or refused', (context) => {
  const validOnes = [headerV2, headerV3, { ...headerV3, length: 104 }, { ...headerV3, clusterBits: 9 }].map(
    encodeHeader,
  );
  const spliced = randomHeader.map(([bytes, version, clusterBits]) => {
    const header = new Uint8Array(Math.max(24, bytes.length));
    header.set(bytes);
    viewOf(header).setUint32(0, 0x5146_49fb);
    viewOf(header).setUint32(4, version);
    viewOf(header).setUint32(20, clusterBits);
    return header;
  });
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), spliced, ...validOnes.map(mutated));
  check(
    context,
    fc.property(bytes, fc.boolean(), (given, forCheck) => {
      const header = valueOrFault(() => decodeHeader(given));
      if (header === undefined) return;
      const again = encodeHeader(header);
      assert.deepEqual(decodeHeader(again), header);
      valueOrFault(() => {
        judgeTables(header, headerGeometry(header), { forCheck });
      });
    }),
  );
});

test('header extensions are decoded and judged, or refused', (context) => {
  const valid = encodeExtensions(
    {
      backingFormat: 'qcow2',
      featureNames: [],
      bitmaps: { count: 1, reserved: 0, directoryLength: 32, directoryOffset: hostOffset(0x50000) },
      encryption: { offset: hostOffset(0x40000), length: 592 },
      dataFileName: 'data.raw',
      unknown: [{ type: 0x1234_5678, data: Uint8Array.from([1, 2, 3]) }],
    },
    { named: true },
  );
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 600 }), mutated(valid));
  check(
    context,
    fc.property(bytes, fc.boolean(), fc.boolean(), (given, bitmapsConsistent, luks) => {
      const extensions = valueOrFault(() => decodeExtensions(given, { start: 0, end: given.length }));
      if (extensions === undefined) return;
      valueOrFault(() => {
        judgeExtensions(extensions, { clusterSize: 65_536, bitmapsConsistent, luks });
      });
    }),
  );
});

test('a snapshot entry is decoded, or refused; what was decoded is encoded again', (context) => {
  const valid = new Uint8Array(40 + 24 + 4);
  viewOf(valid).setUint16(12, 1);
  viewOf(valid).setUint16(14, 3);
  viewOf(valid).setUint32(36, 24);
  const bytes = fc.oneof(fc.uint8Array({ minLength: 40, maxLength: 3000 }), mutated(valid));
  check(
    context,
    fc.property(bytes, (given) => {
      // Whoever reads the table sees that an entry is whole before it is decoded.
      if (given.length < 40) return;
      const length = snapshotEntryLength(viewOf(given), 0);
      if (length > 200_000) return;
      const entry = new Uint8Array(length);
      entry.set(given.subarray(0, length));
      const record = valueOrFault(() => decodeSnapshotEntry(entry));
      if (record === undefined || record.unknownExtra.length > 1000) return;
      const again = decodeSnapshotEntry(encodeSnapshotEntry(record, 0));
      assert.deepEqual(again.nameBytes, record.nameBytes);
      assert.equal(again.vmStateSize, record.vmStateSize);
    }),
  );
});

test('a bitmap directory is decoded, or refused', (context) => {
  const valid = new Uint8Array(64);
  for (const at of [0, 32]) {
    viewOf(valid).setBigUint64(at, 0x50000n);
    valid.set([1, 16, 0, 8], at + 16);
  }
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated(valid));
  check(
    context,
    fc.property(bytes, fc.integer({ min: 0, max: 70_000 }), fc.boolean(), (given, count, few) => {
      const records = valueOrFault(() => decodeBitmapDirectory(given, few ? count % 3 : count));
      if (records === undefined) return;
      assert.ok(records.every((record) => record.entryAt < given.length));
      assert.deepEqual(decodeBitmapDirectory(encodeBitmapDirectory(records), records.length), records);
    }),
  );
});

test('a bitmap table is decoded, and reads back what is written, or is refused', (context) => {
  const valid = new Uint8Array(24);
  viewOf(valid).setBigUint64(0, 0x50000n);
  viewOf(valid).setBigUint64(8, 1n);
  const bytes = fc.oneof(mutated(valid), fc.uint8Array({ minLength: 16, maxLength: 16 }));
  check(
    context,
    fc.property(bytes, fc.integer({ min: 9, max: 21 }), (given, clusterBits) => {
      const whole = given.subarray(0, given.length - (given.length % 8));
      const entries = decodeBitmapTable(whole, 2 ** clusterBits);
      if (entries === undefined) return;
      assert.equal(Buffer.compare(encodeBitmapTable(entries), whole), 0);
    }),
  );
});

test('entries of all tables have an answer for every 128 bits', (context) => {
  check(
    context,
    fc.property(anyGeometry, half, half, half, half, fc.nat(31), (geometry, high, low, zeroes, allocated, index) => {
      assert.equal(entryOffset(high, low) % 512, 0);
      assert.ok(entryOffset(high, low) < 2 ** 56);
      assert.ok(refcountBlockOffset(high, low) <= 2 ** 64);
      assert.notEqual(standardKind(high, low, geometry), 'invalid');
      assert.ok(subclusterKind(high, low, { zeroes, allocated, index }, geometry).length > 0);
      const blob = decodeCompressed(high, low, geometry);
      assert.ok(blob.length >= 1 && blob.length <= 2 * geometry.clusterSize);
      if (blob.offset >= compressedOffsetMax(geometry)) return;
      const again = encodeCompressed(blob, geometry);
      assert.deepEqual(decodeCompressed(again.high, again.low, geometry), blob);
    }),
  );
});

test('refcount blocks read back what was written, at any width and index', (context) => {
  const block = fc.uint8Array({ minLength: 512, maxLength: 512 });
  check(
    context,
    fc.property(block, fc.nat(6), fc.nat(), fc.maxSafeNat(), (bytes, order, someIndex, someValue) => {
      const geometry = geometryOf({ clusterBits: 9, extendedL2: false, refcountOrder: order });
      const index = someIndex % geometry.refcountsPerBlock;
      const value = someValue % (geometry.refcountMax + (order === 6 ? 0 : 1));
      const view = viewOf(Uint8Array.from(bytes));
      const other = (index + 1) % geometry.refcountsPerBlock;
      const otherBefore = readRefcount(view, order, other);
      writeRefcount(view, order, index, value);
      assert.equal(readRefcount(view, order, index), value);
      assert.equal(readRefcount(view, order, other), otherBefore);
    }),
  );
});

test('a LUKS header that decodes encodes to the bytes that it has a meaning for', (context) => {
  const bytes = fc.oneof(mutated(luksHeaderOfQemu()), fc.uint8Array({ maxLength: 700 }));
  check(
    context,
    fc.property(bytes, (given) => {
      const header = valueOrFault(() => decodeLuksHeader(given, luksAreaLength));
      if (header === undefined) return;
      assert.deepEqual(decodeLuksHeader(encodeLuksHeader(header), luksAreaLength), header);
      const ends = header.keySlots.map(({ materialOffset }) => materialOffset + header.keyLength * 4000);
      assert.ok(ends.every((end) => end <= luksAreaLength));
    }),
  );
});
