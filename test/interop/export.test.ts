// Virtual files of QEMU's images, written to disk in odd ranges and judged by qemu-img: sound, equal, mapped alike.

import assert from 'node:assert/strict';
import { closeSync, copyFileSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { alignDown, alignUp } from '../../src/base/integers.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { Image } from '../../src/engine/image.ts';
import type { BackingFile, VirtualFile } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { everySecond } from '../support/every-second.ts';
import { imageMatrix } from '../support/image-matrix.ts';
import { cook } from '../support/image-recipe.ts';
import type { ImageRecipe } from '../support/image-recipe.ts';
import { Prng } from '../support/prng.ts';
import { compareImages, infoJson, mapJson, qemuImg } from '../support/qemu-img.ts';
import type { MapRun } from '../support/qemu-img.ts';
import { assertSound, mergedMap } from '../support/qemu-verdicts.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** qemu-img asks for every 512 MiB of these: it takes long, and holes are all that it finds. */
const vast = new Set(['size-256T', 'size-1P-2M', 'size-4P-2M-extended', 'size-8P-2M']);

/** The grid varies what an export does not look at: few of it are enough, and every fourth of the others. */
const chosen = imageMatrix.filter(({ id }, index) => !vast.has(id) && index % (id.startsWith('grid-') ? 20 : 4) === 0);

describe('an exported qcow2 file', () => {
  for (const recipe of everySecond(chosen)) {
    it(`is sound, reads and maps like its image: ${recipe.id}`, () => {
      using folder = tempFolder();
      const source = cook(recipe, folder.path);
      const target = join(folder.path, 'exported.qcow2');
      exportTo(target, recipe, folder.path, { format: 'qcow2', snapshot: undefined, layer: 'all' });
      assertSound(target, recipe.oddity);
      assert(compareImages({ path: source, format: 'qcow2' }, { path: target, format: 'qcow2' }));
      const info = infoJson(target);
      assert.equal(info['virtual-size'], infoJson(source)['virtual-size']);
      assert.equal(info['backing-filename'], undefined);
      assert.deepEqual(mergedMap(mapJson(target), kindOf), clusterMap(mapJson(source), Number(info['cluster-size'])));
    });
  }
});

describe('an exported snapshot', () => {
  for (const recipe of imageMatrix.filter(({ id }) => id.startsWith('snapshot-')).filter(isEven)) {
    it(`is what qemu-img reverts to (OPS-30): ${recipe.id}`, () => {
      using folder = tempFolder();
      const source = cook(recipe, folder.path);
      for (const [index, snapshot] of recipe.snapshots.entries()) {
        // `convert -l` keeps the size of the live disk; only a revert gives the snapshot its own.
        const reference = join(folder.path, `reverted-${index}.qcow2`);
        copyFileSync(source, reference);
        qemuImg('snapshot', '-a', snapshot, reference);
        const target = join(folder.path, `exported-${index}.qcow2`);
        exportTo(target, recipe, folder.path, { format: 'qcow2', snapshot, layer: 'all' });
        assertSound(target, snapshot);
        assert(compareImages({ path: reference, format: 'qcow2' }, { path: target, format: 'qcow2' }), snapshot);
      }
    });
  }
});

describe('an exported overlay', () => {
  for (const recipe of imageMatrix
    .filter(({ backing, judge }) => backing.length > 0 && judge.kind === 'all')
    .filter(isEven)) {
    it(`is the disk as raw, and itself alone as top: ${recipe.id}`, () => {
      using folder = tempFolder();
      const source = cook(recipe, folder.path);
      const raw = join(folder.path, 'exported.raw');
      exportTo(raw, recipe, folder.path, { format: 'raw', snapshot: undefined, layer: 'all' });
      assert(compareImages({ path: source, format: 'qcow2' }, { path: raw, format: 'raw' }));

      const alone = join(folder.path, 'alone.qcow2');
      copyFileSync(source, alone);
      qemuImg('rebase', '-u', '-f', 'qcow2', '-b', '', alone);
      const top = join(folder.path, 'top.qcow2');
      exportTo(top, recipe, folder.path, { format: 'qcow2', snapshot: undefined, layer: 'top' });
      assertSound(top, recipe.oddity);
      assert(compareImages({ path: alone, format: 'qcow2' }, { path: top, format: 'qcow2' }));
      const clusterSize = Number(infoJson(top)['cluster-size']);
      assert.deepEqual(mergedMap(mapJson(top), kindOf), clusterMap(mapJson(alone), clusterSize));
    });
  }
});

/** Each second one. */
function isEven(_recipe: ImageRecipe, index: number): boolean {
  return index % 2 === 0;
}

function exportTo(target: string, recipe: ImageRecipe, folder: string, wish: Parameters<Image['planExport']>[0]): void {
  const backing = recipe.backing.map(({ fileName, format }): BackingFile => ({
    fileName,
    format,
    path: join(folder, fileName),
  }));
  const image = Image.open({ path: cookedPath(folder), writable: false, locks: 'qemu', backing });
  try {
    writeInOddRanges(runToEnd(image.planExport(wish)), target);
  } finally {
    image.close();
  }
}

function cookedPath(folder: string): string {
  return join(folder, 'image.qcow2');
}

/** Ranges that cross every border; those without a byte stay holes. */
function writeInOddRanges(file: VirtualFile, path: string): void {
  const random = new Prng(file.length);
  const descriptor = openSync(path, 'w');
  try {
    for (let at = 0; at < file.length;) {
      const length = Math.min(file.length - at, 1 + random.pick([700, 5000, 100 * KiB, 1 * MiB - 1]));
      const bytes = new Uint8Array(length).fill(0xee);
      file.read(at, bytes);
      if (bytes.some((byte) => byte !== 0)) writeSync(descriptor, bytes, 0, length, at);
      at += length;
    }
    ftruncateSync(descriptor, file.length);
  } finally {
    closeSync(descriptor);
  }
}

type Kind = 'data' | 'zero' | 'absent';

/** What a run of a map is to an export: where bytes are stored, they stay stored, whatever they are. */
function kindOf(run: MapRun): Kind {
  if (run.data) return 'data';
  return run.present ? 'zero' : 'absent';
}

/** Clusters that were made in advance and never written are holes of their file: nothing is stored there (OPS-31). */
function sourceKindOf(run: MapRun): Kind {
  return run.data && run.zero ? 'zero' : kindOf(run);
}

/** A map rounded to clusters: each is what the strongest of its bytes is. */
function clusterMap(runs: readonly MapRun[], clusterSize: number): ReturnType<typeof mergedMap<Kind>> {
  const last = runs.at(-1);
  const size = last === undefined ? 0 : last.start + last.length;
  const borders = runs.flatMap(({ start, length }) => [start, start + length]);
  const cuts = new Set(borders.flatMap((at) => [alignDown(at, clusterSize), Math.min(size, alignUp(at, clusterSize))]));
  const edges = [...cuts].toSorted((one, other) => one - other);
  const rounded = edges.slice(1).map((end, index): MapRun => {
    const start = edges[index] ?? 0;
    const kinds = runs.filter((run) => run.start < end && run.start + run.length > start).map(sourceKindOf);
    const data = kinds.includes('data');
    const present = data || kinds.includes('zero');
    return { start, length: end - start, depth: 0, present, zero: !data, data };
  });
  return mergedMap(rounded, kindOf);
}
