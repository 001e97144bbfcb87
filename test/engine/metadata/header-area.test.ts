// The first cluster of an open image: small atomic changes, and everything unknown kept.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../../src/engine/file/tracked-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { HeaderArea } from '../../../src/engine/metadata/header-area.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { fileBytes, newFile } from '../../support/memory-parts.ts';

function areaOf(file: CountingFile | MemoryFile | FaultyFile): HeaderArea {
  return HeaderArea.read(new TrackedFile(file), { forCheck: false });
}

/** What a reader of the file finds in the header, and what the area says. */
function assertSameAsFile(area: HeaderArea, file: CountingFile | MemoryFile): void {
  const found = areaOf(file);
  assert.deepEqual(area.header, found.header);
  assert.deepEqual(area.extensions, found.extensions);
  assert.equal(area.backingName, found.backingName);
}

const changes: readonly (readonly [string, (area: HeaderArea) => void])[] = [
  ['the dirty bit', (area) => area.setIncompatible('dirty', true)],
  ['the corrupt bit', (area) => area.setIncompatible('corrupt', true)],
  ['the autoclear bits', (area) => area.setAutoclear({ bitmaps: false })],
  ['the disk', (area) => area.switchDisk({ virtualSize: 512 * 77, l1TableOffset: hostOffset(8 * 4096), l1Entries: 9 })],
  ['the refcount table', (area) => area.switchRefcountTable({ offset: hostOffset(6 * 4096), clusters: 2 })],
  ['the snapshot table', (area) => area.switchSnapshots({ offset: hostOffset(0), count: 0 })],
];

describe('a change of the header', () => {
  for (const [name, change] of changes) {
    it(`is one write inside the first sector (FMT-13): ${name}`, () => {
      const file = new CountingFile(newFile({}));
      const area = areaOf(file);
      change(area);
      assert.equal(file.log.length, 1);
      const [write] = file.log;
      assert.ok(write !== undefined && write.offset + write.length <= 512 && write.length <= 24);
      assertSameAsFile(area, file);
    });

    it(`that fails leaves memory as the file is: ${name}`, () => {
      const file = new FaultyFile(newFile({}), { observer: undefined, ignoresFlush: () => false });
      const area = areaOf(file);
      const before = area.header;
      file.failLater({ call: 'write', after: 0, fault: new Fault('io-error', {}) });
      assert.equal(
        faultCodeOf(() => {
          change(area);
        }),
        'io-error',
      );
      assert.deepEqual(area.header, before);
      assert.deepEqual(areaOf(file).header, before);
    });
  }

  it('clears autoclear bits that nobody keeps true, and keeps that of raw external data', () => {
    const file = newFile({});
    // The bit means something only with the incompatible bit of a data file.
    file.writeAt(hostOffset(72), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 4));
    file.writeAt(hostOffset(88), Uint8Array.of(0x80, 0, 0, 0, 0, 0, 0, 0xf2));
    const area = areaOf(file);
    assert.equal(area.hasUnknownAutoclear, true);
    area.setAutoclear({ bitmaps: false });
    assert.equal(area.hasUnknownAutoclear, false);
    assert.deepEqual(fileBytes(file).subarray(88, 96), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2));
  });
});

describe('a new backing name', () => {
  const extension = { type: 0x1234_5678, data: Uint8Array.of(1, 2, 3, 4, 5) };

  /** A header that is longer than known, and an unknown extension, as other writers leave them. */
  function fileWithUnknowns(): MemoryFile {
    const file = newFile({ backing: { fileName: 'old-name.qcow2', format: 'qcow2' } });
    const bytes = fileBytes(file).slice(0, 4096);
    const view = new DataView(bytes.buffer);
    const headerLength = view.getUint32(100);
    bytes.fill(0, headerLength);
    view.setUint32(100, 128);
    bytes.set([9, 8, 7], 120);
    view.setUint32(128, extension.type);
    view.setUint32(132, extension.data.length);
    bytes.set(extension.data, 136);
    view.setUint32(8, 0);
    view.setUint32(12, 152 + 8);
    bytes.set(new TextEncoder().encode('old'), 160);
    view.setUint32(16, 3);
    file.writeAt(hostOffset(0), bytes);
    return file;
  }

  it('keeps unknown fields and extensions (FMT-04, EXT-06, T64)', () => {
    const file = fileWithUnknowns();
    const area = areaOf(file);
    assert.equal(area.backingName, 'old');
    area.rewriteBacking({ fileName: 'base-ä.raw', format: 'raw' });
    assertSameAsFile(area, file);
    const found = areaOf(file);
    assert.equal(found.backingName, 'base-ä.raw');
    assert.equal(found.extensions.backingFormat, 'raw');
    assert.deepEqual(
      found.extensions.unknown.map(({ type, data }) => ({ type, data: Uint8Array.from(data) })),
      [extension],
    );
    assert.deepEqual(fileBytes(file).subarray(120, 123), Uint8Array.of(9, 8, 7));
  });

  it('that does not fit is refused, and nothing is changed (T65)', () => {
    const file = newFile({ clusterSize: 512, backing: { fileName: 'b', format: 'raw' } });
    const area = areaOf(file);
    const before = fileBytes(file);
    for (const length of [500, 1024]) {
      const wish = { fileName: 'x'.repeat(length), format: 'raw' };
      assert.equal(
        faultCodeOf(() => {
          area.rewriteBacking(wish);
        }),
        'header-full',
      );
    }
    assert.deepEqual(fileBytes(file), before);
    assert.equal(area.backingName, 'b');
  });
});

describe('incompatible features that are unknown', () => {
  it('are refused by the names that the image gives them, or by their bit', () => {
    const file = newFile({ clusterSize: 65_536 });
    const bytes = fileBytes(file);
    const view = new DataView(bytes.buffer);
    // The table of names is the first extension: its first row gets another bit and name.
    const row = view.getUint32(100) + 8;
    assert.equal(view.getUint32(row - 8), 0x6803_f857);
    bytes[row] = 0;
    bytes[row + 1] = 33;
    bytes.fill(0, row + 2, row + 48);
    bytes.set(new TextEncoder().encode('time travel'), row + 2);
    bytes[72 + 3] = 0b0000_0110;
    const changed = MemoryFile.of(bytes);
    assert.throws(
      () => areaOf(changed),
      (error) => {
        assert.ok(error instanceof Fault);
        assert.equal(error.code, 'feature-unknown');
        assert.deepEqual(error.context, { bits: [33, 34], names: ['time travel', 'bit 34'] });
        return true;
      },
    );
  });
});
