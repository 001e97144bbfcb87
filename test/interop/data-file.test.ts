// Images with an external data file that QEMU makes are ours to read and write, and those that we make are QEMU's; both
// keep the other one out while they have it open. (Random lives of them: test/interop/differential.)

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { plainSpec } from '../support/memory-parts.ts';
import { checkImage, compareImages, infoJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

const MiB = 1024 * 1024;
const quiet = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

function open(path: string, dataPath: string): Image {
  const dataFile = { fileName: dataPath, path: dataPath };
  return Image.open({ path, writable: true, locks: 'qemu', backing: [], dataFile });
}

function specific(path: string): Readonly<Record<string, unknown>> {
  const info = infoJson(path)['format-specific'] as { readonly data: Readonly<Record<string, unknown>> };
  return info.data;
}

for (const raw of [false, true]) {
  const option = raw ? 'on' : 'off';
  describe(`data_file_raw=${option}`, () => {
    it('of QEMU is read, changed and checked here, and QEMU finds it sound', () => {
      using folder = tempFolder();
      const path = join(folder.path, 'theirs.qcow2');
      const data = join(folder.path, 'theirs.data');
      const words = `data_file=${data},data_file_raw=${option}`;
      qemuImg('create', '-q', '-f', 'qcow2', '-o', words, path, '1000000');
      qemuIo(path, ['write -P 17 0 200k', 'write -z 64k 64k', 'discard 128k 64k'], quiet);
      const image = open(path, data);
      const bytes = new Uint8Array(200 * 1024);
      image.read(guestOffset(0), bytes);
      const expected = new Uint8Array(bytes.length).fill(17).fill(0, 65_536, 196_608);
      assert.deepEqual(bytes, expected);
      assert.equal(runToEnd(image.check()).clean, true);
      image.write(guestOffset(130_000), new Uint8Array(100_000).fill(34), { detectZeroes: false });
      runToEnd(image.resize({ virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' }));
      image.close();
      assert.equal(checkImage(path, 'none').exit, 0);
      qemuIo(path, ['read -P 17 0 64k', 'read -P 34 130000 100000', 'read -P 0 230000 1867152'], quiet);
      if (raw) assert.ok(compareImages({ path, format: 'qcow2' }, { path: data, format: 'raw' }));
    });

    it('of ours is QEMU’s to check, to write and to describe', () => {
      using folder = tempFolder();
      const path = join(folder.path, 'ours.qcow2');
      const data = join(folder.path, 'ours.data');
      const dataFile = { fileName: data, path: data, raw };
      runToEnd(Image.create(path, { ...plainSpec, clusterSize: 65_536, extendedL2: true, dataFile }));
      qemuIo(path, ['write -P 51 1000 70000', 'read -P 0 0 1000'], quiet);
      assert.equal(checkImage(path, 'none').exit, 0);
      assert.deepEqual([specific(path)['data-file'], specific(path)['data-file-raw']], [data, raw]);
      const image = open(path, data);
      const bytes = new Uint8Array(70_000);
      image.read(guestOffset(1000), bytes);
      image.close();
      assert.ok(bytes.every((byte) => byte === 51));
      assert.equal(readFileSync(data).length, MiB);
    });
  });
}

it('neither opens a data file for writing while the other has it', () => {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  const data = join(folder.path, 'image.data');
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${data}`, path, '1M');
  const image = open(path, data);
  // Another image with the same data: only the data file stands between the two.
  const other = join(folder.path, 'other.qcow2');
  const refused = runTool('qemu-img', ['create', '-f', 'qcow2', '-o', `data_file=${data}`, other, '2M'], '');
  assert.notEqual(refused.exit, 0);
  assert.match(refused.stderr, /Failed to get .*lock/);
  image.close();
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${data}`, other, '2M');
});
