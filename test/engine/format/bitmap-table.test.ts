import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  bitmapBitsFor,
  bitmapTableEntriesFor,
  decodeBitmapTable,
  encodeBitmapTable,
} from '../../../src/engine/format/bitmap-table.ts';

/** As QEMU 7.2 wrote it: no bit, a cluster of bits, no bit. */
const byQemu = Buffer.from('000000000000000000000000001090000000000000000000', 'hex');

function tableOf(...entries: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * 8);
  entries.forEach((entry, index) => {
    new DataView(bytes.buffer).setBigUint64(index * 8, entry);
  });
  return bytes;
}

test("decodes and encodes QEMU's bytes", () => {
  const entries = decodeBitmapTable(byQemu, 4096);
  assert.deepEqual(entries, new Float64Array([0, 0x10_9000, 0]));
  assert.equal(Buffer.compare(encodeBitmapTable(entries), byQemu), 0);
});

test('knows all-one entries, and refuses reserved bits and places between clusters (BMP-03)', () => {
  assert.deepEqual(
    decodeBitmapTable(tableOf(1n, 0n, 0x001f_ffff_ffff_0000n), 65_536),
    new Float64Array([1, 0, 0x1f_ffff_ffff_0000]),
  );
  const unsound = [
    0x20_0000_0000_0000n,
    2n,
    0x100n,
    0x0100_0000_0000_0000n,
    0x8000_0000_0001_0000n,
    0x1_0001n,
    0x1_0200n,
  ];
  for (const entry of unsound)
    assert.equal(decodeBitmapTable(tableOf(0n, entry), 65_536), undefined, entry.toString(16));
});

test('counts bits and entries as QEMU does (appendix A of its format)', () => {
  assert.equal(bitmapBitsFor(40 * 1024 * 1024, 9), 81_920);
  assert.equal(bitmapTableEntriesFor(81_920, 4096), 3);
  assert.equal(bitmapBitsFor(513, 9), 2);
  assert.equal(bitmapTableEntriesFor(1, 65_536), 1);
  assert.equal(bitmapTableEntriesFor(65_536 * 8, 65_536), 1);
  assert.equal(bitmapTableEntriesFor(65_536 * 8 + 1, 65_536), 2);
});
