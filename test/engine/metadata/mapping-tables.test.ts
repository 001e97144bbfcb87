// The L1 table in memory: what it says, what it writes, and what it refuses.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import { l1EntriesMax } from '../../../src/engine/format/header.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { MappingTables } from '../../../src/engine/metadata/mapping-tables.ts';
import { SliceCache } from '../../../src/engine/metadata/slice-cache.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { fileBytes } from '../../support/memory-parts.ts';

const clusterSize = 4096;
const geometry = geometryOf({ clusterBits: 12, extendedL2: false, refcountOrder: 4 });
const tableOffset = hostOffset(3 * clusterSize);

/** A table over a file in which its words stand from 0x3000 on. */
function tables(
  entries: number,
  words: Readonly<Record<number, bigint>>,
): { readonly mapping: MappingTables; readonly file: CountingFile; readonly memory: MemoryFile } {
  const memory = MemoryFile.empty();
  memory.resize(tableOffset + entries * 8);
  for (const [index, word] of Object.entries(words)) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(word);
    memory.writeAt(hostOffset(tableOffset + Number(index) * 8), bytes);
  }
  const file = new CountingFile(memory);
  const cache = new SliceCache({ file, sliceLength: clusterSize, slicesMax: 16, beforeWrite: () => undefined });
  const mapping = MappingTables.read(
    { file, geometry, cache, sliceLength: clusterSize },
    { offset: tableOffset, entries },
  );
  return { mapping, file, memory };
}

function wordAt(memory: MemoryFile, index: number): string {
  const at = tableOffset + index * 8;
  return Buffer.from(fileBytes(memory).subarray(at, at + 8)).toString('hex');
}

describe('an L1 entry', () => {
  it('names its L2 table, and says whether that is owned (MAP-01)', () => {
    const { mapping } = tables(4, {
      0: 0x8000_0000_0004_0000n,
      1: 0x0000_0000_0005_0000n,
      2: 0x8000_0123_4567_8000n,
    });
    assert.deepEqual(
      [0, 1, 2, 3].map((index) => mapping.l2Table(index)),
      [0x4_0000, 0x5_0000, 0x123_4567_8000, undefined],
    );
    assert.deepEqual(
      [0, 1, 2, 3].map((index) => mapping.ownsL2Table(index)),
      [true, false, true, false],
    );
  });

  it('behind the table names nothing: a disk may be larger than its tables say (OPS-09, T18)', () => {
    const { mapping } = tables(4, {});
    assert.equal(mapping.l2Table(4), undefined);
    assert.equal(mapping.l2Table(1_000_000), undefined);
  });

  it('that points into a cluster, or beyond what a file can be, is refused', () => {
    const { mapping } = tables(3, { 0: 0x4_0200n, 1: 0x00ff_ffff_ffff_f000n, 2: 0x8000_0000_0004_0e00n });
    for (const index of [0, 1, 2]) {
      assert.equal(
        faultCodeOf(() => mapping.l2Table(index)),
        'l1-entry-invalid',
      );
    }
  });
});

describe('a changed L1 table', () => {
  it('is written by whole sectors, only those that were changed, once', () => {
    const { mapping, file, memory } = tables(200, { 70: 0x7_0000n });
    mapping.setL2Table(1, { offset: hostOffset(0x4_0000), owned: true });
    mapping.setL2Table(63, { offset: hostOffset(0x5_0000), owned: false });
    mapping.setL2Table(199, { offset: hostOffset(0x123_4567_8000), owned: true });
    mapping.setL2Table(199, undefined);
    assert.equal(mapping.hasUnwrittenL1, true);
    assert.equal(file.log.length, 0, 'nothing is written by a change');
    mapping.writeL1();
    assert.deepEqual(file.log, [
      { offset: tableOffset, length: 512 },
      // The last sector is cut by the end of the table.
      { offset: tableOffset + 3 * 512, length: 8 * 8 },
    ]);
    assert.equal(wordAt(memory, 1), '8000000000040000');
    assert.equal(wordAt(memory, 63), '0000000000050000');
    assert.equal(wordAt(memory, 70), '0000000000070000');
    assert.equal(wordAt(memory, 199), '0000000000000000');
    assert.equal(mapping.hasUnwrittenL1, false);
    mapping.writeL1();
    assert.equal(file.log.length, 2);
  });

  it('is copied with its changes, cut or grown with empty entries', () => {
    const { mapping } = tables(3, { 0: 0x4_0000n, 2: 0x6_0000n });
    mapping.setL2Table(1, { offset: hostOffset(0x5_0000), owned: true });
    const hex = (entries: number): string => Buffer.from(mapping.copyOfL1(entries)).toString('hex');
    assert.equal(hex(2), '00000000000400008000000000050000');
    assert.equal(hex(5), `000000000004000080000000000500000000000000060000${'0'.repeat(32)}`);
    mapping.copyOfL1(3).fill(0xff);
    assert.equal(mapping.l2Table(0), 0x4_0000, 'a copy is nobody else’s');
  });

  it('moves only when nothing of the old one is left to be written', () => {
    const { mapping } = tables(3, { 0: 0x4_0000n });
    mapping.setL2Table(1, { offset: hostOffset(0x5_0000), owned: true });
    const longer = mapping.copyOfL1(600);
    const place = { offset: hostOffset(0x9000), entries: 600 };
    assert.throws(() => {
      mapping.moveL1(place, longer);
    }, BrokenAssertion);
    mapping.writeL1();
    mapping.moveL1(place, longer);
    assert.deepEqual(mapping.place, place);
    assert.equal(mapping.l1Entries, 600);
    assert.equal(mapping.l2Table(1), 0x5_0000);
    assert.equal(mapping.l2Table(599), undefined);
  });
});

describe('an L1 table that ends outside the file', () => {
  /** The largest table there may be (LIM-01) over a file that ends `length` bytes after its start. */
  function largest(length: number): { readonly mapping: MappingTables; readonly memory: MemoryFile } {
    const memory = MemoryFile.empty();
    memory.writeAt(tableOffset, Buffer.from('80000000000400008000000000050000', 'hex').subarray(0, length));
    const cache = new SliceCache({
      file: memory,
      sliceLength: clusterSize,
      slicesMax: 16,
      beforeWrite: () => undefined,
    });
    const place = { offset: tableOffset, entries: l1EntriesMax };
    return { mapping: MappingTables.read({ file: memory, geometry, cache, sliceLength: clusterSize }, place), memory };
  }

  it('is empty there, and takes memory for what lies inside (FMT-14, T80)', () => {
    const before = process.memoryUsage().arrayBuffers;
    const { mapping } = largest(16);
    assert.ok(process.memoryUsage().arrayBuffers - before < l1EntriesMax, 'an eighth of the table');
    assert.deepEqual(
      [0, 1, 2, l1EntriesMax - 1].map((index) => [mapping.l2Table(index), mapping.ownsL2Table(index)]),
      [
        [0x4_0000, true],
        [0x5_0000, true],
        [undefined, false],
        [undefined, false],
      ],
    );
    assert.equal(mapping.l1Entries, l1EntriesMax);
  });

  it('has what there is of an entry that the end cuts', () => {
    const { mapping } = largest(14);
    assert.deepEqual([mapping.l2Table(0), mapping.l2Table(1)], [0x4_0000, 0x5_0000]);
    assert.equal(largest(13).mapping.l2Table(1), undefined);
  });

  it('that lies behind the end as a whole is empty', () => {
    const { mapping } = largest(0);
    assert.deepEqual([mapping.l2Table(0), mapping.ownsL2Table(0)], [undefined, false]);
  });

  it('is changed and written like any other', () => {
    const { mapping, memory } = largest(16);
    mapping.setL2Table(1, undefined);
    mapping.setL2Table(1000, { offset: hostOffset(0x7_0000), owned: true });
    assert.deepEqual([mapping.l2Table(0), mapping.l2Table(1000)], [0x4_0000, 0x7_0000]);
    mapping.writeL1();
    assert.deepEqual(
      [0, 1, 1000].map((index) => wordAt(memory, index)),
      ['8000000000040000', '0000000000000000', '8000000000070000'],
    );
  });
});
