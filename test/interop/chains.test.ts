// What changes an overlay as a whole, judged by qemu-img: the same bytes, the same map, and a sound file.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { BackingFile } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { compareImages, infoJson, mapJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import type { MapRun } from '../support/qemu-img.ts';
import { assertSound, mergedMap } from '../support/qemu-verdicts.ts';
import { tempFolder } from '../support/temp-folder.ts';

const quiet = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

/** An image of QEMU's with the content of these commands, over another one of the folder. */
function make(
  folder: string,
  name: string,
  made: {
    readonly size: string;
    readonly options?: string;
    readonly below?: string;
    readonly commands: readonly string[];
  },
): string {
  const path = join(folder, name);
  const below = made.below === undefined ? [] : ['-b', made.below, '-F', 'qcow2'];
  const options = made.options === undefined ? [] : ['-o', made.options];
  qemuImg('create', '-q', '-f', 'qcow2', ...options, ...below, path, made.size);
  qemuIo(path, made.commands, quiet);
  return path;
}

/** Files of the folder as the layers below an image, nearest first. */
function chainOf(folder: string, ...names: readonly string[]): readonly BackingFile[] {
  return names.map((fileName) => ({ fileName, path: join(folder, fileName), format: 'qcow2' }));
}

function openOurs(path: string, backing: readonly BackingFile[], hostCopies = false): Image {
  return Image.open({ path, writable: true, locks: 'qemu', backing, hostCopies });
}

describe('an image that was emptied', () => {
  const rows = [
    { options: 'compat=1.1', snapshot: false, length: 262_144 },
    { options: 'compat=0.10', snapshot: false, length: 262_144 },
    { options: 'cluster_size=512,refcount_bits=64', snapshot: false, length: undefined },
    { options: 'extended_l2=on,cluster_size=16k,lazy_refcounts=on', snapshot: true, length: undefined },
  ] as const;
  for (const { options, snapshot, length } of rows) {
    test(`is sound and shows its base (OPS-17, OPS-24, T83): ${options}`, () => {
      using folder = tempFolder();
      const base = make(folder.path, 'base', { size: '4M', commands: ['write -P 1 0 3M'] });
      const commands = ['write -P 2 100k 2M', 'write -z 3M 512k', 'write -c -P 3 3584k 64k'];
      const top = make(folder.path, 'top', { size: '4M', options, below: 'base', commands });
      if (snapshot) qemuImg('snapshot', '-c', 's', top);
      const image = openOurs(top, chainOf(folder.path, 'base'));
      runToEnd(image.empty());
      image.close();
      assertSound(top, options);
      assert.ok(compareImages({ path: top, format: 'qcow2' }, { path: base, format: 'qcow2' }));
      const depths = mergedMap(mapJson(top), ({ depth, present }) => (present ? depth : 'absent'));
      assert.deepEqual(
        depths.map(({ facts }) => facts),
        [1, 'absent'],
      );
      // B25: where nothing else has a cluster, the file is as short as QEMU makes it.
      if (length !== undefined) assert.equal(statSync(top).size, length);
    });
  }
});

describe('an image that was put on another base', () => {
  const tops = [
    { options: 'compat=1.1', hostCopies: true, isMapSame: true },
    { options: 'compat=0.10', hostCopies: false, isMapSame: true },
    { options: 'cluster_size=512', hostCopies: false, isMapSame: true },
    // Subclusters of zeroes are copied with the block that they are a part of.
    { options: 'extended_l2=on,cluster_size=32k', hostCopies: true, isMapSame: false },
  ] as const;
  for (const { options, hostCopies, isMapSame } of everySecond(tops)) {
    test(`is what qemu-img rebase makes of its twin (OPS-35): ${options}`, () => {
      using folder = tempFolder();
      const { path } = folder;
      const below = ['write -P 1 0 1M', 'write -P 2 1600k 300k', 'write -P 9 2500k 40k'];
      make(path, 'base', { size: '3M', options: 'cluster_size=4k', commands: below });
      make(path, 'mid', { size: '2M', below: 'base', commands: ['write -P 3 512k 700k', 'write -z 1700k 64k'] });
      // Like `mid` in places, longer, and with data where it has none.
      const others = ['write -P 1 0 200k', 'write -P 3 900k 200k', 'write -P 7 1984k 100k', 'write -P 8 3500k 300k'];
      make(path, 'other', { size: '5M', options: 'cluster_size=1k', commands: others });
      const commands = ['write -P 4 100k 60k', 'write -z 1040k 32k', 'write -P 5 3900k 3k'];
      const size = '4000k';
      for (const target of ['base', 'other', undefined] as const) {
        const [ours, twin] = ['ours', 'twin'].map((name) =>
          make(path, name, { size, options, below: 'mid', commands }),
        );
        assert.ok(ours !== undefined && twin !== undefined);
        qemuImg('rebase', '-f', 'qcow2', '-b', target ?? '', ...(target === undefined ? [] : ['-F', 'qcow2']), twin);
        const image = openOurs(ours, chainOf(path, 'mid', 'base'), hostCopies);
        const chain = target === undefined ? [] : chainOf(path, target);
        runToEnd(image.rebase({ chain, mode: 'safe' }));
        image.close();
        assertSound(ours, options);
        assert.equal(infoJson(ours)['backing-filename'], target);
        assert.ok(compareImages({ path: ours, format: 'qcow2' }, { path: twin, format: 'qcow2' }), String(target));
        const facts = ({ depth, present }: MapRun): unknown => (present ? depth : 'absent');
        const maps = [ours, twin].map((file) => mergedMap(mapJson(file), facts));
        if (isMapSame) assert.deepEqual(maps[0], maps[1], String(target));
      }
    });
  }

  test('takes its word for the same without a look, and finds no room for a name that is too long', () => {
    using folder = tempFolder();
    const { path } = folder;
    const long = { fileName: 'n'.repeat(400), path: join(path, 'copy'), format: 'qcow2' } as const;
    for (const base of ['base', 'copy']) make(path, base, { size: '1M', commands: ['write -P 1 0 1M'] });
    const commands = ['write -P 2 0 64k'];
    const top = make(path, 'top', { size: '1M', below: 'base', options: 'cluster_size=512', commands });
    const image = openOurs(top, chainOf(path, 'base'));
    runToEnd(image.rebase({ chain: chainOf(path, 'copy'), mode: 'unsafe' }));
    assert.throws(() => runToEnd(image.rebase({ chain: [long], mode: 'safe' })), { code: 'header-full' });
    image.close();
    assertSound(top, 'rebased');
    assert.equal(infoJson(top)['backing-filename'], 'copy');
    const depths = mergedMap(mapJson(top), ({ depth }) => depth);
    assert.deepEqual(
      depths.map(({ facts, length }) => [facts, length]),
      [
        [0, 65_536],
        [1, 1_048_576 - 65_536],
      ],
    );
  });
});

describe('an image that was committed', () => {
  const rows = [
    { top: 'compat=1.1', base: 'compat=1.1', into: undefined, isMapSame: true, hostCopies: true },
    {
      top: 'extended_l2=on,cluster_size=32k',
      base: 'cluster_size=512,refcount_bits=64',
      into: undefined,
      isMapSame: false,
      hostCopies: false,
    },
    {
      top: 'compression_type=zstd',
      base: 'extended_l2=on,cluster_size=16k,lazy_refcounts=on',
      into: 'base',
      isMapSame: false,
      hostCopies: false,
    },
    { top: 'cluster_size=4k', base: 'compat=0.10', into: 'base', isMapSame: false, hostCopies: true },
  ] as const;
  for (const { top: options, base: baseOptions, into, isMapSame, hostCopies } of everySecond(rows)) {
    test(`leaves the chain that qemu-img commit leaves (OPS-40): ${options} over ${baseOptions}, ${into ?? 'next'}`, () => {
      using folder = tempFolder();
      const chains = ['ours', 'twin'].map((name) => {
        const path = join(folder.path, name);
        mkdirSync(path);
        const below = ['write -P 1 0 2500k', 'write -z 1M 100k'];
        const base = make(path, 'base', { size: '2500k', options: baseOptions, commands: below });
        const between = ['write -P 3 512k 300k', 'write -z 1200k 64k', 'write -P 6 2600k 64k'];
        // Its own end lies before that of the base when it is between them.
        const mid = make(path, 'mid', { size: '2700k', options: baseOptions, below: 'base', commands: between });
        const commands = [
          'write -P 4 100k 60k',
          'write -z 1900k 300k',
          'write -c -P 5 576k 64k',
          'write -P 7 3999k 1k',
        ];
        return { path, base, mid, top: make(path, 'top', { size: '4M', options, below: 'mid', commands }) };
      });
      const [ours, twin] = chains;
      assert.ok(ours !== undefined && twin !== undefined);
      const before = join(folder.path, 'before.raw');
      qemuImg('convert', '-O', 'raw', ours.top, before);
      qemuImg('commit', '-q', ...(into === undefined ? [] : ['-b', into]), twin.top);
      const image = openOurs(ours.top, chainOf(ours.path, 'mid', 'base'), hostCopies);
      const bytes = new Uint8Array(image.virtualSize);
      const steps = image.commit({ depth: into === undefined ? 1 : 2, mend: false });
      for (let next = steps.next(); next.done !== true; next = steps.next()) {
        // Between its steps the image reads as ever.
        image.read(guestOffset(0), bytes);
        assert.ok(readFileSync(before).equals(bytes));
      }
      if (into === undefined) runToEnd(image.empty());
      image.close();
      const target = into ?? 'mid';
      for (const name of ['top', 'mid', 'base'] as const) {
        assertSound(ours[name], name);
        const both = [ours, twin].map((chain) => ({ path: chain[name], format: 'qcow2' }) as const);
        assert.ok(both[0] !== undefined && both[1] !== undefined && compareImages(both[0], both[1]), name);
        assert.equal(infoJson(ours[name])['virtual-size'], infoJson(twin[name])['virtual-size'], name);
      }
      const shown = { path: ours[target], format: 'qcow2' } as const;
      assert.ok(compareImages(shown, { path: before, format: 'raw' }), 'the target shows what the top showed');
      const facts = ({ depth, present }: MapRun): unknown => (present ? depth : 'absent');
      const [map, twinMap] = [ours, twin].map(({ top }) => mergedMap(mapJson(top), facts));
      if (isMapSame) assert.deepEqual(map, twinMap);
      // QEMU copies 64 KiB at once: it may have more bytes as data, never less.
      const dataIn = (path: string): number =>
        mapJson(path).reduce((sum, { depth, data, length }) => sum + (depth === 0 && data ? length : 0), 0);
      assert.ok(dataIn(ours[target]) <= dataIn(twin[target]));
      const isZero = ({ data }: MapRun): unknown => !data;
      const zeroes = mergedMap(mapJson(ours[target]), isZero).find(
        ({ start, length }) => start <= 2_000_000 && start + length > 2_000_000,
      );
      assert.equal(zeroes?.facts, true, 'what is zero in the image is not stored');
    });
  }
});

/** What `qemu-img compare` says: the first difference in whole sectors, as it looks for it. */
function verdictOf(one: string, other: string, strict: boolean): { identical: boolean; sector: number | undefined } {
  const args = ['compare', ...(strict ? ['-s'] : []), '-f', 'qcow2', '-F', 'qcow2', one, other];
  const { exit, stdout, stderr } = runTool('qemu-img', args, '');
  assert.ok(exit <= 1, stderr);
  const at = /[Oo]ffset (\d+)/.exec(stdout)?.[1];
  return { identical: exit === 0, sector: at === undefined ? undefined : Math.floor(Number(at) / 512) };
}

describe('a comparison', () => {
  test('says what qemu-img compare says of the same pair', () => {
    using folder = tempFolder();
    const { path } = folder;
    const content = ['write -P 1 64k 1M', 'write -P 2 2M 200k'];
    const rows: Readonly<Record<string, Parameters<typeof make>[2]>> = {
      base: { size: '4M', commands: content },
      twin: { size: '4M', commands: content },
      longer: { size: '5M', commands: content },
      tail: { size: '5M', commands: [...content, 'write -P 3 4100k 1k'] },
      zeroes: { size: '4M', commands: [...content, 'write -z 3M 64k'] },
      written: { size: '4M', commands: [...content, 'write -P 0 3M 64k'] },
      other: { size: '4M', commands: [...content, 'write -P 3 2100k 1k'] },
      packed: { size: '4M', options: 'cluster_size=16k', commands: ['write -c -P 1 64k 1M', 'write -P 2 2M 200k'] },
      scattered: { size: '4M', commands: ['write -P 2 2M 200k', 'write -P 1 576k 512k', 'write -P 1 64k 512k'] },
      overlay: { size: '4M', below: 'base', commands: ['write -P 1 128k 64k'] },
      second: { size: '4M', below: 'base', commands: ['write -P 9 128k 64k'] },
      wide: { size: '6M', below: 'base', commands: [] },
    };
    for (const [name, made] of Object.entries(rows)) make(path, name, made);
    const chain = (name: string): readonly string[] => [name, ...(rows[name]?.below === undefined ? [] : ['base'])];
    const pairs = [
      'base twin',
      'base longer',
      'tail base',
      'base zeroes',
      'zeroes written',
      'twin written',
      'base other',
    ]
      .concat(
        'packed base',
        'base scattered',
        'overlay base',
        'base overlay',
        'overlay second',
        'wide base',
        'wide longer',
      )
      .map((pair) => pair.split(' ') as [string, string]);
    const seen = new Set<string>();
    for (const [one, other] of pairs) {
      const [, ...below] = chain(one);
      const image = Image.open({
        path: join(path, one),
        writable: false,
        locks: 'qemu',
        backing: chainOf(path, ...below),
      });
      for (const strict of [false, true]) {
        const wish = { chain: chainOf(path, ...chain(other)), path: join(path, one), strict };
        const { identical, firstDifference } = runToEnd(image.compareWith(wish));
        const sector = firstDifference === undefined ? undefined : Math.floor(firstDifference / 512);
        const verdict = verdictOf(join(path, one), join(path, other), strict);
        assert.deepEqual({ identical, sector }, verdict, `${one} ${other}${strict ? ', strict' : ''}`);
        seen.add(`${String(strict)} ${String(identical)}`);
      }
      image.close();
    }
    assert.equal(seen.size, 4);
  });

  test('reads nothing that both chains have from one file', () => {
    using folder = tempFolder();
    const { path } = folder;
    make(path, 'base', { size: '1M', commands: ['write -P 1 0 1M'] });
    make(path, 'one', { size: '1M', below: 'base', commands: ['write -P 2 0 64k'] });
    make(path, 'other', { size: '1M', below: 'base', commands: ['write -P 2 0 64k'] });
    const image = Image.open({
      path: join(path, 'one'),
      writable: false,
      locks: 'qemu',
      backing: chainOf(path, 'base'),
    });
    const wish = { path: join(path, 'one'), strict: false };
    const steps = [...image.compareWith({ ...wish, chain: chainOf(path, 'other', 'base') })];
    assert.deepEqual(steps, [{ done: 65_536, total: 1_048_576 }]);
    image.close();
  });
});
