// Compressed entries that name no sound blob: a check of offsets cannot see what they unpack to. After a repair, ours or
// QEMU's, each cluster reads as the same bytes or as an error for both, and a write over the entry heals it for both.

import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { everySecond } from '../../support/every-second.ts';
import { hostileImages } from '../../support/hostile-images.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { checkImage, qemuIo, runTool } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { compareVerdicts, ours, theirs } from './judge.ts';

const clusterSize = 4096;
/** Data, data, the broken blob, a sound one, nothing. */
const clusters = [0, 1, 2, 3, 4] as const;
const brokenCluster = 2;
const unreadable = 'EIO';

/** References past the end, and owned flags of blobs, stay corruptions after every repair, so such a file is never taken in. */
const beyondRepair = new Set(['past-the-end', 'farthest', 'owned', 'all-ones'].map((name) => `blob-offset-${name}`));

const images = hostileImages.filter(({ id }) => id.startsWith('blob-'));

describe('a compressed entry', () => {
  test('is broken in every way that a hostile image has one', () => {
    assert.ok(images.some(({ id }) => id === 'blob-offset-at-0'));
    assert.ok(images.some(({ id }) => id === 'blob-offset-in-header'));
    assert.ok(images.length >= 20);
  });

  for (const { id, bytes } of everySecond(images)) {
    test(`reads alike after both repairs, and a write heals it: ${id}`, () => {
      using folder = tempFolder();
      const byUs = join(folder.path, 'by-us.qcow2');
      const byQemu = join(folder.path, 'by-qemu.qcow2');
      writeFileSync(byUs, withoutBitmaps(bytes));
      copyFileSync(byUs, byQemu);
      compareVerdicts(ours(byUs, 'all'), theirs(byQemu, 'all'), undefined);

      const repaired = readByQemu(byQemu);
      assert.deepEqual(readByQemu(byUs), repaired);
      assert.deepEqual([readByUs(byUs), readByUs(byQemu)], [repaired, repaired]);

      assert.equal(checkImage(byQemu, 'none').exit === 0, !beyondRepair.has(id));
      if (beyondRepair.has(id)) return;
      const write = `write -P 9 ${brokenCluster * clusterSize} ${clusterSize}`;
      qemuIo(byQemu, [write], { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
      writeByUs(byUs);
      const healed = repaired.map((content, index) => (index === brokenCluster ? '09'.repeat(clusterSize) : content));
      for (const path of [byUs, byQemu]) assert.deepEqual([readByUs(path), readByQemu(path)], [healed, healed]);
      for (const path of [byUs, byQemu]) assert.equal(checkImage(path, 'none').exit, 0);
    });
  }
});

/**
 * Without the bitmaps extension and its autoclear bit: QEMU 7.2 rewrites the header when it opens an image with bitmaps
 * for a repair, and forgets the snapshots that it has not read by then. What the bitmap used leaks.
 */
function withoutBitmaps(bytes: Uint8Array): Uint8Array {
  const image = new ImageBytes(bytes);
  image.setU64(88, 0n);
  image.setU64(image.u32(100), 0n);
  return image.bytes;
}

/** The bytes of each cluster in hex, or that it cannot be read. */
function readByQemu(path: string): readonly string[] {
  const commands = clusters.map((cluster) => `read -v ${cluster * clusterSize} ${clusterSize}`);
  const { stdout } = runTool('qemu-io', ['-r', '-f', 'qcow2', path], `${commands.join('\n')}\nquit\n`);
  const answers = stdout.split('qemu-io> ').slice(1, 1 + clusters.length);
  assert.equal(answers.length, clusters.length, stdout);
  return answers.map((answer) => {
    if (answer.startsWith('read failed: Input/output error')) return unreadable;
    const lines = [...answer.matchAll(/^[0-9a-f]{8}: {2}((?:[0-9a-f]{2} )+)/gm)];
    const hex = lines.map(([, pairs = '']) => pairs.replaceAll(' ', '')).join('');
    assert.equal(hex.length, 2 * clusterSize, answer);
    return hex;
  });
}

function readByUs(path: string): readonly string[] {
  const image = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
  try {
    return clusters.map((cluster) => {
      const target = new Uint8Array(clusterSize);
      try {
        image.read(guestOffset(cluster * clusterSize), target);
      } catch (error) {
        if (error instanceof Fault && error.kind === 'corrupt') return unreadable;
        throw error;
      }
      return Buffer.from(target).toString('hex');
    });
  } finally {
    image.close();
  }
}

function writeByUs(path: string): void {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
  try {
    const bytes = new Uint8Array(clusterSize).fill(9);
    image.write(guestOffset(brokenCluster * clusterSize), bytes, { detectZeroes: false });
  } finally {
    image.close();
  }
}
