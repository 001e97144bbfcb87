// What changes an overlay as a whole, judged by qemu-img: the same bytes, the same map, and a sound file.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Image } from '../../src/engine/image.ts';
import type { BackingFile } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { compareImages, mapJson, qemuImg, qemuIo } from '../support/qemu-img.ts';
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

function openOurs(path: string, backing: readonly BackingFile[]): Image {
  return Image.open({ path, writable: true, locks: 'qemu', backing });
}

describe('an image that was emptied', () => {
  const rows = [
    { options: 'compat=1.1', snapshot: false, length: 262_144 },
    { options: 'compat=0.10', snapshot: false, length: 262_144 },
    { options: 'cluster_size=512,refcount_bits=64', snapshot: false, length: undefined },
    { options: 'extended_l2=on,cluster_size=16k,lazy_refcounts=on', snapshot: true, length: undefined },
  ] as const;
  for (const { options, snapshot, length } of rows) {
    test(`is sound and shows its base: ${options}`, () => {
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
