// Which sizes of caches go together: refused here exactly where QEMU refuses them (OPT-01…OPT-04).

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { KiB, MiB } from '../../../src/base/units.ts';
import { Image } from '../../../src/engine/image.ts';
import type { RuntimeOptions } from '../../../src/engine/image.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { qemuImg, runTool } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const sectorSize = 512;
const names = {
  cacheBytes: 'cache-size',
  l2CacheBytes: 'l2-cache-size',
  refcountCacheBytes: 'refcount-cache-size',
  l2CacheEntryBytes: 'l2-cache-entry-size',
} as const;

/** Each size left out, as long as half a total, as long as it, and longer; all above our shortest caches. */
function* wishes(): Generator<RuntimeOptions> {
  const parts = [undefined, 512 * KiB, 1 * MiB, 1 * MiB + 1];
  for (const cacheBytes of [undefined, 1 * MiB]) {
    for (const l2CacheBytes of parts) {
      for (const refcountCacheBytes of parts) yield { cacheBytes, l2CacheBytes, refcountCacheBytes };
    }
  }
  for (const l2CacheEntryBytes of [256, 512, 600, 8192, 65_536, 131_072]) yield { l2CacheEntryBytes };
}

/** All in one process: each wish that is taken is followed by a read of another length. */
function acceptedByQemu(path: string, all: readonly RuntimeOptions[]): readonly boolean[] {
  const commands = all.flatMap((wish, index) => {
    const given = Object.entries(names).flatMap(([option, name]) => {
      const value = wish[option as keyof typeof names];
      return value === undefined ? [] : [`,${name}=${value}`];
    });
    const open = `open -r -o driver=qcow2,file.driver=file,file.filename=${path}${given.join('')}`;
    return ['-c', open, '-c', `read 0 ${(index + 1) * sectorSize}`, '-c', 'close'];
  });
  const { stdout } = runTool('qemu-io', commands, '');
  return all.map((_, index) => new RegExp(`^read ${(index + 1) * sectorSize}/`, 'm').test(stdout));
}

test('sizes of caches are refused here exactly where QEMU refuses them', { timeout: 60_000 }, () => {
  using folder = tempFolder();
  const path = join(folder.path, 'one.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', path, '64G');
  const all = [...wishes()];
  const image = Image.open({ path, writable: false, backing: [], locks: 'none' });
  const here = all.map((wish) => faultCodeOf(() => image.setRuntime(wish)) === undefined);
  image.close();
  const qemu = acceptedByQemu(path, all);
  const told = (accepted: readonly boolean[]): readonly string[] =>
    all.map((wish, index) => `${JSON.stringify(wish)}: ${accepted[index] === true ? 'taken' : 'refused'}`);
  assert.deepEqual(told(here), told(qemu));
  assert.deepEqual([qemu.filter(Boolean).length, qemu.length], [24, 38]);
});
