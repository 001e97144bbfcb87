// Each difference on purpose, shown: QEMU does what the list says of it, and we do what it says of us.

import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { createEncrypted, openUnlocked } from '../../support/encrypted-image.ts';
import { checkImage, infoJson, mapJson, qemuImg, qemuIo } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { differences } from './differences.ts';
import { QemuFile } from './qemu-file.ts';

const quiet = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

function openOurs(path: string): Image {
  return Image.open({ path, writable: true, locks: 'qemu', backing: [] });
}

describe('on purpose we differ', () => {
  test(`${differences.staleTail.row}: ${differences.staleTail.qemu}`, () => {
    using folder = tempFolder();
    const make = (name: string): string => {
      const path = join(folder.path, name);
      qemuImg('create', '-q', '-f', 'qcow2', path, '1M');
      qemuIo(path, ['write -P 34 0 1M'], quiet);
      return path;
    };
    const twin = make('twin.qcow2');
    qemuImg('resize', '-q', '-f', 'qcow2', '--shrink', twin, '98304');
    qemuImg('resize', '-q', '-f', 'qcow2', twin, '1M');
    qemuIo(twin, ['read -P 34 98304 32768'], { ...quiet, readOnly: true });

    const ours = make('ours.qcow2');
    const image = openOurs(ours);
    runToEnd(image.resize({ virtualSize: 98_304, allowShrink: true, preallocation: 'off' }));
    runToEnd(image.resize({ virtualSize: 1024 ** 2, allowShrink: false, preallocation: 'off' }));
    image.close();
    qemuIo(ours, ['read -P 34 0 98304', 'read -P 0 98304 950272'], { ...quiet, readOnly: true });
    assert.equal(checkImage(ours, 'none').exit, 0);
  });

  test(`${differences.staleVmState.row}: ${differences.staleVmState.qemu}`, () => {
    using folder = tempFolder();
    const make = (name: string): string => {
      const path = join(folder.path, name);
      qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', path, '32k');
      qemuIo(path, ['write -b -P 85 0 4096'], quiet);
      return path;
    };
    const twin = make('twin.qcow2');
    qemuImg('resize', '-q', '-f', 'qcow2', twin, '64k');
    qemuIo(twin, ['read -P 85 32768 4096'], { ...quiet, readOnly: true });

    const ours = make('ours.qcow2');
    const image = openOurs(ours);
    runToEnd(image.resize({ virtualSize: 65_536, allowShrink: false, preallocation: 'off' }));
    image.close();
    qemuIo(ours, ['read -P 0 0 65536'], { ...quiet, readOnly: true });
    assert.equal(checkImage(ours, 'none').exit, 0);
  });

  test(`${differences.copiedHead.row}: ${differences.copiedHead.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin, base] = ['ours.qcow2', 'twin.qcow2', 'base.raw'].map((name) => join(folder.path, name));
    assert.ok(ours !== undefined && twin !== undefined && base !== undefined);
    writeFileSync(base, Buffer.alloc(256 * 1024, 7));
    const [head, end] = [98_304, 102_400];
    const form = 'extended_l2=on,cluster_size=16k';
    qemuImg('create', '-q', '-f', 'qcow2', '-o', form, '-b', base, '-F', 'raw', ours, String(end));
    copyFileSync(ours, twin);
    const own = (path: string): number | undefined => mapJson(path).find(({ depth }) => depth === 0)?.start;
    qemuImg('resize', '-q', '-f', 'qcow2', '--preallocation=falloc', twin, '192k');
    assert.equal(own(twin), head);

    const image = Image.open({
      ...{ path: ours, writable: true, locks: 'qemu' },
      backing: [{ fileName: base, path: base, format: 'raw' }],
    });
    runToEnd(image.resize({ virtualSize: 192 * 1024, allowShrink: false, preallocation: 'falloc' }));
    image.close();
    assert.equal(own(ours), end);
    for (const path of [ours, twin]) {
      qemuIo(path, [`read -P 7 0 ${String(end)}`, `read -P 0 ${String(end)} 94208`], { ...quiet, readOnly: true });
      assert.equal(checkImage(path, 'none').exit, 0);
    }
  });

  test(`${differences.freedBytes.row}: ${differences.freedBytes.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
    qemuImg('create', '-q', '-f', 'qcow2', ours, '1M');
    // The bits of a bitmap that was removed lie in a cluster that is free now.
    qemuImg('bitmap', '--add', '-g', '512', '-f', 'qcow2', ours, 'one');
    qemuIo(ours, ['write -P 7 0 1M'], quiet);
    qemuImg('bitmap', '--remove', '-f', 'qcow2', ours, 'one');
    copyFileSync(ours, twin);
    qemuImg('resize', '-q', '-f', 'qcow2', '--preallocation=metadata', twin, '1280k');
    const complaint = new QemuFile(twin, { isEncrypted: false }).tryIo(['read -P 0 1M 256k'], { readOnly: true });
    assert.match(complaint ?? '', /Pattern verification failed/);

    const image = openOurs(ours);
    runToEnd(image.resize({ virtualSize: 1280 * 1024, allowShrink: false, preallocation: 'metadata' }));
    image.close();
    qemuIo(ours, ['read -P 7 0 1M', 'read -P 0 1M 256k'], { ...quiet, readOnly: true });
    assert.equal(checkImage(ours, 'none').exit, 0);
  });

  test(`${differences.snapshotSize.row}: ${differences.snapshotSize.qemu}`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', path, '2M');
    qemuIo(path, ['write -P 17 1536k 64k'], quiet);
    qemuImg('snapshot', '-c', 'large', path);
    qemuImg('resize', '-q', '-f', 'qcow2', '--shrink', path, '1M');
    const raw = join(folder.path, 'snapshot.raw');
    qemuImg('convert', '-f', 'qcow2', '-l', 'snapshot.name=large', '-O', 'raw', path, raw);
    assert.equal(infoRaw(raw), 1024 ** 2, 'QEMU cuts the snapshot to the current size');

    const image = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
    assert.equal(image.snapshots({ from: 0, limit: 1000 })[0]?.virtualSize, 2 * 1024 ** 2);
    const bytes = new Uint8Array(65_536);
    image.readSnapshot('large', guestOffset(1536 * 1024), bytes);
    image.close();
    assert.ok(bytes.every((byte) => byte === 17));
  });

  test(`${differences.packedBehind.row}: ${differences.packedBehind.qemu}`, () => {
    using folder = tempFolder();
    const twin = join(folder.path, 'twin.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', twin, '1M');
    const words = ['write -c -P 1 0 64k', 'discard 0 64k', 'write -P 2 64k 64k', 'write -c -P 3 128k 64k'];
    qemuIo(twin, words, quiet);
    assert.throws(
      () => qemuIo(twin, ['read -P 2 64k 64k'], { ...quiet, readOnly: true }),
      /Pattern verification failed/,
    );

    const ours = join(folder.path, 'ours.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', ours, '1M');
    const image = openOurs(ours);
    const fill = (pattern: number): Uint8Array => new Uint8Array(65_536).fill(pattern);
    runToEnd(image.writeCompressed(guestOffset(0), fill(1), { detectZeroes: false }));
    runToEnd(image.discard(guestOffset(0), 65_536));
    // What is dropped is free with the next flush, later than with QEMU.
    image.flush();
    image.write(guestOffset(65_536), fill(2), { detectZeroes: false });
    runToEnd(image.writeCompressed(guestOffset(131_072), fill(3), { detectZeroes: false }));
    image.close();
    qemuIo(ours, ['read -P 2 64k 64k', 'read -P 3 128k 64k'], { ...quiet, readOnly: true });
    assert.equal(checkImage(ours, 'none').exit, 0);
  });

  test(`${differences.reservedNoise.row}: ${differences.reservedNoise.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin] = makeEncrypted(folder.path);
    for (const mode of ['metadata', 'full'] as const) {
      const grown = new QemuFile(`${twin.path}.${mode}`, { isEncrypted: true });
      copyFileSync(twin.path, grown.path);
      grown.img('resize', ['-q', `--preallocation=${mode}`], ['2M']);
      assert.match(grown.tryIo(['read -P 0 1M 1M'], { readOnly: true }) ?? '', /Pattern verification failed/, mode);
    }
    const image = openUnlocked(ours.path, { writable: true, backing: [] });
    runToEnd(image.resize({ virtualSize: 2 * 1024 ** 2, allowShrink: false, preallocation: 'metadata' }));
    runToEnd(image.resize({ virtualSize: 3 * 1024 ** 2, allowShrink: false, preallocation: 'full' }));
    image.close();
    ours.io(['read -P 9 0 64k', 'read -P 0 64k 3008k'], { readOnly: true });
    ours.assertSound();
  });

  test(`${differences.expandedNoise.row}: ${differences.expandedNoise.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin] = makeEncrypted(folder.path);
    twin.img('amend', ['-q', '-o', 'compat=0.10']);
    assert.match(twin.tryIo(['read -P 0 64k 64k'], { readOnly: true }) ?? '', /Pattern verification failed/);

    const image = openUnlocked(ours.path, { writable: true, backing: [] });
    const same = { refcountBits: undefined, lazyRefcounts: undefined, dataFileRaw: undefined };
    runToEnd(image.amend({ ...same, compat: '0.10' }));
    image.close();
    ours.io(['read -P 9 0 64k', 'read -P 0 64k 960k'], { readOnly: true });
    ours.assertSound();
  });

  test(`${differences.shownBase.row}: ${differences.shownBase.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
    const base = join(folder.path, 'base.raw');
    writeFileSync(base, Buffer.alloc(256 * 1024, 7));
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', ours, '512k');
    copyFileSync(ours, twin);
    qemuImg('rebase', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, twin);
    qemuIo(twin, ['read -P 7 0 256k'], { ...quiet, readOnly: true });

    const image = openOurs(ours);
    runToEnd(image.rebase({ chain: [{ fileName: base, path: base, format: 'raw' }], mode: 'safe' }));
    image.close();
    qemuIo(ours, ['read -P 0 0 512k'], { ...quiet, readOnly: true });
    assert.equal(infoJson(ours)['backing-filename'], base);
    assert.equal(checkImage(ours, 'none').exit, 0);
  });

  test(`${differences.lostSnapshots.row}: ${differences.lostSnapshots.qemu}`, () => {
    using folder = tempFolder();
    const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
    qemuImg('create', '-q', '-f', 'qcow2', ours, '1M');
    qemuImg('bitmap', '--add', '-f', 'qcow2', ours, 'one');
    qemuImg('snapshot', '-c', 'kept', ours);
    copyFileSync(ours, twin);
    assert.equal(checkImage(twin, 'all').exit, 0);
    assert.equal(infoJson(twin)['snapshots'], undefined);

    const image = openOurs(ours);
    assert.equal(runToEnd(image.repair('all')).clean, true);
    image.close();
    assert.ok(infoJson(ours)['snapshots'] !== undefined);
  });
});

/** Two of QEMU's, alike: a cluster of data, and one that was zeroed and kept its place. */
function makeEncrypted(folder: string): readonly [QemuFile, QemuFile] {
  const [ours, twin] = ['ours.qcow2', 'twin.qcow2'].map(
    (name) => new QemuFile(join(folder, name), { isEncrypted: true }),
  );
  assert.ok(ours !== undefined && twin !== undefined);
  createEncrypted(ours.path, { format: 'aes', encrypt: {}, options: 'compat=1.1', size: '1M' });
  ours.io(['write -P 9 0 128k', 'write -z 64k 64k'], { readOnly: false });
  copyFileSync(ours.path, twin.path);
  return [ours, twin];
}

function infoRaw(path: string): unknown {
  const info = JSON.parse(qemuImg('info', '-f', 'raw', '--output=json', path)) as Record<string, unknown>;
  return info['virtual-size'];
}
