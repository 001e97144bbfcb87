// What the format codecs write, QEMU takes as sound and reads as it was meant.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

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
