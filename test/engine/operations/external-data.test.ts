// Images that keep their data in an external file: opened, written, resized, refused.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { CreateSpec } from '../../../src/engine/image.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';

interface Pair {
  readonly file: MemoryFile;
  readonly data: MemoryFile;
}

const cluster = smallSpec.clusterSize;

function newPair(raw: boolean, change: Partial<CreateSpec> = {}): Pair {
  const file = MemoryFile.empty();
  const data = MemoryFile.empty();
  const dataFile = { fileName: 'img.data', path: '/nowhere', raw };
  runToEnd(createImage(file, { ...smallSpec, ...change, dataFile }, data));
  return { file, data };
}

function open({ file, data }: Pair): Image {
  return Image.openFile(file, { writable: true, backing: undefined, dataFile: data });
}

/** The L2 entries of the first table, in hexadecimal. */
function entriesOf(file: MemoryFile, count: number): readonly string[] {
  const bytes = Buffer.from(fileBytes(file));
  const l1 = Number(bytes.readBigUInt64BE(40));
  const table = Number(bytes.readBigUInt64BE(l1) & 0xff_ffff_ffff_fe00n);
  return Array.from({ length: count }, (_, index) => bytes.readBigUInt64BE(table + index * 8).toString(16));
}

describe('an image with a data file', () => {
  it('has every cluster at its guest offset, the first one, too (DAT-01, DAT-02)', () => {
    const pair = newPair(false);
    const image = open(pair);
    fillGuest(image, 0, cluster, 1);
    fillGuest(image, 2 * cluster + 5, 10, 2);
    image.close();
    assert.deepEqual(entriesOf(pair.file, 3), ['8000000000000000', '0', '8000000000002000']);
    assert.deepEqual(
      [...fileBytes(pair.data).subarray(2 * cluster + 4, 2 * cluster + 16)].join(),
      '0,2,2,2,2,2,2,2,2,2,2,0',
    );
    assert.equal(pair.data.size, smallSpec.virtualSize);
    assert.deepEqual(countsOf(pair.file), clean);
    const again = open(pair);
    assert.deepEqual(guestBytes(again, 0, 2), Uint8Array.of(1, 1));
    assert.deepEqual(again.describe().dataFileName, 'img.data');
    assert.deepEqual(again.describe().dataFileRaw, false);
    again.close();
  });

  it('gives what is discarded back at once, and takes the next write there', () => {
    const pair = newPair(false);
    const image = open(pair);
    fillGuest(image, 0, 4 * cluster, 3);
    image.flush();
    runToEnd(image.discard(guestOffset(cluster), 2 * cluster));
    assert.ok(
      fileBytes(pair.data)
        .subarray(cluster, 3 * cluster)
        .every((byte) => byte === 0),
    );
    fillGuest(image, cluster + 8, 8, 4);
    image.flush();
    assert.equal(fileBytes(pair.data)[cluster + 8], 4, 'no late hole takes it away');
    runToEnd(image.zero(guestOffset(0), cluster, { unmap: false }));
    image.close();
    assert.deepEqual(entriesOf(pair.file, 4), ['8000000000000001', '8000000000001000', '1', '8000000000003000']);
    assert.equal(fileBytes(pair.data)[0], 3, 'bytes that keep their place may stay as they are');
  });

  it('takes no snapshots (DAT-01)', () => {
    const pair = newPair(false);
    const image = open(pair);
    const wish = { name: 's', seconds: 0, nanoseconds: 0, idFloor: 0 };
    const before = fileBytes(pair.file);
    assert.equal(
      faultCodeOf(() => runToEnd(image.createSnapshot(wish))),
      'unsupported-option',
    );
    assert.equal(
      faultCodeOf(() => runToEnd(image.deleteSnapshot('s'))),
      'unsupported-option',
    );
    assert.equal(
      faultCodeOf(() => runToEnd(image.revertSnapshot('s'))),
      'unsupported-option',
    );
    assert.deepEqual(fileBytes(pair.file), before);
    image.close();
  });

  it('takes no packed clusters (CMP-06)', () => {
    const image = open(newPair(false));
    const packed = image.writeCompressed(guestOffset(0), new Uint8Array(cluster), { detectZeroes: false });
    assert.equal(
      faultCodeOf(() => runToEnd(packed)),
      'unsupported-option',
    );
    image.close();
  });

  it('is cut and grown with its data file (DAT-06)', () => {
    const pair = newPair(false);
    const image = open(pair);
    fillGuest(image, 0, 8 * cluster, 5);
    const resize = (virtualSize: number): void =>
      runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation: 'off' }));
    resize(3 * cluster + 512);
    assert.equal(pair.data.size, 3 * cluster + 512);
    resize(8 * cluster);
    assert.equal(pair.data.size, 8 * cluster);
    const bytes = guestBytes(image, 0, 8 * cluster);
    assert.deepEqual([bytes[3 * cluster + 511], bytes[3 * cluster + 512], bytes[7 * cluster]], [5, 0, 0]);
    image.close();
    assert.deepEqual(countsOf(pair.file), clean);
  });

  it('is refused without the file, and with a bit that says raw of nothing (DAT-03, BIT-A1, BIT-I2)', () => {
    const { file } = newPair(true);
    assert.equal(
      faultCodeOf(() => imageOver(file.fork(), undefined)),
      'data-file-refused',
    );
    const bits = new Uint8Array(8);
    file.writeAt(hostOffset(72), bits);
    assert.equal(
      faultCodeOf(() => imageOver(file.fork(), undefined)),
      'data-file-invalid',
    );
  });

  it('stays as it was when its data file finds the disk full', () => {
    const pair = newPair(false);
    const data = new FaultyFile(pair.data, { observer: undefined, ignoresFlush: () => false });
    const image = Image.openFile(pair.file, { writable: true, backing: undefined, dataFile: data });
    fillGuest(image, 0, cluster, 5);
    image.flush();
    const fault = new Fault('insufficient-storage', { reason: 'simulated' });
    data.failLater({ call: 'write', after: 0, fault });
    assert.equal(
      faultCodeOf(() => fillGuest(image, cluster, cluster, 6)),
      'insufficient-storage',
    );
    assert.deepEqual(guestBytes(image, cluster - 1, 2), Uint8Array.of(5, 0));
    data.failLater({ call: 'write', after: 0, fault });
    const grown = { virtualSize: 2 * smallSpec.virtualSize, allowShrink: false, preallocation: 'off' } as const;
    assert.equal(
      faultCodeOf(() => runToEnd(image.resize(grown))),
      'insufficient-storage',
    );
    assert.deepEqual([image.virtualSize, data.size], [smallSpec.virtualSize, smallSpec.virtualSize]);
    image.close();
    assert.deepEqual(countsOf(pair.file), clean);
  });

  it('is emptied with its data file', () => {
    const pair = newPair(false);
    const image = open(pair);
    fillGuest(image, 0, 8 * cluster, 5);
    runToEnd(image.empty());
    assert.ok(fileBytes(pair.data).every((byte) => byte === 0));
    fillGuest(image, 5, 1, 6);
    image.close();
    assert.deepEqual(guestBytes(open(pair), 4, 3), Uint8Array.of(0, 6, 0));
    assert.deepEqual(countsOf(pair.file), clean);
  });

  it('is corrupt where an entry names another place, or a blob', () => {
    const pair = newPair(false);
    const image = open(pair);
    fillGuest(image, 0, 2 * cluster, 5);
    image.close();
    const bytes = Buffer.from(fileBytes(pair.file));
    const table = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(40))) & 0xff_ffff_ffff_fe00n);
    for (const entry of [0x8000_0000_0000_0000n, 0x4000_0000_0000_5000n]) {
      bytes.writeBigUInt64BE(entry, table + 8);
      const broken = { file: MemoryFile.of(bytes), data: pair.data };
      assert.equal(runToEnd(check(broken.file)).corruptions, 1);
      const damaged = open(broken);
      assert.equal(
        faultCodeOf(() => guestBytes(damaged, cluster, 1)),
        'l2-entry-invalid',
      );
    }
  });
});

describe('a raw data file', () => {
  it('makes the golden image (B17): bits, name, a place for every cluster, and the zero flag beside its place', () => {
    const pair = newPair(true, { virtualSize: 256 * 1024, clusterSize: 65_536 });
    const bytes = Buffer.from(fileBytes(pair.file));
    const features = [72, 88].map((at) => bytes.readBigUInt64BE(at));
    assert.deepEqual(features, [4n, 2n]);
    assert.equal(bytes.toString('latin1', 0x70, 0x80), 'DATA\0\0\0\x08img.data');
    const places = ['8000000000000000', '8000000000010000', '8000000000020000', '8000000000030000'];
    assert.deepEqual(entriesOf(pair.file, 5), [...places, '0']);
    const image = open(pair);
    runToEnd(image.zero(guestOffset(0), 65_536, { unmap: false }));
    image.close();
    assert.equal(entriesOf(pair.file, 1)[0], '8000000000000001');
    assert.deepEqual(countsOf(pair.file), clean);
  });

  it('is mapped from the start, also where it grows (DAT-04)', () => {
    const pair = newPair(true, { virtualSize: 2 * cluster });
    const image = open(pair);
    runToEnd(image.resize({ virtualSize: 4 * cluster, allowShrink: false, preallocation: 'off' }));
    image.close();
    const places = ['8000000000000000', '8000000000001000', '8000000000002000', '8000000000003000'];
    assert.deepEqual(entriesOf(pair.file, 5), [...places, '0']);
    assert.deepEqual(countsOf(pair.file), clean);
  });

  it('reads as the disk after zeroes of every kind (DAT-04, DAT-05)', () => {
    const pair = newPair(true);
    const image = open(pair);
    fillGuest(image, 0, 10 * cluster, 6);
    runToEnd(image.zero(guestOffset(0), cluster, { unmap: false }));
    runToEnd(image.zero(guestOffset(cluster), cluster, { unmap: true }));
    runToEnd(image.discard(guestOffset(2 * cluster), cluster));
    runToEnd(image.zero(guestOffset(4 * cluster + 100), 1000, { unmap: true }));
    fillGuest(image, cluster + 9, 3, 8);
    image.close();
    const again = open(pair);
    assert.deepEqual(guestBytes(again, 0, smallSpec.virtualSize), fileBytes(pair.data));
    assert.equal(fileBytes(pair.data)[cluster + 9], 8);
    assert.ok(
      fileBytes(pair.data)
        .subarray(0, cluster)
        .every((byte) => byte === 0),
    );
  });

  it('needs version 3 and nothing below (CRE-10, CRE-11)', () => {
    const backing = { fileName: 'base', format: 'raw' } as const;
    assert.equal(
      faultCodeOf(() => newPair(true, { backing })),
      'unsupported-option',
    );
    assert.equal(
      faultCodeOf(() => newPair(false, { compat: '0.10' })),
      'unsupported-option',
    );
    assert.deepEqual(countsOf(newPair(false, { backing }).file), clean);
  });
});
