// What the format codecs write, QEMU takes as sound and reads as it was meant.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { commonChoice, soundChoices, soundImage } from '../support/hostile-image.ts';
import { checkImage, infoJson, qemuImg } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

for (const [name, choice] of soundChoices) {
  test(`QEMU finds an image of our codecs sound: ${name}`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    const draft = soundImage({ ...commonChoice, ...choice });
    writeFileSync(path, draft.bytes);

    const { exit, json } = checkImage(path, 'none');
    assert.equal(exit, 0);
    assert.deepEqual([json?.['allocated-clusters'], json?.['compressed-clusters']], [4, 2]);
    const info = infoJson(path);
    const snapshots = info['snapshots'] as readonly { readonly id: string; readonly name: string }[];
    assert.deepEqual(
      snapshots.map((snapshot) => [snapshot.id, snapshot.name]),
      [['1', 'abc']],
    );

    const expected = new Uint8Array(Number(info['virtual-size']));
    const cluster = draft.geometry.clusterSize;
    [0x11, 0x22, 0x33, 0x33].forEach((value, index) => {
      expected.fill(value, index * cluster, (index + 1) * cluster);
    });
    for (const snapshot of [[], ['-l', 'snapshot.name=abc']]) {
      const raw = join(folder.path, 'image.raw');
      qemuImg('convert', '-q', '-f', 'qcow2', '-O', 'raw', ...snapshot, path, raw);
      assert.equal(Buffer.compare(readFileSync(raw), expected), 0);
    }
  });
}

test('what is unknown in a header is kept or cleared as QEMU does it, byte for byte (FMT-04, EXT-06, BIT-C0, BIT-A2)', () => {
  using folder = tempFolder();
  const pathOf = (name: string): string => join(folder.path, name);
  for (const name of ['a.raw', 'b.raw']) qemuImg('create', '-q', '-f', 'raw', pathOf(name), '1M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'a.raw', '-F', 'raw', pathOf('ours.qcow2'));
  const file = readFileSync(pathOf('ours.qcow2'));
  // A field more, and an extension: what stands behind them moves.
  const extension = Buffer.from('1234567800000005' + Buffer.from('hello').toString('hex') + '000000', 'hex');
  const more = Buffer.concat([Buffer.from('fieldfie'), extension]);
  file.copyWithin(112 + more.length, 112, clusterSize - more.length);
  more.copy(file, 112);
  file.writeUInt32BE(120, 100);
  file.writeBigUInt64BE(file.readBigUInt64BE(8) + BigInt(more.length), 8);
  // Compatible bit 5, autoclear bit 6.
  file.writeUInt8(0x20, 87);
  file.writeUInt8(0x40, 95);
  for (const name of ['ours.qcow2', 'theirs.qcow2']) writeFileSync(pathOf(name), file);

  qemuImg('rebase', '-u', '-f', 'qcow2', '-b', 'b.raw', '-F', 'raw', pathOf('theirs.qcow2'));
  const chain = (fileName: string) => [{ fileName, path: pathOf(fileName), format: 'raw' }] as const;
  const image = Image.open({ path: pathOf('ours.qcow2'), writable: true, locks: 'qemu', backing: chain('a.raw') });
  runToEnd(image.rebase({ chain: chain('b.raw'), mode: 'unsafe' }));
  image.close();

  const [ours, theirs] = ['ours.qcow2', 'theirs.qcow2'].map((name) =>
    readFileSync(pathOf(name)).subarray(0, clusterSize),
  );
  assert.ok(theirs !== undefined);
  assert.deepEqual(ours, theirs);
  assert.ok(theirs.includes(extension) && theirs.subarray(112, 120).equals(more.subarray(0, 8)));
  assert.deepEqual([theirs.readUInt8(87), theirs.readUInt8(95)], [0x20, 0]);
});

const clusterSize = 65_536;
