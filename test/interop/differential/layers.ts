// The files of a life: the image, where its data lies, and what may lie below it.

import { closeSync, copyFileSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { BackingFile } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import type { LayerName, StreamOptions } from './stream.ts';

export const imageName = 'image.qcow2';

/** Where an image of a life keeps its data, if not in itself. QEMU looks for a relative name in its own working folder. */
export function dataFileOf(folder: string): { readonly fileName: string; readonly path: string } {
  const path = join(folder, 'image.data');
  return { fileName: path, path };
}

/** What an image has below it, nearest first. */
export function chainBelow(folder: string, below: LayerName | undefined): readonly BackingFile[] {
  const named = (fileName: LayerName): BackingFile => ({
    ...{ fileName, path: join(folder, fileName), format: fileName === 'base.raw' ? 'raw' : 'qcow2' },
  });
  if (below === undefined) return [];
  return below === 'middle.qcow2' ? [named(below), named('base.raw')] : [named(below)];
}

/** Makes two folders with the same layers: patterns in some places, the same in all of them here and there. */
export function makeLayers(folders: readonly [string, string], { layers }: StreamOptions): void {
  const [folder, other] = folders;
  for (const each of folders) {
    mkdirSync(each);
    makeRaw(join(each, 'base.raw'), layers.baseSize);
  }
  makeLayer(folder, 'middle.qcow2', layers.middle);
  makeLayer(folder, 'other.qcow2', layers.other);
  for (const name of ['middle.qcow2', 'other.qcow2']) copyFileSync(join(folder, name), join(other, name));
}

function makeRaw(path: string, size: number): void {
  const third = Math.floor(size / 3);
  const file = openSync(path, 'w');
  writeSync(file, new Uint8Array(third).fill(201), 0, third, 0);
  writeSync(file, new Uint8Array(third).fill(202), 0, third, 2 * third);
  ftruncateSync(file, size);
  closeSync(file);
}

function makeLayer(
  folder: string,
  name: 'middle.qcow2' | 'other.qcow2',
  layer: { readonly clusterSize: number; readonly virtualSize: number },
): void {
  const path = join(folder, name);
  const base = name === 'middle.qcow2' ? ({ fileName: 'base.raw', format: 'raw' } as const) : undefined;
  runToEnd(Image.create(path, { ...plainSpec, ...layer, backing: base }));
  const backing = chainBelow(folder, base?.fileName);
  const image = Image.open({ path, writable: true, locks: 'qemu', backing });
  const size = image.virtualSize;
  const fill = (from: number, part: number, pattern: number): void => {
    const length = Math.min(Math.ceil(size * part), size - Math.floor(size * from));
    const bytes = new Uint8Array(length).fill(pattern);
    image.write(guestOffset(Math.floor(size * from)), bytes, { detectZeroes: false });
  };
  fill(0.1, 0.1, 203);
  fill(0.3, 0.2, 204);
  fill(0.75, 0.1, 202);
  runToEnd(image.zero(guestOffset(Math.floor(size / 2)), Math.ceil(size / 8), { unmap: true }));
  image.close();
}
