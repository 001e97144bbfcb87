// The bytes are those of the format's own layout (SNT-01, SNT-02), written out by hand.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { PackedSnapshots } from '../../../src/engine/format/packed-snapshots.ts';
import { icountUnknown, newSnapshotRecord } from '../../../src/engine/format/snapshot-table.ts';

const currentSize = 0x40_0000;

/** L1 table at 0x80000 with 1 entry, taken at 1_700_000_000 s, disk of 1 MiB, icount 0: id "1", name "abc". */
const first = `
  0000000000080000 00000001 0001 0003 6553f100 00000000 0000000000000000 00000000 00000018
  0000000000000000 0000000000100000 0000000000000000 31 616263`;
/** Without extra data, as version 2 has it: VM state of 7 bytes, id "12", name "b". */
const bare = `
  0000000000090000 00000002 0002 0001 00000001 00000002 0000000000000003 00000007 00000000
  3132 62`;
/** The same when it is written anew: VM state, current size, unknown icount. */
const bareCompleted = `
  0000000000090000 00000002 0002 0001 00000001 00000002 0000000000000003 00000007 00000018
  0000000000000007 0000000000400000 ffffffffffffffff 3132 62`;
/** 32 bytes of extra data, 8 of them unknown, a VM state beyond 32 bits, id "x", a name that is no UTF-8. */
const foreign = `
  00000000000a0000 00000003 0001 0002 00000000 00000000 0000000000000000 00000000 00000020
  0000000100000000 0000000000200000 0000000000000005 0102030405060708 78 ff31`;
const padding4 = '00000000';
const padding5 = '0000000000';

function bytesOfHex(...hex: readonly string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.join('').replaceAll(/\s/g, ''), 'hex'));
}

/** `first` has 68 bytes, `bare` 43, `foreign` 75. */
const three = new PackedSnapshots(bytesOfHex(first, padding4, bare, padding5, foreign), Uint32Array.of(0, 72, 120));

function added(id: string, name: string): Parameters<PackedSnapshots['changed']>[0] {
  const record = newSnapshotRecord({
    l1TableOffset: hostOffset(0x80000),
    l1Entries: 1,
    id,
    name,
    seconds: 1_700_000_000,
    nanoseconds: 0,
    vmClock: { high: 0, low: 0 },
    vmStateSize: 0,
    virtualSize: 0x10_0000,
    icount: { high: 0, low: 0 },
  });
  return { without: undefined, added: record, currentSize };
}

describe('a packed snapshot table', () => {
  test('decodes one entry at a time', () => {
    assert.equal(three.count, 3);
    assert.deepEqual(
      [0, 1, 2].map((index) => {
        const { id, l1TableOffset, l1Entries, vmStateSize, virtualSize, icount } = three.record(index);
        return [id, l1TableOffset, l1Entries, vmStateSize, virtualSize, icount];
      }),
      [
        ['1', 0x80000, 1, 0, 0x10_0000, { high: 0, low: 0 }],
        ['12', 0x90000, 2, 7, undefined, icountUnknown],
        ['x', 0xa0000, 3, 2 ** 32, 0x20_0000, { high: 0, low: 5 }],
      ],
    );
    assert.deepEqual(
      [0, 1, 2].map((index) => three.l1TableOffset(index)),
      [0x80000, 0x90000, 0xa0000],
    );
    assert.deepEqual(
      [0, 1, 2].map((index) => three.l1Entries(index)),
      [1, 2, 3],
    );
    assert.throws(() => three.record(3), BrokenAssertion);
  });

  test('finds ids and names byte for byte, and what is no text as it is shown', () => {
    assert.deepEqual(
      ['1', '12', 'x', '2', '', 'abc'].map((id) => three.withId(id)),
      [0, 1, 2, undefined, undefined, undefined],
    );
    assert.deepEqual(
      ['abc', 'b', '\ufffd1', 'ab', '1'].map((name) => three.named(name)),
      [0, 1, 2, undefined, undefined],
    );
    assert.equal(three.named('\ud800'), undefined);
  });

  test('takes the first of those that share an id', () => {
    const twice = new PackedSnapshots(bytesOfHex(first, padding4, first), Uint32Array.of(0, 72));
    assert.deepEqual([twice.withId('1'), twice.named('abc')], [0, 0]);
  });

  test('knows the largest number among the ids', () => {
    assert.equal(three.idMax(1000), 12);
    assert.equal(three.idMax(11), 1);
    assert.equal(three.changed(added('999999999999999', 'n')).idMax(2 ** 53), 999_999_999_999_999);
    assert.equal(three.changed(added('1000000000000000', 'n')).idMax(2 ** 53), 12, 'too long for a number');
    assert.equal(three.changed(added('99:', 'n')).idMax(2 ** 53), 12);
  });

  test('writes a new entry at the end, and completes the others (SNT-02, SNT-04)', () => {
    // Completed, `bare` has 67 bytes and 5 of padding behind it.
    const more = new PackedSnapshots(new Uint8Array(0), new Uint32Array(0)).changed(added('1', 'abc'));
    assert.deepEqual(more.bytes, bytesOfHex(first));
    const four = three.changed(added('13', 'äöü'));
    const last = `
      0000000000080000 00000001 0002 0006 6553f100 00000000 0000000000000000 00000000 00000018
      0000000000000000 0000000000100000 0000000000000000 3133 c3a4c3b6c3bc`;
    assert.deepEqual(four.bytes, bytesOfHex(first, padding4, bareCompleted, padding5, foreign, padding5, last));
    assert.deepEqual([four.withId('12'), four.named('äöü'), four.count], [1, 3, 4]);
  });

  test('leaves one entry out', () => {
    const change = { added: undefined, currentSize };
    assert.deepEqual(three.changed({ ...change, without: 0 }).bytes, bytesOfHex(bareCompleted, padding5, foreign));
    assert.deepEqual(three.changed({ ...change, without: 1 }).bytes, bytesOfHex(first, padding4, foreign));
    assert.deepEqual(three.changed({ ...change, without: 2 }).bytes, bytesOfHex(first, padding4, bareCompleted));
    const none = new PackedSnapshots(bytesOfHex(first), Uint32Array.of(0)).changed({ ...change, without: 0 });
    assert.deepEqual([none.bytes.length, none.count], [0, 0]);
  });
});
