// VM state in both directions: what qemu-io writes is read here, and what is written here qemu-io reads.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB } from '../../src/base/units.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { infoJson, qemuImg, qemuIo } from '../support/qemu-img.ts';
import type { QemuIoOptions } from '../support/qemu-img.ts';
import { assertSound } from '../support/qemu-verdicts.ts';
import { tempFolder } from '../support/temp-folder.ts';

const io: QemuIoOptions = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' };

const kinds = [
  ['defaults', ''],
  ['small clusters and wide refcounts', 'cluster_size=512,refcount_bits=64'],
  ['subclusters', 'extended_l2=on'],
] as const;

function make(path: string, options: string): void {
  qemuImg('create', '-q', '-f', 'qcow2', ...(options === '' ? [] : ['-o', options]), path, '3M');
}

function open(path: string): Image {
  return Image.open({ path, writable: true, backing: [], locks: 'none' });
}

/**
 * `qemu-img snapshot -c` keeps the VM state of the disk in the snapshot, and says it had none: the length is entered as
 * `savevm` does (SNT-01, SNT-02).
 */
function enterStateLength(path: string, length: number): void {
  const file = readFileSync(path);
  const entry = Number(file.readBigUInt64BE(64));
  // SNT-03.
  file.writeUInt32BE(length < 2 ** 32 ? length : 0, entry + 32);
  file.writeBigUInt64BE(BigInt(length), entry + 40);
  writeFileSync(path, file);
}

function stateLengths(path: string): readonly unknown[] {
  const { snapshots } = infoJson(path) as { readonly snapshots: readonly Record<string, unknown>[] };
  return snapshots.map((one) => one['vm-state-size']);
}

describe('VM state', () => {
  for (const [kind, options] of kinds) {
    it(`that QEMU wrote is read here (MAP-11, OPS-34): ${kind}`, () => {
      using folder = tempFolder();
      const path = join(folder.path, 'image.qcow2');
      make(path, options);
      qemuIo(path, ['write -P 3 0 1M', 'write -b -P 7 0 100k', 'write -b -P 9 300k 50k'], io);
      qemuImg('snapshot', '-c', 'one', path);
      enterStateLength(path, 350 * KiB);
      assert.deepEqual(stateLengths(path), [350 * KiB]);
      const image = open(path);
      const expected = new Uint8Array(350 * KiB).fill(7, 0, 100 * KiB).fill(9, 300 * KiB);
      const found = new Uint8Array(350 * KiB).fill(0xee);
      image.readVmState('one', 0, found);
      assert.equal(Buffer.compare(found, expected), 0);
      // Another one takes its place; the disk that still has the old one goes on.
      runToEnd(image.writeVmState('one', MemoryFile.of(new Uint8Array(1_000).fill(1))));
      image.close();
      assertSound(path, 'rewritten');
      qemuIo(path, ['read -b -P 7 0 100k', 'read -b -P 9 300k 50k', 'read -P 3 0 1M'], io);
    });

    it(`that is written here QEMU reads (MAP-11, OPS-34): ${kind}`, () => {
      using folder = tempFolder();
      const path = join(folder.path, 'image.qcow2');
      make(path, options);
      qemuIo(path, ['write -P 3 0 1M'], io);
      qemuImg('snapshot', '-c', 'one', path);
      const image = open(path);
      runToEnd(image.createSnapshot({ name: 'two', seconds: 1, nanoseconds: 0, idFloor: 1 }));
      const state = new Uint8Array(2 * MiB).fill(5, 0, MiB).fill(6, MiB + 256 * KiB);
      runToEnd(image.writeVmState('one', MemoryFile.of(new Uint8Array(MiB).fill(8))));
      runToEnd(image.writeVmState('one', MemoryFile.of(state)));
      runToEnd(image.writeVmState('two', MemoryFile.of(state.subarray(0, 512))));
      image.close();
      assertSound(path, 'written');
      assert.deepEqual(stateLengths(path), [2 * MiB, 512]);
      qemuImg('snapshot', '-a', 'one', path);
      const reads = ['read -b -P 5 0 1M', 'read -b -P 0 1M 256k', 'read -b -P 6 1280k 768k'];
      qemuIo(path, [...reads, 'read -P 3 0 1M', 'write -b -P 2 0 64k'], io);
      qemuImg('snapshot', '-d', 'one', path);
      assertSound(path, 'deleted by QEMU');
    });
  }

  it('that is longer than 4 GiB QEMU reads, and it shows the whole length (SNT-03, T73)', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    make(path, '');
    qemuImg('snapshot', '-c', 'one', path);
    const source = MemoryFile.empty();
    source.resize(5 * GiB);
    source.writeAt(hostOffset(0), new Uint8Array(512).fill(1));
    source.writeAt(hostOffset(4 * GiB - 512), new Uint8Array(1024).fill(2));
    source.writeAt(hostOffset(5 * GiB - 512), new Uint8Array(512).fill(3));
    const image = open(path);
    runToEnd(image.writeVmState('one', source));
    image.close();
    assertSound(path, 'written');
    assert.deepEqual(stateLengths(path), [5 * GiB]);
    assert.equal(readFileSync(path).readUInt32BE(Number(readFileSync(path).readBigUInt64BE(64)) + 32), 0);
    qemuImg('snapshot', '-a', 'one', path);
    const reads = ['0 512', `${4 * GiB - 512} 1k`, `${5 * GiB - 512} 512`].map(
      (span, at) => `read -b -P ${at + 1} ${span}`,
    );
    qemuIo(path, [...reads, 'read -b -P 0 3G 512k'], io);
  });

  it('that QEMU wrote beyond 4 GiB is read here, and what is as long and takes its place, there (SNT-03, T73)', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    make(path, 'compat=0.10,cluster_size=2M');
    const end = 6 * GiB;
    const places = [0, 4 * GiB - 512, end - 1024] as const;
    const commands = places.map((at, index) => `write -b -P ${index + 1} ${at} 1k`);
    qemuIo(path, ['write -P 3 0 1M', ...commands], io);
    qemuImg('snapshot', '-c', 'one', path);
    enterStateLength(path, end);
    assert.deepEqual(stateLengths(path), [end]);
    const image = open(path);
    const stateAt = (at: number, length: number): Uint8Array => {
      const bytes = new Uint8Array(length).fill(0xee);
      image.readVmState('one', at, bytes);
      return bytes;
    };
    assert.equal(image.findSnapshot('one')?.snapshot.vmStateSize, end);
    for (const [index, at] of places.entries()) {
      assert.deepEqual(stateAt(at, 1024), new Uint8Array(1024).fill(index + 1), `at ${at}`);
    }
    assert.deepEqual(stateAt(end - 4096, 4096), new Uint8Array(4096).fill(3, 3072), 'zeroes before the last of it');
    assert.ok(stateAt(5 * GiB, 4096).every((byte) => byte === 0));
    const other = MemoryFile.empty();
    other.resize(end - 512);
    other.writeAt(hostOffset(5 * GiB), new Uint8Array(512).fill(8));
    runToEnd(image.writeVmState('one', other));
    image.close();
    assertSound(path, 'rewritten');
    // The disk itself still has the state that QEMU wrote.
    qemuIo(path, [...commands.map((command) => command.replace('write', 'read')), 'read -P 3 0 1M'], io);
    qemuImg('snapshot', '-a', 'one', path);
    qemuIo(path, [`read -b -P 8 ${5 * GiB} 512`, 'read -b -P 0 0 1k', `read -b -P 0 ${end - 1024} 1k`], io);
    assert.deepEqual(stateLengths(path), [end - 512]);
  });
});
