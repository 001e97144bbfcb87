import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import {
  decodeSnapshotEntry,
  encodeSnapshotEntry,
  extraLengthMax,
  hasTooMuchExtra,
  icountUnknown,
  newSnapshotRecord,
  snapshotFixedLength,
} from '../../../src/engine/format/snapshot-table.ts';
import type { SnapshotRecord } from '../../../src/engine/format/snapshot-table.ts';
import { faultCodeOf } from '../../support/faults.ts';

const currentSize = 4_194_304;

function someRecord(change: Partial<SnapshotRecord>): SnapshotRecord {
  return newSnapshotRecord({
    l1TableOffset: hostOffset(0x80000),
    l1Entries: 1,
    id: '1',
    name: 'abc',
    seconds: 1_700_000_000,
    nanoseconds: 123_456_789,
    vmClock: { high: 1, low: 2 },
    vmStateSize: 0,
    virtualSize: 1_048_576,
    icount: { high: 0, low: 0 },
    ...change,
  });
}

/** An entry with so much extra data, filled with 0x01 0x02 …, and the id and name of a record. */
function withExtra(extraLength: number): Uint8Array {
  const entry = new Uint8Array(snapshotFixedLength + extraLength + 4);
  const view = viewOf(entry);
  view.setUint16(12, 1);
  view.setUint16(14, 3);
  view.setUint32(32, 77);
  view.setUint32(36, extraLength);
  for (let at = 0; at < extraLength; at += 1) entry[snapshotFixedLength + at] = (at % 8 === 7 ? at : 0) & 0xff;
  // A disk of 0x20f bytes: a sector, and 15 bytes that nobody sees (FMT-06).
  if (extraLength >= 16) entry[snapshotFixedLength + 14] = 2;
  entry.set(new TextEncoder().encode('1abc'), snapshotFixedLength + extraLength);
  return entry;
}

test('decodes what it encodes, with names in every script', () => {
  for (const name of ['abc', '', 'снимок 雪 🎞', 'x'.repeat(65_535)]) {
    const record = someRecord({ name, vmStateSize: 2 ** 40, virtualSize: 2 ** 53 - 512, icount: icountUnknown });
    assert.deepEqual(decodeSnapshotEntry(encodeSnapshotEntry(record, currentSize)), record);
  }
});

test('takes missing extra data as the format says (SNT-02, T70)', () => {
  for (let extraLength = 0; extraLength <= 40; extraLength += 1) {
    const record = decodeSnapshotEntry(withExtra(extraLength));
    assert.equal(record.vmStateSize, extraLength >= 8 ? 7 : 77, `extra ${String(extraLength)}`);
    assert.equal(record.virtualSize, extraLength >= 16 ? 512 : undefined);
    assert.deepEqual(record.icount, extraLength >= 24 ? { high: 0, low: 23 } : icountUnknown);
    assert.equal(record.extraLength, extraLength);
    assert.equal(record.unknownExtra.length, Math.max(0, extraLength - 24));
    assert.equal(record.name, 'abc');
  }
});

test('writes known extra data always, unknown extra data unchanged, and the current size where none was (SNT-04)', () => {
  for (const extraLength of [0, 8, 16, 24, 25, 32, extraLengthMax]) {
    const before = decodeSnapshotEntry(withExtra(extraLength));
    const after = decodeSnapshotEntry(encodeSnapshotEntry(before, currentSize));
    assert.deepEqual(after, {
      ...before,
      virtualSize: before.virtualSize ?? currentSize,
      extraLength: Math.max(24, extraLength),
    });
  }
});

test('refuses more than 1024 bytes of extra data (SNT-04, LIM-03)', () => {
  assert.equal(hasTooMuchExtra(viewOf(withExtra(1024)), 0), false);
  assert.equal(hasTooMuchExtra(viewOf(withExtra(1025)), 0), true);
  assert.equal(
    faultCodeOf(() => decodeSnapshotEntry(withExtra(1024))),
    undefined,
  );
  assert.equal(
    faultCodeOf(() => decodeSnapshotEntry(withExtra(1025))),
    'snapshot-table-invalid',
  );
  assert.throws(
    () => encodeSnapshotEntry({ ...someRecord({}), unknownExtra: new Uint8Array(1001) }, 0),
    BrokenAssertion,
  );
});

test('refuses numbers that are too large', () => {
  const broken = (at: number): Uint8Array => {
    const entry = encodeSnapshotEntry(someRecord({}), currentSize);
    viewOf(entry).setUint32(at, 0x0020_0001);
    return entry;
  };
  assert.equal(
    faultCodeOf(() => decodeSnapshotEntry(broken(0))),
    'number-too-large',
  );
  assert.equal(
    faultCodeOf(() => decodeSnapshotEntry(broken(40))),
    'number-too-large',
  );
  assert.equal(
    faultCodeOf(() => decodeSnapshotEntry(broken(48))),
    'virtual-size-too-large',
  );
});

test('writes a VM state that does not fit 32 bits as none in the old field (SNT-03, T73)', () => {
  for (const [vmStateSize, old] of [
    [5, 5],
    [2 ** 32 - 1, 2 ** 32 - 1],
    [2 ** 32, 0],
    [2 ** 40 + 1, 0],
  ] as const) {
    const entry = encodeSnapshotEntry(someRecord({ vmStateSize }), currentSize);
    assert.equal(viewOf(entry).getUint32(32), old);
    assert.equal(decodeSnapshotEntry(entry).vmStateSize, vmStateSize);
  }
});

test('keeps ids and names that are no UTF-8 byte for byte', () => {
  const entry = withExtra(24);
  entry.set([0xff, 0xc3, 0x28, 0x80], snapshotFixedLength + 24);
  const record = decodeSnapshotEntry(entry);
  const again = encodeSnapshotEntry(record, currentSize);
  assert.deepEqual(again.subarray(-4), entry.subarray(-4));
});

test('refuses to encode ids and names beyond their 16-bit lengths', () => {
  const long = new Uint8Array(65_536);
  assert.throws(() => encodeSnapshotEntry({ ...someRecord({}), nameBytes: long }, 0), BrokenAssertion);
  assert.throws(() => encodeSnapshotEntry({ ...someRecord({}), idBytes: long }, 0), BrokenAssertion);
});
