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
async function holdWithQemu(path: string, flags: readonly string[]): Promise<() => Promise<void>> {
  const holder = spawn('qemu-io', ['-f', 'qcow2', ...flags, path], { stdio: ['pipe', 'pipe', 'inherit'] });
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
