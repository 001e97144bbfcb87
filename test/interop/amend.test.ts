// Amending as qemu-img amend does: the same image, made another way by us and by QEMU, is the same afterwards.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { Image } from '../../src/engine/image.ts';
import type { AmendWish } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { checkImage, compareImages, infoJson, mapJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface Case {
  readonly name: string;
  /** Of qemu-img create. */
  readonly options: string;
  readonly backed?: true;
  /** In order: commands of qemu-io, or the name of a snapshot behind `snapshot`. */
  readonly life: readonly string[];
  /** One after the other; each as we and as QEMU say it. */
  readonly ways: readonly (readonly [Partial<AmendWish>, string])[];
}

const zeroes = [
  'write -P 7 0 256k',
  'write -z 64k 64k',
  'write -z -u 128k 64k',
  'discard 192k 64k',
  'write -z 900k 64k',
];

const cases: readonly Case[] = [
  {
    name: 'down, up and wide, with snapshots',
    options: 'cluster_size=4k,lazy_refcounts=on',
    life: ['write -P 1 0 400k', ...zeroes, 'snapshot a', 'write -P 2 300k 90k', 'snapshot b', 'write -c -P 3 1M 4k'],
    ways: [
      [{ compat: '0.10' }, 'compat=0.10'],
      [{ compat: '1.1', refcountBits: 8 }, 'compat=1.1,refcount_bits=8'],
      [{ refcountBits: 64, lazyRefcounts: true }, 'refcount_bits=64,lazy_refcounts=on'],
      [{ refcountBits: 4, lazyRefcounts: false }, 'refcount_bits=4,lazy_refcounts=off'],
      [{ compat: '0.10', refcountBits: 16 }, 'compat=0.10,refcount_bits=16'],
    ],
  },
  {
    name: 'down over a layer',
    options: 'cluster_size=64k',
    backed: true,
    life: [...zeroes, 'write -z -u 512k 128k', 'write -P 9 600k 20k'],
    ways: [
      [{ compat: '0.10' }, 'compat=0.10'],
      [{ compat: '1.1', lazyRefcounts: true }, 'compat=1.1,lazy_refcounts=on'],
    ],
  },
  {
    name: 'a file with many refcount blocks',
    options: 'cluster_size=512,preallocation=metadata',
    life: ['write -P 5 0 1M'],
    ways: [
      [{ refcountBits: 64 }, 'refcount_bits=64'],
      [{ refcountBits: 1 }, 'refcount_bits=1'],
    ],
  },
  {
    name: 'extended entries and zstd keep what they are',
    options: 'cluster_size=64k,extended_l2=on,compression_type=zstd',
    life: ['write -P 5 0 70k', 'write -z 4k 2k', 'write -c -P 6 512k 64k'],
    ways: [[{ refcountBits: 32, lazyRefcounts: true }, 'refcount_bits=32,lazy_refcounts=on']],
  },
];

const nothing: AmendWish = {
  compat: undefined,
  refcountBits: undefined,
  lazyRefcounts: undefined,
  dataFileRaw: undefined,
};

const below = { fileName: 'below.raw', format: 'raw' } as const;

function amendOurs(path: string, wish: Partial<AmendWish>, folder: string | undefined): string {
  const backing = folder === undefined ? [] : [{ ...below, path: join(folder, below.fileName) }];
  const image = Image.open({ path, writable: true, locks: 'qemu', backing });
  try {
    runToEnd(image.amend({ ...nothing, ...wish }));
    return 'done';
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return error.code;
  } finally {
    image.close();
  }
}

/** Lives a life with QEMU's tools. */
function make(path: string, { options, life, backed }: Pick<Case, 'options' | 'life' | 'backed'>): void {
  const chain = backed ? ['-b', below.fileName, '-F', below.format] : [];
  qemuImg('create', '-q', '-f', 'qcow2', '-o', options, ...chain, path, '2M');
  let commands: string[] = [];
  const settle = (): void => {
    if (commands.length > 0) {
      qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
    }
    commands = [];
  };
  for (const step of life) {
    if (!step.startsWith('snapshot ')) {
      commands.push(step);
      continue;
    }
    settle();
    qemuImg('snapshot', '-c', step.slice('snapshot '.length), path);
  }
  settle();
}

/** What is the format's, not the host file's. */
function shapeOf(path: string): unknown {
  const { 'format-specific': specific, snapshots, 'virtual-size': virtualSize } = infoJson(path);
  return { specific, snapshots, virtualSize };
}

/** Where what kind begins; where it lies in the file is each one's own affair. */
function kindsOf(path: string): readonly string[] {
  const kinds = mapJson(path).map(({ start, depth, present, zero, data }) => ({
    start,
    kind: JSON.stringify({ depth, present, data, zero: zero && !data }),
  }));
  return kinds
    .filter(({ kind }, index) => kinds[index - 1]?.kind !== kind)
    .map(({ start, kind }) => `${String(start)} ${kind}`);
}

function snapshotBytes(path: string, name: string): Buffer {
  const target = `${path}.${name}.raw`;
  qemuImg('convert', '-f', 'qcow2', '-l', `snapshot.name=${name}`, '-O', 'raw', path, target);
  return readFileSync(target);
}

describe('an image that is amended', () => {
  for (const one of everySecond(cases)) {
    test(`is what qemu-img amend makes of it (AMD-01, AMD-02, AMD-03, AMD-04, AMD-11, REF-12, T12): ${one.name}`, () => {
      using folder = tempFolder();
      writeFileSync(join(folder.path, below.fileName), Buffer.alloc(2 * 1024 * 1024, 0x5a));
      const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
      make(ours, one);
      copyFileSync(ours, twin);
      const names = one.life.filter((step) => step.startsWith('snapshot ')).map((step) => step.slice(9));
      const before = names.map((name) => snapshotBytes(ours, name));
      for (const [wish, options] of one.ways) {
        assert.equal(amendOurs(ours, wish, one.backed ? folder.path : undefined), 'done');
        qemuImg('amend', '-q', '-f', 'qcow2', '-o', options, twin);
        assert.equal(checkImage(ours, 'none').exit, 0, `${options}: qemu-img check`);
        assert.deepEqual(shapeOf(ours), shapeOf(twin), options);
        // A kept place that snapshots keep, too, becomes data with QEMU.
        if (names.length === 0) assert.deepEqual(kindsOf(ours), kindsOf(twin), `${options}: qemu-img map`);
        assert.ok(compareImages({ path: ours, format: 'qcow2' }, { path: twin, format: 'qcow2' }), options);
      }
      for (const [index, name] of names.entries()) assert.ok(before[index]?.equals(snapshotBytes(ours, name)), name);
      qemuIo(ours, ['write -P 77 100k 300k', 'read -P 77 100k 300k'], {
        ...{ format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' },
      });
      assert.equal(checkImage(ours, 'none').exit, 0, 'after QEMU has written to it');
    });
  }

  const refused: readonly (readonly [string, readonly string[], Partial<AmendWish>, string, string])[] = [
    // AMD-03, REF-12.
    ['compat=1.1', ['write -P 1 0 64k', 'snapshot a'], { refcountBits: 1 }, 'refcount_bits=1', 'refcount-overflow'],
    // SUB-11.
    ['extended_l2=on', [], { compat: '0.10' }, 'compat=0.10', 'unsupported-option'],
    // AMD-02.
    ['compression_type=zstd', ['write -c -P 1 0 64k'], { compat: '0.10' }, 'compat=0.10', 'unsupported-option'],
    ['refcount_bits=8', [], { compat: '0.10' }, 'compat=0.10', 'unsupported-option'],
    // AMD-04.
    ['compat=0.10', [], { lazyRefcounts: true }, 'lazy_refcounts=on', 'unsupported-option'],
    // AMD-08.
    ['compat=1.1', [], { dataFileRaw: true }, 'data_file_raw=on', 'unsupported-option'],
  ];
  test('is refused where QEMU refuses', () => {
    using folder = tempFolder();
    for (const [index, [options, life, wish, words, code]] of refused.entries()) {
      const path = join(folder.path, `${String(index)}.qcow2`);
      make(path, { options, life });
      const before = readFileSync(path);
      assert.equal(amendOurs(path, wish, undefined), code, words);
      assert.ok(before.equals(readFileSync(path)), `${words}: no byte changes`);
      assert.equal(runTool('qemu-img', ['amend', '-q', '-f', 'qcow2', '-o', words, path], '').exit, 1, words);
    }
  });

  test('keeps a snapshot that reads where a zero cluster kept its place; QEMU writes zeroes there (AMD-02, T04)', () => {
    using folder = tempFolder();
    const [ours, twin] = [join(folder.path, 'ours.qcow2'), join(folder.path, 'twin.qcow2')];
    make(ours, { options: 'compat=1.1', life: ['write -P 7 0 192k', 'snapshot a', 'write -z 128k 64k'] });
    copyFileSync(ours, twin);
    const before = snapshotBytes(ours, 'a');
    amendOurs(ours, { compat: '0.10' }, undefined);
    qemuImg('amend', '-q', '-f', 'qcow2', '-o', 'compat=0.10', twin);
    assert.ok(before.equals(snapshotBytes(ours, 'a')));
    assert.ok(!before.equals(snapshotBytes(twin, 'a')), 'QEMU has learned it: take the row out of docs/format.md');
    assert.equal(checkImage(ours, 'none').exit, 0);
  });
});
