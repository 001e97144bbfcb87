// The snapshot table of an open image: what it holds, and what it refuses. Entries are the format's own layout, by hand.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { decodeHeader, headerGeometry } from '../../../src/engine/format/header.ts';
import type { Header } from '../../../src/engine/format/header.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { icountUnknown, newSnapshotRecord } from '../../../src/engine/format/snapshot-table.ts';
import { SnapshotList } from '../../../src/engine/metadata/snapshot-list.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { commonChoice, soundImage } from '../../support/hostile-image.ts';

/** Behind everything that the sound image has. */
const tableOffset = 0x10_0000;
const clusterSize = 4096;
const MiB = 1024 ** 2;

interface Entry {
  readonly l1TableOffset: bigint;
  readonly l1Entries: number;
  readonly id: string;
  readonly name: string;
  readonly extraLength: number;
  /** The first words of the extra data, as many as fit: size of the VM state and of the disk. */
  readonly vmStateSize: bigint;
  readonly diskSize: bigint;
}

const plain: Entry = {
  l1TableOffset: 0x9000n,
  l1Entries: 1,
  id: '1',
  name: 'abc',
  extraLength: 24,
  vmStateSize: 0n,
  diskSize: 0x4_0000n,
};

/** SNT-01: 40 bytes, extra data, id, name. */
function entryBytes(change: Partial<Entry>): Buffer {
  const entry = { ...plain, ...change };
  const fixed = Buffer.alloc(40);
  fixed.writeBigUInt64BE(entry.l1TableOffset, 0);
  fixed.writeUInt32BE(entry.l1Entries, 8);
  fixed.writeUInt16BE(Buffer.byteLength(entry.id), 12);
  fixed.writeUInt16BE(Buffer.byteLength(entry.name), 14);
  fixed.writeUInt32BE(entry.extraLength, 36);
  const words = Buffer.alloc(16);
  words.writeBigUInt64BE(entry.vmStateSize, 0);
  words.writeBigUInt64BE(entry.diskSize, 8);
  const extra = Buffer.alloc(entry.extraLength);
  words.copy(extra);
  return Buffer.concat([fixed, extra, Buffer.from(entry.id), Buffer.from(entry.name)]);
}

/** The entries at multiples of 8, nothing behind the last. */
function tableBytes(entries: readonly Partial<Entry>[]): Buffer {
  const pieces = entries.map((entry, index) => {
    const bytes = entryBytes(entry);
    const padding = index === entries.length - 1 ? 0 : (8 - (bytes.length % 8)) % 8;
    return Buffer.concat([bytes, Buffer.alloc(padding)]);
  });
  return Buffer.concat(pieces);
}

function headerOf(version: 2 | 3, snapshotCount: number): Header {
  const header = decodeHeader(soundImage({ ...commonChoice, version }).bytes);
  return { ...header, snapshotCount, snapshotsOffset: hostOffset(tableOffset) };
}

function read(entries: readonly Partial<Entry>[], version: 2 | 3): SnapshotList {
  const file = MemoryFile.empty();
  file.writeAt(hostOffset(tableOffset), tableBytes(entries));
  const header = headerOf(version, entries.length);
  return SnapshotList.read(file, header, headerGeometry(header));
}

describe('a snapshot list', () => {
  test('holds the entries in the order of the table (SNT-01, OPS-29)', () => {
    const list = read([{}, { id: '12', name: 'b', extraLength: 32 }, { id: '7', name: 'äöü' }], 3);
    assert.deepEqual(
      [0, 1, 2].map((index) => [list.at(index).id, list.at(index).name, list.at(index).virtualSize]),
      [
        ['1', 'abc', 0x4_0000],
        ['12', 'b', 0x4_0000],
        ['7', 'äöü', 0x4_0000],
      ],
    );
    // 68 bytes and 4 of padding, 75 and 5, 71.
    assert.deepEqual([list.count, list.place], [3, { offset: tableOffset, length: 72 + 80 + 71 }]);
    const tables: (readonly [number, number])[] = [];
    list.forEachL1((offset, length) => tables.push([offset, length]));
    assert.deepEqual(tables, [
      [0x9000, 8],
      [0x9000, 8],
      [0x9000, 8],
    ]);
  });

  test('without snapshots reads nothing, wherever the table should be (SNT-08)', () => {
    const header = { ...headerOf(3, 0), snapshotsOffset: hostOffset(2 ** 52) };
    const list = SnapshotList.read(MemoryFile.empty(), header, headerGeometry(header));
    assert.deepEqual([list.count, list.place.length, list.nextId(0)], [0, 0, '1']);
    assert.equal(list.indexOf('1'), undefined);
  });

  test('looks for an id before a name, and takes the first of those that share one (OPS-27, T72)', () => {
    const list = read(
      [
        { id: '9', name: '2' },
        { id: '2', name: 'x' },
        { id: '2', name: 'y' },
        { id: '4', name: 'y' },
        { id: '', name: '' },
      ],
      3,
    );
    assert.deepEqual(
      ['2', '9', 'x', 'y', '4', '', '3'].map((snapshot) => list.indexOf(snapshot)),
      [1, 0, 1, 2, 3, 4, undefined],
    );
  });

  test('counts on from the largest numeric id, and not below a floor (SNT-06)', () => {
    const list = read([{ id: '3' }, { id: '007' }, { id: 'x99' }, { id: '-50' }, { id: '4294967295' }], 3);
    assert.equal(list.nextId(0), '4294967296');
    assert.equal(list.nextId(5_000_000_000), '5000000000');
    assert.equal(list.idMax(4_294_967_294), 7);
    assert.equal(read([{ id: 'x' }, { id: '1000000000000000' }], 3).nextId(0), '1', 'too long for a number');
    assert.equal(read([{ id: '999999999999999' }], 3).nextId(0), '1000000000000000');
  });

  test('is changed only when the changed table is in place', () => {
    const list = read([{ id: '1' }, { id: '2', name: 'two' }], 3);
    const facts = {
      l1TableOffset: hostOffset(0xa000),
      l1Entries: 1,
      id: '3',
      name: 'three',
      seconds: 0,
      nanoseconds: 0,
    };
    const none = { vmClock: { high: 0, low: 0 }, vmStateSize: 0, virtualSize: 0x4_0000, icount: icountUnknown };
    const more = list.with(newSnapshotRecord({ ...facts, ...none }), 0x4_0000);
    const fewer = list.without(0, 0x4_0000);
    assert.deepEqual([list.count, more.count, fewer.count], [2, 3, 1]);
    list.replace(more, hostOffset(0x20_0000));
    assert.deepEqual([list.indexOf('three'), list.place], [2, { offset: 0x20_0000, length: 72 + 72 + 70 }]);
    list.replace(fewer, hostOffset(0x30_0000));
    assert.deepEqual([list.indexOf('two'), list.indexOf('abc'), list.count], [0, undefined, 1]);
  });
});

describe('a snapshot entry', () => {
  const invalid = 'snapshot-table-invalid';
  const limits: readonly (readonly [string, Partial<Entry>, Partial<Entry>, string])[] = [
    ['extra data of 1024 bytes (SNT-04)', { extraLength: 1024 }, { extraLength: 1025 }, invalid],
    ['extra data with the disk size (SNT-02)', { extraLength: 16 }, { extraLength: 15 }, invalid],
    ['an L1 table of 32 MiB (LIM-01)', { l1Entries: 4_194_304 }, { l1Entries: 4_194_305 }, invalid],
    ['an L1 table on a cluster', { l1TableOffset: 0xa000n }, { l1TableOffset: 0xa200n }, invalid],
    [
      'an L1 table where a file can be (LIM-06)',
      { l1TableOffset: 2n ** 53n - 4096n },
      { l1TableOffset: 2n ** 53n },
      'number-too-large',
    ],
    // An L2 table of 4 KiB maps 2 MiB.
    [
      'a disk that an L1 table can map (LIM-01)',
      { diskSize: 8n * 2n ** 40n },
      { diskSize: 8n * 2n ** 40n + 1n },
      invalid,
    ],
    ['a disk of a size that is safe (LIM-05)', { diskSize: 0n }, { diskSize: 2n ** 53n }, 'virtual-size-too-large'],
    [
      'a VM state of a size that is safe (LIM-11)',
      { vmStateSize: 2n ** 53n - 1n },
      { vmStateSize: 2n ** 53n },
      'number-too-large',
    ],
  ];
  for (const [title, allowed, refused, code] of limits) {
    test(`has ${title}, or is refused`, () => {
      // Not only the first entry is judged.
      assert.equal(read([{}, allowed], 3).count, 2);
      assert.equal(
        faultCodeOf(() => read([{}, refused], 3)),
        code,
      );
      assert.equal(
        faultCodeOf(() => read([refused, {}], 3)),
        code,
      );
    });
  }

  test('of version 2 needs no extra data, and what it has is judged (SNT-02)', () => {
    for (const extraLength of [0, 1, 7, 8, 15]) {
      assert.equal(read([{ extraLength }], 2).at(0).virtualSize, undefined);
    }
    assert.equal(read([{ extraLength: 16 }], 2).at(0).virtualSize, 0x4_0000);
    const vmStateSize = 2n ** 53n;
    assert.equal(
      faultCodeOf(() => read([{ extraLength: 8, vmStateSize }], 2)),
      'number-too-large',
    );
    assert.equal(read([{ extraLength: 7, vmStateSize }], 2).count, 1);
  });
});

describe('a snapshot table', () => {
  const header = headerOf(3, 2);

  function readBytes(table: Uint8Array): SnapshotList {
    const file = MemoryFile.empty();
    file.writeAt(hostOffset(tableOffset), table);
    return SnapshotList.read(file, header, headerGeometry(header));
  }

  test('that ends outside the file is refused, be it by one byte', () => {
    const table = tableBytes([{}, { id: '2' }]);
    assert.equal(readBytes(table).count, 2);
    // In the name of the last entry, in its fixed part, at its start, and before it.
    for (const length of [table.length - 1, table.length - 30, 72, 68, 39, 0]) {
      assert.equal(
        faultCodeOf(() => readBytes(table.subarray(0, length))),
        'snapshot-table-invalid',
      );
    }
  });

  test('has at most 64 MiB (SNT-05, LIM-03)', () => {
    const longText = 'n'.repeat(0xffff);
    const long = entryBytes({ id: longText, name: longText, extraLength: 1024 });
    const step = Math.ceil(long.length / 8) * 8;
    const count = Math.floor((64 * MiB) / step);
    const room = 64 * MiB - count * step;
    const readLong = (lastLength: number): SnapshotList => {
      const file = MemoryFile.empty();
      for (let index = 0; index < count; index += 1) {
        file.writeAt(hostOffset(tableOffset + index * step), long.subarray(0, 64));
      }
      const idLength = Math.min(0xffff, lastLength - 64);
      const last = entryBytes({ id: 'i'.repeat(idLength), name: 'n'.repeat(lastLength - 64 - idLength) });
      file.writeAt(hostOffset(tableOffset + count * step), last);
      const longHeader = headerOf(3, count + 1);
      return SnapshotList.read(file, longHeader, headerGeometry(longHeader));
    };
    assert.equal(readLong(room).place.length, 64 * MiB);
    assert.equal(
      faultCodeOf(() => readLong(room + 1)),
      'snapshot-table-invalid',
    );
  });

  test('can have 65,536 entries, in the memory of their bytes (SNT-05, LIM-03, T80)', () => {
    const file = MemoryFile.empty();
    const count = 65_536;
    const table = tableBytes(Array.from({ length: count }, (_, index) => ({ id: String(index + 1), name: '' })));
    file.writeAt(hostOffset(tableOffset), table);
    const fullHeader = headerOf(3, count);
    const before = process.memoryUsage().arrayBuffers;
    const list = SnapshotList.read(file, fullHeader, headerGeometry(fullHeader));
    const taken = process.memoryUsage().arrayBuffers - before;
    assert.ok(taken < table.length + 1 * MiB, `${taken} bytes for a table of ${table.length}`);
    assert.deepEqual([list.count, list.indexOf('65536'), list.nextId(0)], [count, count - 1, '65537']);
  });
});

test('the sound image has clusters of 4 KiB, on which the limits above are built', () => {
  assert.equal(headerGeometry(headerOf(3, 0)).clusterSize, clusterSize);
});
