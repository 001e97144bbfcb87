// Copies of images that qemu-img has packed, judged by qemu-img: sound, the same bytes, and packed clusters where there were some.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { Prng } from '../support/prng.ts';
import { checkImage, compareImages, infoJson, qemuImg, qemuIo } from '../support/qemu-img.ts';
import { memoryFolder } from '../support/temp-folder.ts';
import { startTestService } from '../support/test-service.ts';

const rows = [
  { clusterSize: 64 * KiB, options: 'compression_type=zlib' },
  { clusterSize: 16 * KiB, options: 'compression_type=zstd,extended_l2=on' },
  { clusterSize: 512, options: 'compression_type=zlib,refcount_bits=64' },
  { clusterSize: 2 * MiB, options: 'compression_type=zstd,lazy_refcounts=on' },
  { clusterSize: 4 * KiB, options: 'compat=0.10' },
] as const;

/** Words, noise and zeroes, so that some clusters shrink, some do not, and some are left out. */
function content(length: number): Buffer {
  const chance = new Prng(41);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const piece = Math.min(length - at, 1 + chance.below(length / 20));
    const kind = chance.below(4);
    if (kind === 0) bytes.set(chance.bytes(piece), at);
    else if (kind < 3) bytes.fill(chance.bytes(1 + chance.below(40)), at, at + piece);
    at += piece;
  }
  return bytes;
}

describe('a copy of what qemu-img has packed', () => {
  for (const { clusterSize, options } of everySecond(rows)) {
    test(`reads the same and is sound: ${String(clusterSize)}, ${options}`, () => {
      using folder = memoryFolder();
      const [raw, packed, top] = ['content.raw', 'packed', 'top'].map((name) => join(folder.path, name));
      assert.ok(raw !== undefined && packed !== undefined && top !== undefined);
      const length = Math.min(6 * MiB, Math.max(1 * MiB, 40 * clusterSize));
      writeFileSync(raw, content(length + 512));
      const format = `cluster_size=${String(clusterSize)},${options}`;
      qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', format, raw, packed);
      qemuImg('create', '-q', '-f', 'qcow2', '-o', format, '-b', packed, '-F', 'qcow2', top);
      const commands = [`write -P 3 ${String(length / 2 + 100)} 3000`, `write -z ${String(length / 4)} 100k`];
      qemuIo(top, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
      const backing = [{ fileName: packed, path: packed, format: 'qcow2' }] as const;
      // What is not packed is left to the file system, where it can be.
      const source = Image.open({ path: top, writable: false, locks: 'qemu', backing, hostCopies: true });
      const { compressionType, extendedL2, compat, refcountBits, lazyRefcounts } = source.describe();
      const own = { compressionType, extendedL2, compat, refcountBits, lazyRefcounts, clusterSize };
      const rest = { virtualSize: source.virtualSize, preallocation: 'off', backing: undefined } as const;
      const other = compressionType === 'zlib' && compat === '1.1' ? 'zstd' : 'zlib';
      const copies: readonly { readonly compress: boolean; readonly spec: CreateSpec; readonly asks: string }[] = [
        { compress: true, spec: { ...own, ...rest }, asks: 'trim' },
        { compress: true, spec: { ...own, ...rest, compressionType: other, clusterSize: 32 * KiB }, asks: 'pack' },
        { compress: false, spec: { ...own, ...rest }, asks: '' },
      ];
      for (const [index, { compress, spec, asks }] of copies.entries()) {
        const path = join(folder.path, `copy-${String(index)}`);
        const asked = new Set<string>();
        for (const step of source.copyTo({ path, spec, compress, layer: 'all', snapshot: undefined })) {
          if (step.asks !== undefined) asked.add(step.asks.task.kind);
        }
        assert.equal(asked.has('trim'), asks === 'trim');
        const { exit, json } = checkImage(path, 'none');
        assert.equal(exit, 0, JSON.stringify(json));
        assert.equal((json?.['compressed-clusters'] ?? 0) > 0, compress);
        assert.ok(compareImages({ path: top, format: 'qcow2' }, { path, format: 'qcow2' }), `copy ${String(index)}`);
      }
      const alone = join(folder.path, 'alone');
      runToEnd(
        source.copyTo({ path: alone, spec: { ...own, ...rest }, compress: true, layer: 'top', snapshot: undefined }),
      );
      source.close();
      // What is smaller than a cluster is rounded up to one.
      if (extendedL2) return;
      // Put where the overlay stood, it shows the same: its zeroes hide what lies below.
      qemuImg('rebase', '-u', '-f', 'qcow2', '-b', packed, '-F', 'qcow2', alone);
      assert.ok(compareImages({ path: top, format: 'qcow2' }, { path: alone, format: 'qcow2' }), 'the top alone');
    });
  }
});

describe('a compressed download', () => {
  test('is a sound file of the image, and of a snapshot of an overlay, with compressed clusters', async () => {
    using folder = memoryFolder();
    await using service = await startTestService();
    const bytes = content(3 * MiB);
    await service.put('/v1/imports/base?format=raw&compress=true&compressionType=zstd').send(bytes).expect(201);
    await service.create({ name: 'vm', backing: { image: 'base' } });
    await service.write('vm', 1 * MiB + 5, Buffer.alloc(70_000, 'then'));
    await service.post('/v1/images/vm/snapshots', { name: 's' }).expect(201);
    await service.write('vm', 2 * MiB, Buffer.alloc(70_000, 'now'));
    for (const query of ['', 'snapshot=s&']) {
      const [packed, raw] = ['packed', 'raw'].map((name) => join(folder.path, name));
      assert.ok(packed !== undefined && raw !== undefined);
      const file = await service.bytes(`/v1/images/vm/file?${query}compress=true`).expect(200);
      writeFileSync(packed, file.body as Buffer);
      const plain = await service.bytes(`/v1/images/vm/file?${query}format=raw`).expect(200);
      writeFileSync(raw, plain.body as Buffer);
      const { exit, json } = checkImage(packed, 'none');
      assert.equal(exit, 0, JSON.stringify(json));
      assert.ok((json?.['compressed-clusters'] ?? 0) > 10);
      assert.ok(compareImages({ path: packed, format: 'qcow2' }, { path: raw, format: 'raw' }));
      assert.equal(infoJson(packed)['backing-filename'], undefined);
    }
  });
});
