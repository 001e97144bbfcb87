// A disk that grows with its clusters laid out at once, as qemu-img resize --preallocation does (OPS-18, OPS-21, CRE-05).

import assert from 'node:assert/strict';
import { copyFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { MiB } from '../../src/base/units.ts';
import { Fault } from '../../src/base/fault.ts';
import { Image } from '../../src/engine/image.ts';
import type { BackingFile } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { checkImage, compareImages, infoJson, mapJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

type Mode = 'metadata' | 'falloc' | 'full';

/** Ends inside a cluster. */
const oldSize = 3 * MiB + 7 * 512;
const newSize = 8 * MiB;

function grow(path: string, virtualSize: number, preallocation: Mode, backing: readonly BackingFile[]): string {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing, dataFile: undefined });
  try {
    runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation }));
    return 'done';
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return error.code;
  } finally {
    image.close();
  }
}

/** With data, a snapshot of the old size and a bitmap. */
function make(path: string, options: string): void {
  qemuImg('create', '-q', '-f', 'qcow2', '-o', options, path, String(oldSize));
  const commands = ['write -P 3 100k 300k', `write -P 4 3M 3584`];
  qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
  qemuImg('snapshot', '-c', 'small', path);
  qemuImg('bitmap', '--add', '-f', 'qcow2', path, 'b');
}

/** Where data begins and ends; holes of the host file under it are each one's own affair. */
function dataOf(path: string): readonly string[] {
  const kinds = mapJson(path).map(({ start, present, data }) => ({
    start,
    kind: `${String(present)} ${String(data)}`,
  }));
  return kinds
    .filter(({ kind }, index) => kinds[index - 1]?.kind !== kind)
    .map(({ start, kind }) => `${String(start)} ${kind}`);
}

function allocatedLength(path: string): number {
  return statSync(path).blocks * 512;
}

describe('a disk that grows with its clusters', () => {
  const modes: readonly (readonly [Mode, string])[] = [
    ['metadata', 'cluster_size=64k'],
    ['falloc', 'cluster_size=4k,refcount_bits=8'],
    ['full', 'cluster_size=64k,lazy_refcounts=on'],
    ['falloc', 'cluster_size=64k,extended_l2=on'],
  ];
  for (const [mode, options] of modes) {
    test(`is what qemu-img makes of it: ${mode}, ${options}`, () => {
      using folder = tempFolder();
      const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
      make(ours, options);
      copyFileSync(ours, twin);
      const before = allocatedLength(ours);
      assert.equal(grow(ours, newSize, mode, []), 'done');
      qemuImg('resize', '-q', '-f', 'qcow2', `--preallocation=${mode}`, twin, String(newSize));
      assert.equal(checkImage(ours, 'none').exit, 0, 'qemu-img check');
      assert.deepEqual(dataOf(ours), dataOf(twin), 'qemu-img map');
      assert.ok(compareImages({ path: ours, format: 'qcow2' }, { path: twin, format: 'qcow2' }));
      const facts = ({ 'format-specific': specific, 'virtual-size': size }: ReturnType<typeof infoJson>): unknown => ({
        ...{ specific, size },
      });
      assert.deepEqual(facts(infoJson(ours)), facts(infoJson(twin)));
      const taken = allocatedLength(ours) - before;
      if (mode === 'metadata') assert.ok(taken < MiB, `${String(taken)} bytes for tables alone`);
      else assert.ok(taken >= newSize - oldSize - 64 * 1024, `only ${String(taken)} bytes are taken`);
    });
  }

  test('keeps what lies below in front of its old end, and hides it behind, as with QEMU (OPS-18, T14)', () => {
    using folder = tempFolder();
    const rows: readonly (readonly [Mode, string, number])[] = [
      ['metadata', 'compat=0.10', 980],
      ['falloc', 'compat=1.1', 980],
      ['metadata', 'compat=1.1', 3000],
      ['falloc', 'extended_l2=on', 3000],
    ];
    for (const [index, [mode, options, kib]] of rows.entries()) {
      const [fileName, ours, twin] = ['below.raw', `${String(index)}.ours`, `${String(index)}.twin`] as const;
      const path = (name: string): string => join(folder.path, name);
      writeFileSync(path(fileName), Buffer.alloc(kib * 1024, 9));
      // The old end cuts a cluster that the image does not hold.
      const words = ['create', '-q', '-f', 'qcow2', '-o', options, '-b', fileName, '-F', 'raw', path(ours), '1000k'];
      qemuImg(...words);
      copyFileSync(path(ours), path(twin));
      assert.equal(grow(path(ours), 4 * MiB, mode, [{ fileName, path: path(fileName), format: 'raw' }]), 'done');
      qemuImg('resize', '-q', '-f', 'qcow2', `--preallocation=${mode}`, path(twin), '4M');
      assert.equal(checkImage(path(ours), 'none').exit, 0, 'qemu-img check');
      assert.deepEqual(dataOf(path(ours)), dataOf(path(twin)), 'qemu-img map');
      const both = [ours, twin].map((name) => ({ path: path(name), format: 'qcow2' }) as const);
      assert.ok(both[0] !== undefined && both[1] !== undefined && compareImages(both[0], both[1]));
      const difference = allocatedLength(path(ours)) - allocatedLength(path(twin));
      assert.ok(Math.abs(difference) <= 128 * 1024, `${String(difference)} bytes more are taken`);
    }
  });

  test('is refused for a disk that shrinks, as with QEMU', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'a.qcow2');
    make(path, 'cluster_size=64k');
    assert.equal(grow(path, MiB, 'falloc', []), 'unsupported-option');
    const words = ['resize', '-q', '-f', 'qcow2', '--shrink', '--preallocation=falloc', path, '1M'];
    assert.equal(runTool('qemu-img', words, '').exit, 1);
  });
});
