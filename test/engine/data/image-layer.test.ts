// An image as a layer: the contract over every kind of cluster and over layers that are shorter, longer and odd.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ImageLayer } from '../../../src/engine/data/image-layer.ts';
import { write } from '../../../src/engine/data/writer.ts';
import { drain, zero } from '../../../src/engine/data/zeroing.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { layerContract } from '../../contracts/layer.ts';
import type { KnownLayer } from '../../contracts/layer.ts';
import { newFile, partsOver } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const cluster = 4096;
const size = cluster * 20;

function makeLayer(belowLength: number | undefined): KnownLayer {
  const chance = new Prng(belowLength ?? 1);
  const backing = belowLength === undefined ? undefined : { fileName: 'b', format: 'raw' as const };
  const below = chance.bytes(belowLength ?? 0);
  const layer = belowLength === undefined ? undefined : new RawLayer(MemoryFile.of(below));
  const parts = partsOver(newFile({ virtualSize: size, clusterSize: cluster, backing }), layer);
  const content = new Uint8Array(size);
  content.set(below.subarray(0, size));
  for (const [offset, length] of [
    [100, 9000],
    [cluster * 7, cluster * 2],
  ] as const) {
    const bytes = chance.bytes(length);
    write(parts, guestOffset(offset), bytes);
    content.set(bytes, offset);
  }
  drain(zero(parts, { offset: cluster * 8, length: cluster * 3 }, { unmap: false }));
  content.fill(0, cluster * 8, cluster * 11);
  return { layer: new ImageLayer(parts, { size, close: () => layer?.close() }), content };
}

layerContract('an image by itself', () => makeLayer(undefined));
layerContract('an image over a shorter layer', () => makeLayer(cluster * 9 + 512));
layerContract('an image over a layer that ends within a sector', () => makeLayer(cluster * 12 + 77));
layerContract('an image over a longer layer', () => makeLayer(size + cluster * 5));

describe('an image over a layer', () => {
  it('says how far down its bytes come from, and where nobody has any', () => {
    const { layer } = makeLayer(cluster * 15);
    const found = [0, cluster * 5, cluster * 8, cluster * 16].map((at) => {
      const { kind, depth } = layer.extentAt(guestOffset(at), size - at);
      return [kind, depth];
    });
    assert.deepEqual(found, [
      ['data', 0],
      ['data', 1],
      ['zero', 0],
      ['absent', 0],
    ]);
  });
});
