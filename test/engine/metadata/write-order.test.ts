import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import type { CreateSpec } from '../../../src/engine/operations/create-spec.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = 65_536;
const plain: CreateSpec = { ...plainSpec, virtualSize: 4 * 1024 ** 3, clusterSize: cluster };

function openNew(spec: CreateSpec): { readonly image: Image; readonly file: CountingFile } {
  const memory = MemoryFile.empty();
  runToEnd(createImage(memory, spec));
  const file = new CountingFile(memory);
  return { image: Image.openFile(file, { writable: true, backing: undefined }), file };
}

function write(image: Image, offset: number, length: number): void {
  image.write(guestOffset(offset), new Uint8Array(length).fill(7), { detectZeroes: false });
}

/** How many real flushes it takes to do something and make it durable. */
function flushesOf(file: CountingFile, image: Image, work: () => void): number {
  const before = file.flushCount;
  work();
  image.flush();
  return file.flushCount - before;
}

describe('a durable change', () => {
  test('costs one flush when it overwrites', () => {
    const { image, file } = openNew(plain);
    write(image, 0, cluster);
    image.flush();
    const cost = flushesOf(file, image, () => {
      write(image, 4096, 512);
    });
    assert.equal(cost, 1);
  });

  test('costs two flushes when it allocates a cluster (OPS-13)', () => {
    const { image, file } = openNew(plain);
    write(image, 0, cluster);
    image.flush();
    const cost = flushesOf(file, image, () => {
      write(image, cluster * 3, 512);
    });
    assert.equal(cost, 2);
  });

  test('costs two flushes also when it needs a new L2 table (ORD-05)', () => {
    const { image, file } = openNew(plain);
    write(image, 0, cluster);
    image.flush();
    const cost = flushesOf(file, image, () => {
      write(image, 1024 ** 3, 512);
    });
    assert.equal(cost, 2);
  });

  test('costs three flushes when it needs a new refcount block (ORD-07, T55)', () => {
    const { image, file } = openNew({ ...plain, virtualSize: 1024 ** 2, clusterSize: 512 });
    // 256 clusters of 512 bytes are counted by one block: write up to the last of them, with their L2 tables.
    let next = 0;
    let cost = 0;
    while (cost < 3) {
      assert.ok(next < 300, 'a new refcount block comes before 300 clusters are written');
      const l2IsThere = next % 64 !== 0;
      cost = flushesOf(file, image, () => {
        write(image, next * 512, 512);
      });
      if (!l2IsThere) cost = 0;
      next += 1;
    }
    assert.equal(cost, 3);
  });

  test('costs no flush when nothing changed', () => {
    const { image, file } = openNew(plain);
    write(image, 0, cluster);
    image.flush();
    assert.equal(
      flushesOf(file, image, () => undefined),
      0,
    );
  });

  test('costs one flush more with lazy refcounts only for the first change (ORD-13, T61)', () => {
    const { image, file } = openNew({ ...plain, lazyRefcounts: true });
    write(image, 0, 512);
    image.flush();
    const cost = flushesOf(file, image, () => {
      write(image, cluster * 5, 512);
    });
    assert.equal(cost, 2);
  });
});

describe('references that were dropped', () => {
  test('keep their cluster until a flush made the drop durable (ORD-04, T48, T58)', () => {
    const { image, file } = openNew(plain);
    write(image, 0, cluster);
    image.flush();
    runToEnd(image.discard(guestOffset(0), cluster));
    const sizeBefore = file.size;
    write(image, cluster, cluster);
    assert.ok(file.size > sizeBefore, 'the new cluster is not the dropped one');
    image.flush();
    const sizeAfter = file.size;
    write(image, cluster * 2, cluster);
    assert.equal(file.size, sizeAfter, 'after the flush the dropped cluster is used again');
  });
});

describe('closing', () => {
  test('writes everything and takes the dirty bit away (OPS-03)', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    runToEnd(Image.create(path, { ...plain, lazyRefcounts: true }));
    const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
    write(image, 12_345, 99);
    assert.equal(image.describe().dirty, true, 'lazy refcounts are behind while the image is open');
    image.close();
    const again = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
    const bytes = new Uint8Array(100);
    again.read(guestOffset(12_345), bytes);
    assert.equal(again.describe().dirty, false);
    assert.deepEqual(bytes, new Uint8Array(100).fill(7, 0, 99));
    again.close();
  });
});
