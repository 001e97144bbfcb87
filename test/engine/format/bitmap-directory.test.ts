import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { FaultCode } from '../../../src/base/fault-codes.ts';
import {
  bitmapEntryLength,
  decodeBitmapDirectory,
  encodeBitmapDirectory,
} from '../../../src/engine/format/bitmap-directory.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { faultCodeOf } from '../../support/faults.ts';

/** One directory entry, padded to 8 (BMP-01). */
function entry(name: string, change: (view: DataView) => void, extraLength = 0): Uint8Array {
  const text = new TextEncoder().encode(name);
  const bytes = new Uint8Array(Math.ceil((24 + extraLength + text.length) / 8) * 8);
  const view = viewOf(bytes);
  view.setBigUint64(0, 0xa0000n);
  view.setUint32(8, 1);
  view.setUint32(12, 2);
  view.setUint8(16, 1);
  view.setUint8(17, 16);
  view.setUint16(18, text.length);
  view.setUint32(20, extraLength);
  bytes.set(text, 24 + extraLength);
  change(view);
  return bytes;
}

const unchanged = (): void => undefined;

function fault(bytes: Uint8Array, count: number): FaultCode | undefined {
  return faultCodeOf(() => decodeBitmapDirectory(bytes, count));
}

test('decodes entries one after another at multiples of 8, extra data skipped (BMP-01)', () => {
  const bytes = new Uint8Array([
    ...entry('a', unchanged),
    ...entry('bitmap-2', unchanged, 5),
    ...entry('c', unchanged),
  ]);
  const records = decodeBitmapDirectory(bytes, 3);
  assert.deepEqual(
    records.map(({ name, entryAt }) => [name, entryAt]),
    [
      ['a', 0],
      ['bitmap-2', 32],
      ['c', 72],
    ],
  );
  assert.deepEqual(records[0], {
    name: 'a',
    nameBytes: new Uint8Array([0x61]),
    extra: new Uint8Array(0),
    tableOffset: 0xa0000,
    tableEntries: 1,
    flags: 2,
    granularityBits: 16,
    entryAt: 0,
  });
  assert.deepEqual(decodeBitmapDirectory(bytes, 0), []);
});

test('refuses a directory that ends inside an entry, at every byte', () => {
  const bytes = entry('bitmap', unchanged, 3);
  assert.equal(fault(bytes.subarray(0, 33), 1), undefined);
  for (let cut = 0; cut < 33; cut += 1) assert.equal(fault(bytes.subarray(0, cut), 1), 'bitmap-directory-invalid');
  assert.equal(fault(bytes, 2), 'bitmap-directory-invalid');
  assert.equal(
    fault(
      entry('a', (view) => {
        view.setUint32(20, 0xffff_ffff);
      }),
      1,
    ),
    'bitmap-directory-invalid',
  );
});

test('refuses what is beyond the limits of BMP-05', () => {
  const limits: readonly (readonly [(view: DataView) => void, FaultCode | undefined])[] = [
    [
      (view) => {
        view.setUint32(8, 0x800_0000);
      },
      undefined,
    ],
    [
      (view) => {
        view.setUint32(8, 0x800_0001);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setUint8(16, 0);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setUint8(16, 2);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setUint8(17, 8);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setUint8(17, 9);
      },
      undefined,
    ],
    [
      (view) => {
        view.setUint8(17, 31);
      },
      undefined,
    ],
    [
      (view) => {
        view.setUint8(17, 32);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setUint16(18, 0);
      },
      'bitmap-directory-invalid',
    ],
    [
      (view) => {
        view.setBigUint64(0, 1n << 60n);
      },
      'number-too-large',
    ],
  ];
  for (const [change, expected] of limits) assert.equal(fault(entry('a', change), 1), expected);
  assert.equal(fault(entry('n'.repeat(1023), unchanged), 1), undefined);
  assert.equal(fault(entry('n'.repeat(1024), unchanged), 1), 'bitmap-directory-invalid');
});

/** As QEMU 7.2 wrote it for a recording bitmap "fine" of 512 bytes and a stopped one "daily-copy" of 64 KiB. */
const byQemu = Buffer.from(
  '000000000010a0000000000300000002010900040000000066696e65000000000000000000' +
    '10b00000000001000000000110000a000000006461696c792d636f7079000000000000',
  'hex',
);

test("encodes what it decodes of QEMU's bytes, the padding of the last entry too", () => {
  const records = decodeBitmapDirectory(byQemu, 2);
  assert.deepEqual(
    records.map(({ name, granularityBits, flags, tableEntries }) => [name, granularityBits, flags, tableEntries]),
    [
      ['fine', 9, 2, 3],
      ['daily-copy', 16, 0, 1],
    ],
  );
  assert.equal(Buffer.compare(encodeBitmapDirectory(records), byQemu), 0);
  assert.equal(
    records.reduce((sum, record) => sum + bitmapEntryLength(record), 0),
    byQemu.length,
  );
});

test('keeps extra data and names that are no UTF-8', () => {
  const foreign = entry(
    'x\u00e9',
    (view) => {
      view.setUint8(24 + 5 + 1, 0xff);
      view.setUint8(24, 0x77);
    },
    5,
  );
  assert.equal(Buffer.compare(encodeBitmapDirectory(decodeBitmapDirectory(foreign, 1)), foreign), 0);
});

test('refuses two bitmaps of one name, by its bytes (BMP-05)', () => {
  const [a, b] = [entry('a', unchanged), entry('b', unchanged)];
  assert.equal(fault(new Uint8Array([...a, ...b, ...a]), 3), 'bitmap-directory-invalid');
  const noText = (byte: number): Uint8Array => entry('a', (view) => view.setUint8(24, byte));
  assert.equal(fault(new Uint8Array([...noText(0xfe), ...noText(0xff)]), 2), undefined);
});
