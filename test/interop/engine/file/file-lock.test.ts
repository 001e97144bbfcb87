import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Image } from '../../../../src/engine/image.ts';
import { qemuImg, runTool } from '../../../support/qemu-img.ts';
import { faultCodeOf } from '../../../support/faults.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

function makeImage(folder: string): string {
  const path = join(folder, 'image.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', path, '1M');
  return path;
}

function open(path: string, writable: boolean): Image {
  return Image.open({ path, writable, locks: 'qemu', backing: [] });
}

/** A qemu-io that has the image open until it is told to quit. */
async function holdWithQemu(
  path: string,
  flags: readonly string[],
  format: 'qcow2' | 'raw' = 'qcow2',
): Promise<() => Promise<void>> {
  const holder = spawn('qemu-io', ['-f', format, ...flags, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  // It answers the first command only once the image is open.
  holder.stdin.write('length\n');
  await once(holder.stdout, 'data');
  await new Promise<void>((resolve) => {
    const look = (data: Buffer): void => {
      if (data.toString().includes('MiB')) resolve();
    };
    holder.stdout.on('data', look);
    holder.stdin.write('length\n');
  });
  return async () => {
    const exit = once(holder, 'exit');
    holder.stdin.end('quit\n');
    await exit;
  };
}

describe('while an image is open for writing here', () => {
  test('qemu can neither write nor read it (CHK-16, T63)', () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const image = open(path, true);
    const write = runTool('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', path], '');
    assert.match(write.stderr, /Failed to get "write" lock/);
    assert.match(runTool('qemu-img', ['check', '-f', 'qcow2', path], '').stderr, /Failed to get shared "write" lock/);
    assert.equal(runTool('qemu-img', ['snapshot', '-c', 's', path], '').exit, 1);
    assert.equal(runTool('qemu-img', ['info', '-U', '-f', 'qcow2', path], '').exit, 0, 'a look without locks is free');
    image.close();
    assert.equal(runTool('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', path], '').exit, 0, 'after closing it may');
  });

  test('nobody opens it here a second time', () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const image = open(path, true);
    assert.equal(
      faultCodeOf(() => open(path, true)),
      'image-in-use',
    );
    assert.equal(
      faultCodeOf(() => open(path, false)),
      'image-in-use',
    );
    image.close();
    open(path, true).close();
  });
});

describe('while an image is open for reading here', () => {
  test('qemu may read it and not write it', () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const images = [open(path, false), open(path, false)];
    assert.equal(runTool('qemu-img', ['check', '-f', 'qcow2', path], '').exit, 0);
    assert.match(
      runTool('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', path], '').stderr,
      /Failed to get "write" lock/,
    );
    for (const image of images) image.close();
  });

  test('its base is held too', () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const overlay = join(folder.path, 'overlay.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'image.qcow2', '-F', 'qcow2', overlay);
    const backing = [{ fileName: 'image.qcow2', path, format: 'qcow2' as const }];
    const image = Image.open({ path: overlay, writable: true, locks: 'qemu', backing });
    assert.match(
      runTool('qemu-io', ['-f', 'qcow2', '-c', 'write 0 512', path], '').stderr,
      /Failed to get "write" lock/,
    );
    image.close();
  });
});

describe('while a qemu holds an image', () => {
  test('for writing, it is in use for us (CHK-16, T63)', async () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const release = await holdWithQemu(path, []);
    assert.equal(
      faultCodeOf(() => open(path, true)),
      'image-in-use',
    );
    assert.equal(
      faultCodeOf(() => open(path, false)),
      'image-in-use',
    );
    await release();
    open(path, true).close();
  });

  test('for reading, we may read it too', async () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const release = await holdWithQemu(path, ['-r']);
    open(path, false).close();
    assert.equal(
      faultCodeOf(() => open(path, true)),
      'image-in-use',
    );
    await release();
  });

  test('an operator may look away from locks', async () => {
    using folder = tempFolder();
    const path = makeImage(folder.path);
    const release = await holdWithQemu(path, []);
    Image.open({ path, writable: true, locks: 'none', backing: [] }).close();
    await release();
  });
});

describe('a data file', () => {
  const makePair = (folder: string): { readonly path: string; readonly data: string } => {
    const [path, data] = [join(folder, 'image.qcow2'), join(folder, 'image.data')];
    qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${data}`, path, '1M');
    return { path, data };
  };
  const openPair = ({ path, data }: ReturnType<typeof makePair>, writable: boolean): Image =>
    Image.open({ path, writable, locks: 'qemu', backing: [], dataFile: { fileName: data, path: data } });
  const succeeds = (words: readonly string[]): boolean => runTool('qemu-io', words, '').exit === 0;
  /** What another QEMU may do with a data file at this moment. */
  const allowed = (data: string): Readonly<Record<string, boolean>> => ({
    read: succeeds(['-r', '-f', 'raw', '-c', 'read 0 512', data]),
    write: succeeds(['-f', 'raw', '-c', 'write 0 512', data]),
    resize: runTool('qemu-img', ['resize', '-q', '-f', 'raw', data, '2M'], '').exit === 0,
    replace: runTool('qemu-img', ['create', '-q', '-f', 'raw', data, '1M'], '').exit === 0,
  });

  test('is kept from others by an image that is open here as by one that qemu has open (CHK-16, T63)', async () => {
    using folder = tempFolder();
    const pair = makePair(folder.path);
    for (const writable of [true, false]) {
      const image = openPair(pair, writable);
      const ours = allowed(pair.data);
      image.close();
      const release = await holdWithQemu(pair.path, writable ? [] : ['-r']);
      const theirs = allowed(pair.data);
      await release();
      assert.deepEqual(ours, theirs, `writable: ${String(writable)}`);
      assert.ok(!ours['resize'] && !ours['replace'], 'nobody changes its length');
    }
    assert.deepEqual(new Set(Object.values(allowed(pair.data))), new Set([true]), 'after closing all is free');
  });

  test('that a qemu has open keeps its image from being opened here as from qemu', async () => {
    using folder = tempFolder();
    const pair = makePair(folder.path);
    // Another image with the same data: only the data file stands between the two.
    const other = join(folder.path, 'other.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${pair.data}`, other, '1M');
    const verdicts = new Set<boolean>();
    for (const [file, format] of [
      [pair.data, 'raw'],
      [pair.path, 'qcow2'],
      [other, 'qcow2'],
    ] as const) {
      for (const flags of [[], ['-r']]) {
        const release = await holdWithQemu(file, flags, format);
        const seen = [true, false].map((writable) => ({
          fault: faultCodeOf(() => openPair(pair, writable).close()),
          isOpenToQemu: succeeds([...(writable ? [] : ['-r']), '-f', 'qcow2', '-c', 'read 0 512', pair.path]),
        }));
        await release();
        for (const { fault, isOpenToQemu } of seen) {
          assert.equal(fault, isOpenToQemu ? undefined : 'image-in-use', `${format} ${flags.join()}`);
          verdicts.add(isOpenToQemu);
        }
      }
    }
    assert.equal(verdicts.size, 2);
  });
});
