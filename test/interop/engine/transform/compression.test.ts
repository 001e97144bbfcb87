// Clusters that qemu-img has compressed, unpacked by us.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';

import { geometryOf } from '../../../../src/engine/format/geometry.ts';
import { decodeHeader } from '../../../../src/engine/format/header.ts';
import { entryOffset } from '../../../../src/engine/format/l1-entry.ts';
import { decodeCompressed, isCompressed } from '../../../../src/engine/format/l2-entry.ts';
import { unpackCluster } from '../../../../src/engine/transform/compression.ts';
import { Prng } from '../../../support/prng.ts';
import { qemuImg } from '../../../support/qemu-img.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

for (const type of ['zlib', 'zstd'] as const) {
  for (const clusterSize of [512, 4_096, 65_536, 2_097_152]) {
    it(`unpacks every ${type} cluster of ${String(clusterSize)} bytes that qemu-img has packed (CMP-03, CMP-05)`, () => {
      using folder = tempFolder();
      const content = someContent(Math.max(40 * clusterSize, 400_000));
      const raw = join(folder.path, 'content.raw');
      const packed = join(folder.path, 'packed.qcow2');
      writeFileSync(raw, content);
      const options = `cluster_size=${String(clusterSize)},compression_type=${type}`;
      qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, raw, packed);
      assert.ok(unpackAll(readFileSync(packed), { content, type }) >= 10);
    });
  }
}

/** Compares every compressed cluster of an image with the content it was made from; returns their number. */
function unpackAll(image: Uint8Array, expected: { content: Uint8Array; type: 'zlib' | 'zstd' }): number {
  const header = decodeHeader(image);
  const geometry = geometryOf({
    clusterBits: header.clusterBits,
    extendedL2: false,
    refcountOrder: header.refcountOrder,
  });
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  let count = 0;
  for (let guest = 0; guest < expected.content.length; guest += geometry.clusterSize) {
    const index = guest / geometry.clusterSize;
    const l1At = header.l1TableOffset + Math.floor(index / geometry.l2Entries) * 8;
    const table = entryOffset(view.getUint32(l1At), view.getUint32(l1At + 4));
    if (table === 0) continue;
    const l2At = table + (index % geometry.l2Entries) * 8;
    const high = view.getUint32(l2At);
    if (!isCompressed(high)) continue;
    const blob = decodeCompressed(high, view.getUint32(l2At + 4), geometry);
    const target = new Uint8Array(geometry.clusterSize);
    unpackCluster(expected.type === 'zlib' ? 0 : 1, image.subarray(blob.offset, blob.offset + blob.length), target);
    const cluster = new Uint8Array(geometry.clusterSize);
    cluster.set(expected.content.subarray(guest, guest + geometry.clusterSize));
    assert.deepEqual(target, cluster);
    count += 1;
  }
  return count;
}

/** Stretches of repeated words, noise and zeroes, so that some clusters compress well, some barely, some not. */
function someContent(length: number): Uint8Array {
  const chance = new Prng(8);
  const content = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const stretch = 1 + chance.below(3_000);
    const word = chance.bytes(1 + chance.below(40));
    const piece = chance.chance(20) ? chance.bytes(stretch) : Buffer.alloc(stretch, word);
    content.set(piece.subarray(0, length - at), at);
    at += stretch;
  }
  return content;
}
