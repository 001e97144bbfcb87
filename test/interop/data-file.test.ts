// Images with an external data file that QEMU makes are ours to read and write, and those that we make are QEMU's; both
// keep the other one out while they have it open. (Random lives of them: test/interop/differential.)

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { BackingFile } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { plainSpec } from '../support/plain-spec.ts';
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

    it('of ours is QEMU’s to check, to write and to describe (BIT-I2, EXT-05, DAT-08)', () => {
      using folder = tempFolder();
      const path = join(folder.path, 'ours.qcow2');
      const data = join(folder.path, 'ours.data');
      const dataFile = { fileName: data, path: data, raw };
      runToEnd(Image.create(path, { ...plainSpec, extendedL2: true, dataFile }));
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

/** One image of a chain, made by QEMU, that keeps its data beside it or itself. */
interface Layer {
  readonly name: string;
  readonly below?: string;
  readonly keeps: 'itself' | 'beside' | 'raw';
  readonly commands: readonly string[];
}

function build(folder: string, layers: readonly Layer[]): void {
  for (const { name, below, keeps, commands } of layers) {
    const path = join(folder, name);
    const options =
      keeps === 'itself' ? [] : [`data_file=${path}.data,data_file_raw=${keeps === 'raw' ? 'on' : 'off'}`];
    const backing = below === undefined ? [] : ['-b', below, '-F', 'qcow2'];
    qemuImg('create', '-q', '-f', 'qcow2', ...options.flatMap((one) => ['-o', one]), ...backing, path, '2M');
    qemuIo(path, commands, quiet);
  }
}

function layersOf(folder: string, ...names: readonly string[]): readonly BackingFile[] {
  return names.map((fileName) => {
    const path = join(folder, fileName);
    return { fileName, path, format: 'qcow2', dataFile: { fileName: `${path}.data`, path: `${path}.data` } };
  });
}

function openOver(folder: string, name: string, below: readonly string[], hostCopies = false): Image {
  const path = join(folder, name);
  const dataFile = { fileName: `${path}.data`, path: `${path}.data` };
  return Image.open({ path, writable: true, locks: 'qemu', backing: layersOf(folder, ...below), dataFile, hostCopies });
}

describe('images with data files as layers', () => {
  const base = ['write -P 1 0 1500k', 'write -z 200k 100k'];
  const top = ['write -P 2 100k 50001', 'write -z 1m 200k', 'write -P 3 1900k 100k'];
  for (const [below, above, hostCopies] of [
    ['beside', 'itself', false],
    ['raw', 'beside', true],
  ] as const) {
    it(`are committed into, put on one another, flattened and copied: ${above} over ${below}`, () => {
      using folder = tempFolder();
      const { path } = folder;
      build(path, [
        { name: 'base', keeps: below, commands: base },
        { name: 'other', keeps: 'beside', commands: ['write -P 1 0 300k', 'write -P 9 1m 500k'] },
        { name: 'top', below: 'base', keeps: above, commands: top },
      ]);
      const before = join(path, 'before.raw');
      const raw = { path: before, format: 'raw' } as const;
      const isAsBefore = (name: string): boolean => compareImages({ path: join(path, name), format: 'qcow2' }, raw);
      qemuImg('convert', '-O', 'raw', join(path, 'top'), before);
      {
        const image = openOver(path, 'top', ['base'], hostCopies);
        runToEnd(image.rebase({ chain: layersOf(path, 'other'), mode: 'safe' }));
        assert.equal(runToEnd(image.check()).clean, true);
        image.close();
        assert.ok(isAsBefore('top'), 'on another one with a data file');
      }
      {
        const image = openOver(path, 'top', ['other'], hostCopies);
        const spec = { ...plainSpec, virtualSize: 2 * MiB };
        const copy = {
          path: join(path, 'copy'),
          spec,
          compress: !hostCopies,
          layer: 'all',
          snapshot: undefined,
        } as const;
        runToEnd(image.copyTo(copy));
        runToEnd(image.commit({ depth: 1, mend: false }));
        runToEnd(image.empty());
        runToEnd(image.rebase({ chain: [], mode: 'safe' }));
        image.close();
      }
      for (const name of ['top', 'other', 'copy']) {
        assert.ok(isAsBefore(name), name);
        assert.equal(checkImage(join(path, name), 'none').exit, 0, name);
      }
      assert.equal(infoJson(join(path, 'top'))['backing-filename'], undefined);
      if (below === 'raw')
        assert.ok(
          compareImages(
            { path: join(path, 'base'), format: 'qcow2' },
            { path: join(path, 'base.data'), format: 'raw' },
          ),
        );
    });
  }

  it('are raw ones with nothing below them: neither QEMU nor we give them a base (DAT-04)', () => {
    using folder = tempFolder();
    const { path } = folder;
    build(path, [
      { name: 'base', keeps: 'itself', commands: [] },
      { name: 'top', keeps: 'raw', commands: ['write -P 7 0 64k'] },
    ]);
    const file = join(path, 'top');
    const found = readFileSync(file);
    for (const mode of ['safe', 'unsafe'] as const) {
      const image = openOver(path, 'top', []);
      const rebased = (): void => runToEnd(image.rebase({ chain: layersOf(path, 'base'), mode }));
      const reason = 'a raw data file is the whole disk, and leaves nothing to an image below';
      assert.throws(rebased, { code: 'unsupported-option', context: { option: 'backing', reason } });
      image.close();
      assert.ok(readFileSync(file).equals(found), mode);
    }
    const refused = runTool('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', file], '');
    assert.notEqual(refused.exit, 0);
  });
});
