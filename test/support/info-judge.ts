// What an image tells of itself, held against `qemu-img info`, member by member.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';

import { printInfo } from '../../routes/schemas/upkeep.ts';
import type { Image } from '../../src/engine/image.ts';
import { infoJson } from './qemu-img.ts';

/** BMP-11, OPS-32, OPS-33: of the members that `qemu-img` has, ours are the same, and there are no others but those that the contract adds. */
export function assertTellsLike(image: Image, path: string, beside: { readonly dataFile: string | undefined }): void {
  const { snapshotCount, caches, limits, ...ours } = printInfo({
    fileName: basename(path),
    description: image.describe(),
    inspection: image.inspect(),
    snapshots: image.snapshots({ from: 0, limit: 1000 }),
  });
  const folder = `${dirname(path)}/`;
  const theirs = infoJson(path);
  // DAT-08: QEMU does not look at the data file, whose space is counted here.
  const dataBytes = beside.dataFile === undefined ? 0 : statSync(beside.dataFile).blocks * 512;
  const told = { ...theirs, 'actual-size': Number(theirs['actual-size']) + dataBytes };
  assert.deepEqual(wired(ours, folder), wired(told, folder));
  assert.equal(snapshotCount, ours.snapshots?.length ?? 0);
  assert.equal(limits.discardAlignment, ours.clusterSize);
  assert.ok(limits.virtualSizeMax >= ours.virtualSize);
  assert.ok(caches.l2.bytes <= caches.l2.bytesMax);
}

/** As the wire has it: camelCase, files by their names in the image's folder, counts of instructions as text. */
function wired(value: unknown, folder: string): unknown {
  if (Array.isArray(value)) return value.map((item) => wired(item, folder));
  if (typeof value === 'string') return value.startsWith(folder) ? value.slice(folder.length) : value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name.replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
      name === 'icount' ? String(member) : wired(member, folder),
    ]),
  );
}
