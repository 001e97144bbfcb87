// Images over chains of real files: opened as listed, locked while they are open, and closed whatever goes wrong.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { BackingFile, FileLocks } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { at, commonChoice, place, setUint32, setUint64, soundImage } from '../../support/hostile-image.ts';
import { fillGuest, guestBytes, imageOver } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = smallSpec.clusterSize;

interface Chain {
  readonly path: string;
  readonly backing: readonly [BackingFile, BackingFile];
}

/** Top over middle over a raw file: the raw one holds 3s, the middle writes 2s over its second cluster, the top 1s. */
function chainIn(folder: string): Chain {
  const root = { fileName: 'root.raw', path: join(folder, 'c'), format: 'raw' } as const;
  const middle = { fileName: 'middle.qcow2', path: join(folder, 'b'), format: 'qcow2' } as const;
  const path = join(folder, 'a');
  writeFileSync(root.path, new Uint8Array(4 * cluster).fill(3));
  runToEnd(Image.create(middle.path, { ...smallSpec, backing: root }));
  runToEnd(Image.create(path, { ...smallSpec, backing: middle }));
  fillOver(middle.path, [root], { offset: cluster, value: 2 });
  fillOver(path, [middle, root], { offset: 0, value: 1 });
  return { path, backing: [middle, root] };
}

function fillOver(
  path: string,
  backing: readonly BackingFile[],
  fill: { readonly offset: number; readonly value: number },
): void {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing });
  fillGuest(image, fill.offset, cluster, fill.value);
  image.close();
}

function open(
  chain: Chain,
  change: { readonly writable?: boolean; readonly backing?: readonly BackingFile[] } = {},
): Image {
  return Image.open({ path: chain.path, writable: false, locks: 'qemu', backing: chain.backing, ...change });
}

/** The files of a folder that this process has open. */
function openFiles(folder: string): readonly string[] {
  return readdirSync('/proc/self/fd')
    .map((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`);
      } catch (error) {
        // The descriptor that the listing itself had.
        assert.match(String(error), /ENOENT/);
        return '';
      }
    })
    .filter((path) => path.startsWith(folder));
}

describe('an image over a chain', () => {
  it('is read through all its layers, and closes them', () => {
    using folder = tempFolder();
    const image = open(chainIn(folder.path));
    assert.equal(openFiles(folder.path).length, 3);
    const firsts = [0, 1, 2, 4].map((index) => guestBytes(image, index * cluster, 1)[0]);
    assert.deepEqual(firsts, [1, 2, 3, 0]);
    const query = { offset: 0, length: 5 * cluster, limit: 9, layer: 'all', hostOffsets: false } as const;
    assert.deepEqual(
      image.extents(query).items.map(({ kind, depth, length }) => [kind, depth, length / cluster]),
      [
        ['data', 0, 1],
        ['data', 1, 1],
        ['data', 2, 2],
        // OPS-08: the last layer that was looked at.
        ['hole', 1, 1],
      ],
    );
    image.close();
    assert.deepEqual(openFiles(folder.path), []);
  });

  it('changes nothing below when it is written', () => {
    using folder = tempFolder();
    const chain = chainIn(folder.path);
    const before = chain.backing.map(({ path }) => readFileSync(path));
    const image = open(chain, { writable: true });
    fillGuest(image, 100, 3 * cluster, 9);
    runToEnd(image.discard(guestOffset(0), cluster));
    image.close();
    chain.backing.forEach(({ path }, index) => {
      assert.equal(Buffer.compare(readFileSync(path), before[index] ?? Buffer.alloc(0)), 0);
    });
  });

  it('keeps writers from every file of it while it is open, and readers from none', () => {
    using folder = tempFolder();
    const chain = chainIn(folder.path);
    const [middle, root] = chain.backing;
    const image = open(chain);
    const openOther = (path: string, writable: boolean, locks: FileLocks): string | undefined =>
      faultCodeOf(() => {
        Image.open({ path, writable, locks, backing: path === middle.path ? [root] : chain.backing }).close();
      });
    assert.equal(openOther(middle.path, true, 'qemu'), 'image-in-use');
    assert.equal(openOther(chain.path, true, 'qemu'), 'image-in-use');
    assert.equal(openOther(middle.path, false, 'qemu'), undefined);
    assert.equal(openOther(middle.path, true, 'none'), undefined);
    image.close();
    assert.equal(openOther(middle.path, true, 'qemu'), undefined);
    assert.equal(openOther(chain.path, true, 'qemu'), undefined);
  });
});

describe('a chain that cannot be opened', () => {
  const ways: readonly (readonly [string, string, (chain: Chain) => readonly BackingFile[]])[] = [
    ['nothing is listed', 'backing-refused', () => []],
    ['a part is not listed', 'backing-refused', ({ backing: [middle] }) => [middle]],
    [
      'another file is listed',
      'backing-refused',
      ({ backing: [middle, root] }) => [{ ...middle, fileName: 'x' }, root],
    ],
    [
      'another format is listed',
      'backing-refused',
      ({ backing: [middle, root] }) => [middle, { ...root, format: 'qcow2' }],
    ],
    [
      'a file is missing',
      'backing-missing',
      ({ backing: [middle, root] }) => [middle, { ...root, path: `${root.path}x` }],
    ],
    ['a folder is listed', 'io-error', ({ backing: [middle, root] }) => [middle, { ...root, path: '/tmp' }]],
    [
      'a layer is no image',
      'magic-wrong',
      ({ path, backing: [middle, root] }) => {
        writeFileSync(`${path}-none`, new Uint8Array(4096));
        return [{ ...middle, path: `${path}-none` }, root];
      },
    ],
    [
      'a layer has an L1 table that its header cannot have',
      'l1-table-too-small',
      ({ path, backing: [middle, root] }) => {
        const bytes = readFileSync(middle.path);
        bytes.writeUInt32BE(0, 36);
        writeFileSync(`${path}-l1`, bytes);
        return [{ ...middle, path: `${path}-l1` }, root];
      },
    ],
  ];
  for (const [name, code, listed] of ways) {
    it(`leaves no file open, and none locked: ${name}`, () => {
      using folder = tempFolder();
      const chain = chainIn(folder.path);
      const backing = listed(chain);
      for (const writable of [false, true]) {
        assert.equal(
          faultCodeOf(() => open(chain, { backing, writable })),
          code,
        );
        assert.deepEqual(openFiles(folder.path), []);
      }
      open(chain, { writable: true }).close();
    });
  }
});

describe('an image whose tables are broken', () => {
  it('opens, so that it can be checked, and every other verb says what is wrong', () => {
    const draft = soundImage(commonChoice);
    // One block under two entries: the counts would be those of other clusters.
    setUint64(draft, at(draft, place.refcountTable, 8), BigInt(at(draft, place.refcountBlock, 0)));
    const image = imageOver(MemoryFile.of(draft.bytes), undefined);
    const verbs: readonly (() => unknown)[] = [
      () => guestBytes(image, 0, 1),
      () => {
        fillGuest(image, 0, 1, 1);
      },
      () => image.describe(),
      () => image.snapshots({ from: 0, limit: 1000 }),
    ];
    for (const verb of verbs) assert.equal(faultCodeOf(verb), 'refcount-entry-invalid');
    assert.ok(runToEnd(image.check()).corruptions > 0);
    assert.equal(runToEnd(image.repair('all')).clean, true);
    assert.equal(guestBytes(image, 0, 1)[0], 0x11, 'after the repair it is read');
    fillGuest(image, 0, 1, 1);
    image.close();
  });

  it('is not repaired, nor changed, by a reader', () => {
    const draft = soundImage(commonChoice);
    setUint32(draft, at(draft, place.refcountBlock, 0), 0);
    const file = MemoryFile.of(draft.bytes);
    const image = Image.openFile(file, { writable: false, backing: undefined });
    const changes: readonly (() => unknown)[] = [
      () => runToEnd(image.repair('all')),
      () => {
        fillGuest(image, 0, 1, 1);
      },
      () => runToEnd(image.discard(guestOffset(0), cluster)),
    ];
    for (const change of changes) assert.equal(faultCodeOf(change), 'image-read-only');
    image.flush();
    image.close();
  });
});
