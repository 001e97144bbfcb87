// Writes that would hit metadata, under each overlap template and with its area by itself: refused here exactly when QEMU
// refuses them (OPT-11, CHK-17).

import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { RuntimeOptions } from '../../../src/engine/image.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { qemuImg, qemuIo, runTool } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = 4096;
const l2Span = 512 * cluster;
const corruptBit = 2n;
const templates = ['none', 'constant', 'cached', 'all'] as const;
const extensionOfBitmaps = 0x23852875;

/** How writes are guarded: here, and as options of QEMU. */
interface Guard {
  readonly rules: Pick<RuntimeOptions, 'overlapCheck' | 'overlapAreas'>;
  readonly options: string;
}

const templateGuards = templates.map((template): Guard => ({
  rules: { overlapCheck: template },
  options: `overlap-check=${template}`,
}));

type Area = keyof NonNullable<RuntimeOptions['overlapAreas']>;

/** All but one area, and this one alone. */
function areaGuards(area: Area): readonly Guard[] {
  const name = area.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return [
    {
      rules: { overlapCheck: 'all', overlapAreas: { [area]: false } },
      options: `overlap-check=all,overlap-check.${name}=off`,
    },
    {
      rules: { overlapCheck: 'none', overlapAreas: { [area]: true } },
      options: `overlap-check=none,overlap-check.${name}=on`,
    },
  ];
}

/** By name, the metadata that guest cluster 0 is made to lie in. */
const targets: readonly (readonly [string, (image: ImageBytes) => number, Area])[] = [
  ['the active L1 table', (image) => image.l1Offset, 'activeL1'],
  ['another active L2 table', (image) => image.target(image.l1At(1)), 'activeL2'],
  ['the refcount table', (image) => image.tableOffset, 'refcountTable'],
  ['a refcount block', (image) => image.blockOf(0), 'refcountBlock'],
  ['the snapshot table', (image) => image.snapshotAt(0), 'snapshotTable'],
  ['the L1 table of a snapshot', (image) => Number(image.u64(image.snapshotAt(0))), 'inactiveL1'],
  ['an L2 table of a snapshot', (image) => image.target(Number(image.u64(image.snapshotAt(0)))), 'inactiveL2'],
  ['the bitmap directory', bitmapDirectoryOf, 'bitmapDirectory'],
];

function bitmapDirectoryOf(image: ImageBytes): number {
  return Number(image.u64(image.extensionAt(extensionOfBitmaps) + 16));
}

/** Two L2 tables, which a snapshot has others of, and a bitmap. */
function makeBase(path: string): void {
  const fast = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `cluster_size=${cluster}`, path, '4M');
  const both = ['write 0 8k', `write ${l2Span} 4k`];
  qemuIo(path, both, fast);
  qemuImg('snapshot', '-c', 's', path);
  qemuIo(path, both, fast);
  qemuImg('bitmap', '--add', '--disable', path, 'b');
}

interface Outcome {
  readonly isRefused: boolean;
  readonly isCorrupt: boolean;
}

const isMarked = (path: string): boolean => (ImageBytes.read(path).u64(72) & corruptBit) !== 0n;

function writeWithQemu(path: string, guard: Guard, offset: number): Outcome {
  const options = `driver=qcow2,file.driver=file,file.filename=${path},${guard.options},l2-cache-entry-size=4096`;
  const commands = ['-c', `write -q -P 9 ${offset} 4k`, '-c', 'flush'];
  const { stdout, stderr } = runTool('qemu-io', ['-t', 'unsafe', '--image-opts', ...commands, options], '');
  return { isRefused: /failed|error/i.test(stdout + stderr), isCorrupt: isMarked(path) };
}

function writeHere(path: string, guard: Guard, offset: number): Outcome {
  const image = Image.open({ path, writable: true, backing: [], locks: 'none' });
  image.setRuntime(guard.rules);
  const bytes = new Uint8Array(cluster).fill(9);
  const code = faultCodeOf(() => image.write(guestOffset(offset), bytes, { detectZeroes: false }));
  if (code === undefined) image.flush();
  else assert.equal(code, 'metadata-overlap');
  image.abandon();
  return { isRefused: code !== undefined, isCorrupt: isMarked(path) };
}

describe('a write into metadata', { timeout: 120_000 }, () => {
  const folder = tempFolder();
  const path = (name: string): string => join(folder.path, `${name}.qcow2`);
  before(() => makeBase(path('base')));
  after(() => folder[Symbol.dispose]());

  function compare(
    damage: (image: ImageBytes) => void,
    offset: number,
    guards: readonly Guard[],
  ): readonly { readonly judged: Outcome; readonly here: Outcome }[] {
    const damaged = ImageBytes.read(path('base'));
    damage(damaged);
    damaged.write(path('damaged'));
    return guards.map((guard) => {
      copyFileSync(path('damaged'), path('qemu'));
      copyFileSync(path('damaged'), path('here'));
      const judged = writeWithQemu(path('qemu'), guard, offset);
      return { judged, here: writeHere(path('here'), guard, offset) };
    });
  }

  for (const [name, placeOf, area] of targets) {
    test(`is refused as QEMU does: ${name}`, () => {
      const guards = [...templateGuards, ...areaGuards(area)];
      const damage = (image: ImageBytes): void => {
        const place = Math.floor(placeOf(image) / cluster) * cluster;
        image.setU64(image.l2At(0), BigInt(place) | (1n << 63n));
      };
      const outcomes = compare(damage, 0, guards);
      for (const [index, { judged, here }] of outcomes.entries())
        assert.deepEqual(here, judged, guards[index]?.options);
      const refused = outcomes.map(({ judged }) => judged.isRefused);
      assert.deepEqual([refused[0], refused[3], refused[4], refused[5]], [false, true, false, true]);
    });
  }

  test('ends the changes as QEMU does: of an L2 table that a snapshot has, too', () => {
    const damage = (image: ImageBytes): void => {
      const shared = image.target(Number(image.u64(image.snapshotAt(0))));
      image.setU64(image.l1At(0), BigInt(shared) | (1n << 63n));
    };
    const outcomes = compare(damage, 16 * cluster, templateGuards);
    // QEMU has answered the write by then: it looks when the table goes to the disk.
    const marks = outcomes.map(({ judged, here }) => [judged.isCorrupt, here.isCorrupt]);
    assert.deepEqual(marks, [
      [false, false],
      [false, false],
      [false, false],
      [true, true],
    ]);
  });
});
