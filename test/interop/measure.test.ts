// How large a file will be: the same numbers as qemu-img measure, for sizes and for images that QEMU made.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB, PiB } from '../../src/base/units.ts';
import { Image, measureNew } from '../../src/engine/image.ts';
import type { MeasuredSize, MeasureSpec } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { imageMatrix } from '../support/image-matrix.ts';
import { cook, topFile } from '../support/image-recipe.ts';
import type { ImageRecipe } from '../support/image-recipe.ts';
import { usual } from '../support/measure-spec.ts';
import { Prng } from '../support/prng.ts';
import { qemuImg, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startTestService } from '../support/test-service.ts';

const seed = Number(process.env['SEED'] ?? 20_261_129);
console.log(`SEED=${seed}`);

/** How many sizes are measured; QCOWD_MEASURES=… for more. */
const sizeCount = Number(process.env['QCOWD_MEASURES'] ?? 60);

describe('a new image of random size and options', () => {
  it(`is as large as qemu-img says, ${sizeCount} times`, () => {
    const chance = new Prng(seed);
    for (let round = 0; round < sizeCount; round += 1) {
      const spec = randomSpec(chance);
      const virtualSize = randomSize(chance);
      const theirs = measureWithQemu(spec, ['--size', String(virtualSize)]);
      if (theirs === undefined) {
        assert.throws(
          () => measureNew(spec, virtualSize),
          { code: 'invalid-geometry' },
          `${virtualSize} ${show(spec)}`,
        );
      } else {
        assert.deepEqual(measureNew(spec, virtualSize), theirs, `${virtualSize} ${show(spec)}`);
      }
    }
  });
});

/** Huge disks take qemu-img long; the grid varies what is not looked at: a few of it are enough, and every second of the others. */
const chosen = imageMatrix.filter(
  ({ id, judge }, index) => judge.kind === 'all' && index % (id.startsWith('grid-') ? 24 : 2) === 0,
);

describe('a copy of an image', () => {
  const chance = new Prng(seed + 1);
  for (const recipe of everySecond(chosen)) {
    const specs = [randomSpec(chance)];
    it(`is as large as qemu-img says (OPS-31, T84): ${recipe.id}`, () => {
      using folder = tempFolder();
      const source = cook(recipe, folder.path);
      looking(recipe, folder.path, (image) => {
        // QEMU measures a snapshot at the size of today (T71).
        const snapshots = recipe.snapshots.filter((name) => sizeOf(image, name) === image.virtualSize).slice(0, 3);
        for (const spec of specs) {
          for (const snapshot of [undefined, ...snapshots]) {
            const asked = snapshot === undefined ? [] : ['-l', snapshot];
            const theirs = measureWithQemu(spec, [...asked, '-f', 'qcow2', source]);
            const ours = runToEnd(image.measure({ snapshot, spec }));
            assert.deepEqual(ours, theirs, `${snapshot ?? 'live'} ${show(spec)}`);
          }
        }
      });
    });
  }

  it('counts the bitmaps that are consistent', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', path, String(20 * GiB));
    const bitmaps = { plain: '64k', [`${'long-'.repeat(100)}name`]: '512', [`u\u00fcmlaut`]: '2M' };
    for (const [name, granularity] of Object.entries(bitmaps)) {
      qemuImg('bitmap', '--add', '-f', 'qcow2', '-g', granularity, path, name);
    }
    for (const clusterSize of [512, 64 * KiB, 2 * MiB]) {
      const spec = { ...usual, clusterSize };
      const theirs = measureWithQemu(spec, ['-f', 'qcow2', path]);
      assert.ok((theirs?.bitmaps ?? 0) > 0);
      const image = Image.open({ path, writable: false, locks: 'none', backing: [] });
      assert.deepEqual(runToEnd(image.measure({ snapshot: undefined, spec })), theirs);
      image.close();
    }
  });
});

describe('over HTTP', () => {
  it('a raw file that came in is measured as qemu-img measures it', async () => {
    await using service = await startTestService();
    const chance = new Prng(seed + 2);
    const bytes = new Uint8Array(40 * 64 * KiB);
    // The first block is data: qemu-img allocates it in every raw file.
    for (let at = 0; at < bytes.length; at += 64 * KiB) {
      if (at === 0 || chance.chance(40)) bytes.set(chance.bytes(64 * KiB), at);
    }
    const path = join(service.folder, 'disk.raw');
    writeFileSync(path, bytes);
    // What reads as zero is a hole for qemu-img only where the file has one.
    qemuImg('convert', '-f', 'raw', '-O', 'raw', path, `${path}.sparse`);
    await service.put('/v1/imports/disk?format=raw').send(Buffer.from(bytes)).expect(201);
    for (const clusterSize of [4 * KiB, 64 * KiB, 2 * MiB]) {
      const answer = await service.post('/v1/measure', { image: 'disk', options: { clusterSize } }).expect(200);
      const { bitmaps, ...sizes } = answer.body as MeasuredSize;
      assert.equal(bitmaps, 0);
      assert.deepEqual(sizes, measureWithQemu({ ...usual, clusterSize }, ['-f', 'raw', `${path}.sparse`]));
    }
  });
});

/** Without LUKS: for each, qemu-img derives a key for seconds; the unit test has what it says. A base is only named. */
function randomSpec(chance: Prng): MeasureSpec {
  const clusterSize = 2 ** (9 + chance.below(13));
  const isOld = chance.chance(20);
  const extendedL2 = !isOld && clusterSize >= 16 * KiB && chance.chance(40);
  const preallocation = chance.pick(['off', 'off', 'metadata', 'falloc', 'full'] as const);
  const mayStand = preallocation === 'off' || extendedL2;
  return {
    ...usual,
    clusterSize,
    compat: isOld ? '0.10' : '1.1',
    refcountBits: isOld ? 16 : 2 ** chance.below(7),
    extendedL2,
    compressionType: !isOld && chance.chance(30) ? 'zstd' : 'zlib',
    preallocation,
    backing: mayStand && chance.chance(25) ? { fileName: 'below.qcow2', format: 'qcow2' } : undefined,
  };
}

/** All magnitudes alike, up to 4 PiB, and not only whole sectors. */
function randomSize(chance: Prng): number {
  const magnitude = 2 ** chance.below(43);
  return Math.min(4 * PiB, Math.floor((magnitude * (1 + chance.below(1 << 20))) / 1024) + chance.below(1024));
}

/** What qemu-img says; undefined when it refuses the size. */
function measureWithQemu(spec: MeasureSpec, source: readonly string[]): MeasuredSize | undefined {
  const options = [
    `cluster_size=${spec.clusterSize}`,
    `compat=${spec.compat}`,
    `refcount_bits=${spec.refcountBits}`,
    `extended_l2=${spec.extendedL2 ? 'on' : 'off'}`,
    `compression_type=${spec.compressionType}`,
    `preallocation=${spec.preallocation}`,
  ];
  if (spec.backing !== undefined) options.push(`backing_file=${spec.backing.fileName}`, 'backing_fmt=qcow2');
  const args = ['measure', '--output=json', '-O', 'qcow2', '-o', options.join(','), ...source];
  const answer = runTool('qemu-img', args, '');
  if (answer.exit !== 0) {
    assert.match(answer.stderr, /too large/i);
    return undefined;
  }
  const told = JSON.parse(answer.stdout) as Readonly<Record<string, number>>;
  const { required = NaN, 'fully-allocated': fullyAllocated = NaN, bitmaps } = told;
  return { required, fullyAllocated, ...(bitmaps === undefined ? {} : { bitmaps }) };
}

/** The image of a recipe, opened for reading while `look` looks. */
function looking<Found>({ backing }: ImageRecipe, folder: string, look: (image: Image) => Found): Found {
  const chain = backing.map(({ fileName, format }) => ({ fileName, format, path: join(folder, fileName) }));
  const image = Image.open({ path: join(folder, topFile), writable: false, locks: 'none', backing: chain });
  try {
    return look(image);
  } finally {
    image.close();
  }
}

const show = (spec: MeasureSpec): string => JSON.stringify(spec);

function sizeOf(image: Image, snapshot: string): number | undefined {
  return image.findSnapshot(snapshot)?.snapshot.virtualSize;
}
