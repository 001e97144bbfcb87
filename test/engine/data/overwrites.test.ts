import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { plainSpec } from '../../support/plain-spec.ts';

const cluster = 65_536;

function openNew(): { readonly image: Image; readonly file: CountingFile } {
  const memory = MemoryFile.empty();
  runToEnd(createImage(memory, { ...plainSpec, virtualSize: 16 * cluster, clusterSize: cluster }));
  const file = new CountingFile(memory);
  return { image: Image.openFile(file, { writable: true, backing: undefined }), file };
}

function write(image: Image, offset: number, length: number): void {
  image.write(guestOffset(offset), new Uint8Array(length).fill(9), { detectZeroes: false });
}

describe('a write is an overwrite', () => {
  test('where the bytes are data that is owned, and then it writes those bytes only', () => {
    const { image, file } = openNew();
    write(image, 0, 2 * cluster);
    image.flush();
    assert.ok(image.overwrites(guestOffset(100), cluster));
    const before = file.log.length;
    write(image, 100, cluster);
    image.flush();
    const written = file.log.slice(before).map((entry) => entry?.length);
    assert.deepEqual(written, [cluster, undefined]);
  });

  test('not where a cluster is missing, zero or shared with a snapshot', () => {
    const { image } = openNew();
    write(image, 0, 2 * cluster);
    assert.equal(image.overwrites(guestOffset(cluster), 2 * cluster), false);
    runToEnd(image.zero(guestOffset(0), cluster, { unmap: false }));
    assert.equal(image.overwrites(guestOffset(0), 512), false);
    assert.ok(image.overwrites(guestOffset(cluster), cluster));
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 0 }));
    assert.equal(image.overwrites(guestOffset(cluster), cluster), false);
  });
});
