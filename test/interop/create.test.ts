// Images that we make, judged by qemu-img: the same facts as those that it makes itself, sound, and usable.

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { GiB, KiB, MiB, PiB } from '../../src/base/units.ts';
import { NodeFile } from '../../src/engine/file/node-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { CreateSpec } from '../../src/engine/operations/create-spec.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { faultCodeOf } from '../support/faults.ts';
import { pairwise } from '../support/pairwise.ts';
import { infoJson, mapJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import type { QemuIoOptions } from '../support/qemu-img.ts';
import { assertSound, mergedMap } from '../support/qemu-verdicts.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { plainSpec } from '../support/plain-spec.ts';

const ioOptions: QemuIoOptions = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' };

const matrix = pairwise<CreateSpec>(
  {
    // CRE-01.
    virtualSize: [0, 1000, 1 * MiB + 512, 5 * MiB],
    // CRE-03.
    clusterSize: [512, 4 * KiB, 16 * KiB, 64 * KiB, 2 * MiB],
    // CRE-02.
    compat: ['0.10', '1.1'],
    // CRE-07.
    refcountBits: [1, 2, 4, 8, 16, 32, 64],
    // CRE-06.
    lazyRefcounts: [false, true],
    // CRE-08.
    extendedL2: [false, true],
    // CRE-09.
    compressionType: ['zlib', 'zstd'],
    // CRE-05a, CRE-05b, CRE-05c, CRE-05d.
    preallocation: ['off', 'metadata', 'falloc', 'full'],
    // CRE-04.
    backing: [undefined, { fileName: 'base.raw', format: 'raw' }, { fileName: 'base.qcow2', format: 'qcow2' }],
  },
  isAllowed,
);

/** With what images stand on; these are only read. */
let folder: ReturnType<typeof tempFolder>;
before(() => {
  folder = tempFolder();
  makeBases(folder.path);
});
after(() => {
  folder[Symbol.dispose]();
});

describe('an image that we make (OPS-06)', () => {
  it('comes in enough kinds', () => {
    assert(matrix.length >= 35, `${matrix.length} cases`);
  });

  for (const spec of everySecond(matrix)) {
    it(`equals the one that qemu-img makes: ${printSpec(spec)}`, () => {
      const path = join(folder.path, 'image.qcow2');
      createWithQemu(path, spec);
      const theirs = {
        info: factsOf(path),
        map: mapOf(path, spec),
        head: readFileSync(path).subarray(0, spec.clusterSize),
      };
      rmSync(path);
      createOurs(path, spec);
      assertSound(path, 'as made');
      assert.deepEqual(factsOf(path), theirs.info);
      assert.deepEqual(mapOf(path, spec), theirs.map);
      // Reserved clusters leave the tables elsewhere.
      const head = readFileSync(path).subarray(0, spec.clusterSize);
      if (spec.preallocation === 'off')
        assert.deepEqual(head, theirs.head, 'the first cluster, byte for byte (FMT-12)');
      useWithQemu(path, spec);
    });
  }

  it('is as long as the one that qemu-img makes', () => {
    const path = join(folder.path, 'image.qcow2');
    for (const change of [{}, { virtualSize: 0 }, { clusterSize: 4 * KiB, virtualSize: 100 * GiB }]) {
      const spec = { ...plainSpec, ...change };
      createWithQemu(path, spec);
      const theirs = lengthOfFile(path);
      createOurs(path, spec);
      assert.equal(lengthOfFile(path), theirs, printSpec(spec));
    }
  });
});

describe('a large image that we make', () => {
  const large: readonly Partial<CreateSpec>[] = [
    { virtualSize: 256 * GiB, preallocation: 'metadata' },
    { virtualSize: 8 * PiB - 512, clusterSize: 2 * MiB },
    { virtualSize: 8 * PiB - 512, clusterSize: 2 * MiB, extendedL2: true, refcountBits: 64 },
    { virtualSize: 2 * PiB },
    { virtualSize: 128 * GiB, clusterSize: 512, refcountBits: 1 },
    { virtualSize: 128 * GiB, clusterSize: 512, refcountBits: 64 },
    // Each table of several clusters.
    { virtualSize: 64 * MiB, clusterSize: 512, refcountBits: 64, preallocation: 'metadata' },
    { virtualSize: 64 * MiB, clusterSize: 512, refcountBits: 1, preallocation: 'metadata' },
    { virtualSize: 34 * GiB, clusterSize: 16 * KiB, extendedL2: true, refcountBits: 2, preallocation: 'metadata' },
  ];
  for (const change of everySecond(large)) {
    const spec = { ...plainSpec, ...change };
    it(`is sound and usable: ${printSpec(spec)}`, () => {
      const path = join(folder.path, 'image.qcow2');
      createOurs(path, spec);
      assertSound(path, 'as made');
      assert.equal(infoJson(path)['virtual-size'], spec.virtualSize);
      useWithQemu(path, spec);
      goOnWithOurs(path, spec);
    });
  }
});

describe('a spec that we refuse', () => {
  const refused: readonly Partial<CreateSpec>[] = [
    // CRE-02.
    { compat: '0.10', lazyRefcounts: true },
    { compat: '0.10', refcountBits: 8 },
    { compat: '0.10', extendedL2: true },
    { compat: '0.10', compressionType: 'zstd' },
    // CRE-03.
    { clusterSize: 256 },
    { clusterSize: 4 * MiB },
    { clusterSize: 65_535 },
    // CRE-08.
    { clusterSize: 8 * KiB, extendedL2: true },
    // CRE-07.
    { refcountBits: 3 },
    { refcountBits: 128 },
    // CRE-01, LIM-05.
    { virtualSize: 128 * GiB + 512, clusterSize: 512 },
    { virtualSize: 1 * PiB + 512, extendedL2: true },
    // CRE-05.
    { preallocation: 'metadata', backing: { fileName: 'base.raw', format: 'raw' } },
    { preallocation: 'full', backing: { fileName: 'base.raw', format: 'raw' } },
    { clusterSize: 512, backing: { fileName: nameOf(377), format: 'raw' } },
    { backing: { fileName: nameOf(1024), format: 'raw' } },
  ];
  for (const change of refused) {
    const spec = { ...plainSpec, ...change };
    it(`is refused by qemu-img too: ${printSpec(spec)}`, () => {
      const path = join(folder.path, 'image.qcow2');
      const answer = runTool('qemu-img', createArgs(path, spec), '');
      assert.notEqual(answer.exit, 0);
      const code = faultCodeOf(() => {
        createOurs(path, spec);
      });
      assert.match(code ?? 'no fault', /^(invalid-geometry|unsupported-option|header-full)$/);
    });
  }

  it('stops one byte above the longest backing names that qemu-img takes', () => {
    const path = join(folder.path, 'image.qcow2');
    for (const change of [
      { clusterSize: 512, length: 376 },
      { clusterSize: 64 * KiB, length: 1023 },
    ]) {
      const backing = { fileName: nameOf(change.length), format: 'raw' } as const;
      const spec = { ...plainSpec, clusterSize: change.clusterSize, backing };
      createWithQemu(path, spec);
      createOurs(path, spec);
      assert.equal(infoJson(path)['backing-filename'], backing.fileName);
    }
  });
});

function isAllowed(spec: CreateSpec): boolean {
  const newer = spec.lazyRefcounts || spec.extendedL2 || spec.compressionType === 'zstd' || spec.refcountBits !== 16;
  if (spec.compat === '0.10' && newer) return false;
  if (spec.extendedL2 && spec.clusterSize < 16 * KiB) return false;
  return spec.backing === undefined || spec.preallocation === 'off' || spec.extendedL2;
}

function printSpec(spec: CreateSpec): string {
  const { backing, encryption: _encryption, dataFile: _dataFile, ...rest } = spec;
  const words = Object.entries(rest).map(([name, value]) => `${name} ${value}`);
  if (backing !== undefined) words.push(`backing ${backing.format} (${backing.fileName.length} bytes)`);
  return words.join(', ');
}

/** A relative path of existing folders' names is not needed: a name of `length` bytes that nothing opens. */
function nameOf(length: number): string {
  const part = `${'n'.repeat(99)}/`;
  return part.repeat(Math.ceil(length / part.length)).slice(0, length - 1) + 'z';
}

function makeBases(inside: string): void {
  const raw = join(inside, 'base.raw');
  qemuImg('create', '-q', '-f', 'raw', raw, '3M');
  qemuIo(raw, ['write -P 17 0 64k', 'write -P 18 1M 128k'], { ...ioOptions, format: 'raw' });
  const qcow2 = join(inside, 'base.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', qcow2, '3M');
  qemuIo(qcow2, ['write -P 17 0 64k', 'write -P 18 1M 128k', 'write -z 2M 64k'], ioOptions);
}

function createOurs(path: string, spec: CreateSpec): void {
  rmSync(path, { force: true });
  const file = NodeFile.create(path);
  try {
    runToEnd(createImage(file, spec));
  } finally {
    file.close();
  }
}

function createArgs(path: string, spec: CreateSpec): readonly string[] {
  const onOff = (value: boolean): string => (value ? 'on' : 'off');
  const options = [
    `compat=${spec.compat}`,
    `cluster_size=${spec.clusterSize}`,
    `refcount_bits=${spec.refcountBits}`,
    `lazy_refcounts=${onOff(spec.lazyRefcounts)}`,
    `extended_l2=${onOff(spec.extendedL2)}`,
    `compression_type=${spec.compressionType}`,
    `preallocation=${spec.preallocation}`,
  ];
  const backing = spec.backing === undefined ? [] : ['-u', '-b', spec.backing.fileName, '-F', spec.backing.format];
  return ['create', '-q', '-f', 'qcow2', '-o', options.join(','), ...backing, path, String(spec.virtualSize)];
}

function createWithQemu(path: string, spec: CreateSpec): void {
  qemuImg(...createArgs(path, spec));
}

/** What `qemu-img info` says, without what is the file system's: its name apart, two equal images say the same. */
function factsOf(path: string): Readonly<Record<string, unknown>> {
  const { 'actual-size': _size, 'children': _children, ...facts } = infoJson(path);
  return facts;
}

/**
 * Where preallocated clusters lie, and what the file system says of unwritten ones, is not the format's business: of
 * those only that they are data counts.
 */
function mapOf(path: string, spec: CreateSpec): unknown {
  const items = mapJson(path);
  if (spec.preallocation === 'off') return items;
  return mergedMap(items, ({ depth, present, data }) => ({ depth, present, data }));
}

function lengthOfFile(path: string): number {
  const file = NodeFile.open(path, { writable: false, locks: 'qemu' });
  try {
    return file.size;
  } finally {
    file.close();
  }
}

/** After {@link useWithQemu}: we read what QEMU has written at the very end, and QEMU what we write there. */
function goOnWithOurs(path: string, { virtualSize }: CreateSpec): void {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
  const bytes = new Uint8Array(4096);
  const at = virtualSize - bytes.length;
  image.read(guestOffset(at), bytes);
  assert.ok(bytes.every((byte) => byte === 91));
  image.write(guestOffset(at + 1000), bytes.fill(92).subarray(1000), { detectZeroes: false });
  image.close();
  assertSound(path, 'after our writing');
  qemuIo(path, [`read -P 91 ${at} 1000`, `read -P 92 ${at + 1000} 3096`], ioOptions);
}

/** QEMU writes into the image, reads it back in another process, and still finds it sound. */
function useWithQemu(path: string, spec: CreateSpec): void {
  const size = Math.ceil(spec.virtualSize / 512) * 512;
  if (size === 0) return;
  const length = Math.min(size, 70_144);
  const last = size - length;
  qemuIo(path, [`write -P 90 0 ${length}`, `write -P 91 ${last} ${length}`], ioOptions);
  assertSound(path, 'after writing');
  qemuIo(path, [`read -P 91 ${last} ${length}`], ioOptions);
  if (last >= length) qemuIo(path, [`read -P 90 0 ${length}`], ioOptions);
}
