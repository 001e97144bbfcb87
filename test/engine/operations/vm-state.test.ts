// The VM state of snapshots: written whole, read in parts, replaced, and gone with its snapshot.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { GiB, MiB } from '../../../src/base/units.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../../src/engine/image.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultOf } from '../../support/faults.ts';
import { clean, countsOf, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const kinds: readonly (readonly [string, Partial<CreateSpec>])[] = [
  ['standard entries', {}],
  ['version 2', { compat: '0.10' }],
  ['extended entries', { extendedL2: true, clusterSize: 16_384 }],
  ['small clusters', { clusterSize: 512, refcountBits: 64, virtualSize: 100_352 }],
  ['lazy refcounts', { lazyRefcounts: true }],
  ['large clusters', { clusterSize: 2 * MiB, virtualSize: 5 * MiB }],
  ['no disk', { virtualSize: 0 }],
];

function take(image: Image, name: string): void {
  runToEnd(image.createSnapshot({ name, seconds: 5, nanoseconds: 6, idFloor: 1 }));
}

function stateOf(image: Image, snapshot: string): Uint8Array {
  const found = image.findSnapshot(snapshot);
  assert.ok(found !== undefined);
  const bytes = new Uint8Array(found.snapshot.vmStateSize).fill(0xee);
  // In parts that agree with nothing.
  for (let at = 0; at < bytes.length; at += 77_777) image.readVmState(snapshot, at, bytes.subarray(at, at + 77_777));
  return bytes;
}

describe('VM state', () => {
  for (const [kind, change] of kinds) {
    it(`reads as it was written, and the disk stays: ${kind}`, () => {
      const chance = new Prng(7);
      const file = newFile(change);
      let image = imageOver(file, undefined);
      const disk = image.virtualSize;
      fillGuest(image, 0, Math.min(disk, 50_000), 1);
      take(image, 'one');
      take(image, 'two');
      const written = chance.bytes(2 * MiB + 12_345);
      written.fill(0, 300_000, 900_000);
      runToEnd(image.writeVmState('one', MemoryFile.of(written)));
      runToEnd(image.writeVmState('two', MemoryFile.of(new Uint8Array(3).fill(9))));
      assert.deepEqual(stateOf(image, 'one'), written);
      image.close();
      assert.deepEqual(countsOf(file), clean);

      image = imageOver(file, undefined);
      assert.deepEqual(stateOf(image, 'one'), written);
      assert.deepEqual(stateOf(image, 'two'), new Uint8Array(3).fill(9));
      assert.deepEqual(guestBytes(image, 0, disk).subarray(0, 50_000), new Uint8Array(Math.min(disk, 50_000)).fill(1));
      runToEnd(image.revertSnapshot('one'));
      assert.deepEqual(stateOf(image, 'one'), written);
      runToEnd(image.deleteSnapshot('one'));
      runToEnd(image.writeVmState('two', MemoryFile.empty()));
      assert.equal(image.findSnapshot('two')?.snapshot.vmStateSize, 0);
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });
  }

  it('gives back what the state before it took', () => {
    const file = newFile({ clusterSize: 65_536 });
    const image = imageOver(file, undefined);
    take(image, 'one');
    const sizes: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      runToEnd(image.writeVmState('one', MemoryFile.of(new Uint8Array(4 * MiB).fill(1 + round))));
      sizes.push(image.describe().allocatedSize);
    }
    image.close();
    assert.deepEqual(countsOf(file), clean);
    assert.equal(sizes.at(-1), sizes.at(-3), 'two states take turns');
  });

  it('is longer than 4 GiB, without the zeroes between', () => {
    const source = MemoryFile.empty();
    source.resize(5 * GiB + 3);
    const marks = [0, 2 ** 32 - 7, 2 ** 32 + 65_536, 5 * GiB - 9];
    for (const [index, at] of marks.entries()) source.writeAt(hostOffset(at), new Uint8Array(11).fill(1 + index));
    const file = newFile({ clusterSize: 65_536 });
    let image = imageOver(file, undefined);
    take(image, 'one');
    runToEnd(image.writeVmState('one', source));
    image.close();
    assert.deepEqual(countsOf(file), clean);
    assert.ok(file.allocatedSize < 4 * MiB, `${String(file.allocatedSize)} bytes are in use`);
    image = imageOver(file, undefined);
    assert.equal(image.findSnapshot('one')?.snapshot.vmStateSize, 5 * GiB + 3);
    for (const [index, at] of marks.entries()) {
      const bytes = new Uint8Array(13).fill(0xee);
      image.readVmState('one', Math.max(0, at - 1), bytes);
      const expected = new Uint8Array(13).fill(1 + index);
      if (at > 0) expected.fill(0, 0, 1);
      expected.fill(0, at > 0 ? 12 : 11);
      assert.deepEqual(bytes, expected, `at ${String(at)}`);
    }
    image.abandon();
  });

  it('hides what a longer layer below has there', () => {
    const file = newFile({ clusterSize: 512, virtualSize: 512 * 64, backing: { fileName: 'b', format: 'raw' } });
    const below = MemoryFile.of(new Uint8Array(512 * 64 * 3).fill(0xbb));
    const image = imageOver(file, new RawLayer(below));
    take(image, 'one');
    const source = MemoryFile.empty();
    source.resize(512 * 64 * 3);
    runToEnd(image.writeVmState('one', source));
    assert.deepEqual(stateOf(image, 'one'), new Uint8Array(512 * 64 * 3));
    // Two tables of clusters hold zeroes that QEMU, too, sees instead of what lies below.
    assert.ok(image.describe().fileSize > 512 * 128);
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('comes from a file by its path', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'state');
    writeFileSync(path, 'the state');
    const image = imageOver(newFile({}), undefined);
    take(image, 'one');
    runToEnd(image.writeVmState('one', path));
    assert.equal(Buffer.from(stateOf(image, 'one')).toString(), 'the state');
    image.abandon();
  });

  it('is refused where no L1 table reaches, and read nowhere but inside', () => {
    const image = imageOver(newFile({ clusterSize: 512, virtualSize: 120 * GiB }), undefined);
    take(image, 'one');
    const source = MemoryFile.empty();
    source.resize(8 * GiB + 1);
    assert.deepEqual(
      faultOf(() => runToEnd(image.writeVmState('one', source))),
      ['content-too-large', { lengthMax: 8 * GiB }],
    );
    runToEnd(image.writeVmState('one', MemoryFile.of(new Uint8Array(10))));
    assert.deepEqual(
      faultOf(() => {
        image.readVmState('one', 8, new Uint8Array(3));
      }),
      ['range-not-satisfiable', { size: 10 }],
    );
    assert.deepEqual(
      faultOf(() => runToEnd(image.writeVmState('none', source))),
      ['snapshot-not-found', { snapshot: 'none' }],
    );
    image.abandon();
  });
});
