import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { FaultCode } from '../../../src/base/fault-codes.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { featureNames } from '../../../src/engine/format/features.ts';
import {
  bitmapCountMax,
  bitmapDirectoryLengthMax,
  decodeExtensions,
  encodeExtensions,
  extensionCountMax,
  judgeExtensions,
  namesFeatures,
  noExtensions,
} from '../../../src/engine/format/header-extensions.ts';
import type { BitmapsExtension, HeaderExtensions } from '../../../src/engine/format/header-extensions.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { faultCodeOf } from '../../support/faults.ts';

const someBitmaps: BitmapsExtension = {
  count: 2,
  reserved: 0,
  directoryLength: 64,
  directoryOffset: hostOffset(0x90000),
};

function decodeAll(bytes: Uint8Array): HeaderExtensions {
  return decodeExtensions(bytes, { start: 0, end: bytes.length });
}

/** One extension with `declared` as its length and `data` behind it. */
function extension(type: number, declared: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length);
  viewOf(bytes).setUint32(0, type);
  viewOf(bytes).setUint32(4, declared);
  bytes.set(data, 8);
  return bytes;
}

function fault(bytes: Uint8Array): FaultCode | undefined {
  return faultCodeOf(() => decodeAll(bytes));
}

test("decodes what it encodes, in QEMU's order (FMT-12, EXT-01, EXT-02, EXT-03, EXT-04, EXT-05, EXT-06)", () => {
  const all: HeaderExtensions = {
    backingFormat: 'qcow2',
    featureNames: [...featureNames],
    bitmaps: someBitmaps,
    encryption: { offset: hostOffset(0x40000), length: 2_068_480 },
    dataFileName: 'data.raw',
    unknown: [
      { type: 0x1234_5678, data: Uint8Array.from([1, 2, 3]) },
      { type: 0xffff_ffff, data: new Uint8Array(0) },
    ],
  };
  const bytes = encodeExtensions(all, { named: true });
  assert.deepEqual(decodeAll(bytes), all);
  const types: number[] = [];
  for (let at = 0; at < bytes.length; at += 8 + Math.ceil(viewOf(bytes).getUint32(at + 4) / 8) * 8) {
    types.push(viewOf(bytes).getUint32(at));
  }
  assert.deepEqual(
    types,
    [0xe279_2aca, 0x4441_5441, 0x0537_be77, 0x6803_f857, 0x2385_2875, 0x1234_5678, 0xffff_ffff, 0],
  );
  assert.deepEqual(decodeAll(encodeExtensions(noExtensions, { named: false })), noExtensions);
});

test('stops at the end marker and at the end of its area (EXT-00)', () => {
  const one = encodeExtensions({ ...noExtensions, backingFormat: 'raw' }, { named: false });
  const garbage = new Uint8Array([...one, ...extension(0xe279_2aca, 0xffff_ffff, new Uint8Array(0))]);
  assert.equal(decodeAll(garbage).backingFormat, 'raw');
  assert.deepEqual(decodeExtensions(garbage, { start: 0, end: 0 }), noExtensions);
  assert.deepEqual(decodeExtensions(garbage, { start: 0, end: 7 }), noExtensions);
  // No end marker: the area ends exactly behind the padded data.
  assert.equal(decodeExtensions(garbage, { start: 0, end: 16 }).backingFormat, 'raw');
  // The padding of the last extension may be missing.
  assert.equal(decodeExtensions(garbage, { start: 0, end: 11 }).backingFormat, 'raw');
});

test('refuses an extension that runs past its area by one byte (EXT-00)', () => {
  for (const type of [0x1111_1111, 0]) {
    for (const length of [4, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      assert.equal(fault(extension(type, length, new Uint8Array(3))), 'extension-invalid');
    }
    assert.equal(fault(extension(type, 3, new Uint8Array(3))), undefined);
  }
});

test('refuses a backing format of 16 bytes (EXT-01, LIM-08)', () => {
  assert.equal(fault(extension(0xe279_2aca, 15, new Uint8Array(16))), undefined);
  assert.equal(fault(extension(0xe279_2aca, 16, new Uint8Array(16))), 'extension-invalid');
});

test('refuses bitmaps and encryption extensions of another length (EXT-03, EXT-04)', () => {
  for (let length = 0; length <= 32; length += 1) {
    const data = new Uint8Array(32);
    assert.equal(fault(extension(0x2385_2875, length, data)), length === 24 ? undefined : 'extension-invalid');
    assert.equal(fault(extension(0x0537_be77, length, data)), length === 16 ? undefined : 'extension-invalid');
  }
  assert.equal(fault(extension(0x0537_be77, 16, new Uint8Array(16).fill(0xff))), 'number-too-large');
  assert.equal(fault(extension(0x2385_2875, 24, new Uint8Array(24).fill(0xff))), 'number-too-large');
});

test('refuses more extensions than anybody writes', () => {
  const bytes = new Uint8Array((extensionCountMax + 1) * 8);
  for (let at = 0; at < bytes.length; at += 8) viewOf(bytes).setUint32(at, 0x1111_1111);
  assert.equal(decodeExtensions(bytes, { start: 0, end: bytes.length - 8 }).unknown.length, extensionCountMax);
  assert.equal(fault(bytes), 'extension-invalid');
});

test('reads feature names up to their zero byte or 46 bytes, and whole rows only (EXT-02)', () => {
  const row = (text: string): Uint8Array => {
    const bytes = new Uint8Array(48);
    bytes.set([0, 63]);
    bytes.set(new TextEncoder().encode(text), 2);
    return bytes;
  };
  const table = new Uint8Array([...row('time travel'), ...row('x'.repeat(46)), ...row('cut').subarray(0, 40)]);
  const { featureNames: names } = decodeAll(extension(0x6803_f857, table.length, table));
  assert.deepEqual(names, [
    { type: 0, bit: 63, name: 'time travel' },
    { type: 0, bit: 63, name: 'x'.repeat(46) },
  ]);
});

test('writes the name table for version 3 with clusters above 4 KiB only (T65)', () => {
  assert.equal(namesFeatures(3, 4096), false);
  assert.equal(namesFeatures(3, 8192), true);
  assert.equal(namesFeatures(2, 65_536), false);
});

test('keeps names byte for byte, a byte order mark too', () => {
  const text = '\ufeffdisk';
  assert.equal(
    decodeAll(encodeExtensions({ ...noExtensions, dataFileName: text }, { named: false })).dataFileName,
    text,
  );
});

test('judges consistent bitmaps against their limits and ignores lost ones (EXT-03, BIT-A0, LIM-04)', () => {
  const judge = (change: Partial<BitmapsExtension>, bitmapsConsistent: boolean): FaultCode | undefined =>
    faultCodeOf(() => {
      const bitmaps = { ...someBitmaps, ...change };
      judgeExtensions({ ...noExtensions, bitmaps }, { clusterSize: 65_536, bitmapsConsistent, luks: false });
    });
  assert.equal(judge({}, true), undefined);
  assert.equal(judge({ count: bitmapCountMax, directoryLength: bitmapDirectoryLengthMax }, true), undefined);
  const wrong: readonly Partial<BitmapsExtension>[] = [
    { count: 0 },
    { count: bitmapCountMax + 1 },
    { reserved: 1 },
    { directoryLength: 0 },
    { directoryLength: bitmapDirectoryLengthMax + 1 },
    { directoryOffset: hostOffset(0) },
    { directoryOffset: hostOffset(0x90200) },
    { directoryOffset: hostOffset(2 ** 53 - 65_536), directoryLength: 65_536 },
  ];
  for (const change of wrong) {
    assert.equal(judge(change, true), 'extension-invalid', JSON.stringify(change));
    assert.equal(judge(change, false), undefined);
  }
});

test('takes an encryption extension with LUKS only, and aligned (EXT-04)', () => {
  const judge = (offset: number, luks: boolean): FaultCode | undefined =>
    faultCodeOf(() => {
      const encryption = { offset: hostOffset(offset), length: 592 };
      judgeExtensions({ ...noExtensions, encryption }, { clusterSize: 65_536, bitmapsConsistent: false, luks });
    });
  assert.equal(judge(0x40000, true), undefined);
  assert.equal(judge(0x40000, false), 'extension-invalid');
  assert.equal(judge(0x40200, true), 'extension-invalid');
});
