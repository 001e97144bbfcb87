// Zeroes and discards in every kind of image, over a layer below and without one, against plain bytes.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image } from '../../../src/engine/image.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { clean, countsOf, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const clusterSize = 16_384;
const size = clusterSize * 6 + 1024;
const backingSpec = { fileName: 'base', format: 'raw' as const };
const below = new Prng(9).bytes(clusterSize * 4 + 512);

interface Kind {
  readonly name: string;
  readonly change: Partial<CreateSpec>;
  readonly hasBacking: boolean;
}

const kinds: readonly Kind[] = (['0.10', '1.1'] as const).flatMap((compat) =>
  [false, true].flatMap((hasBacking) =>
    (compat === '1.1' ? [false, true] : [false]).map((extendedL2) => ({
      name: `${compat}${extendedL2 ? ', extended entries' : ''}${hasBacking ? ', over a layer' : ''}`,
      change: { compat, extendedL2 },
      hasBacking,
    })),
  ),
);

function open(kind: Kind): { readonly image: Image; readonly file: MemoryFile; readonly model: Uint8Array } {
  const backing = kind.hasBacking ? backingSpec : undefined;
  const file = newFile({ virtualSize: size, clusterSize, ...kind.change, backing });
  const model = new Uint8Array(size);
  if (kind.hasBacking) model.set(below);
  const layer = kind.hasBacking ? new RawLayer(MemoryFile.of(below)) : undefined;
  return { image: imageOver(file, layer), file, model };
}

function kindsAt(image: Image): readonly string[] {
  const query = { offset: 0, length: size, limit: 100, layer: 'top', hostOffsets: true } as const;
  return image
    .extents(query)
    .items.map((item) => `${item.kind} ${String(item.length)}${item.hostOffset === undefined ? '' : ' placed'}`);
}

describe('zeroes and discards', () => {
  for (const kind of kinds) {
    it(`do to the disk what they say, and keep the file sound (MAP-07, OPS-14, T05, T07, T08, T09): ${kind.name}`, () => {
      const chance = new Prng(kind.name.length);
      for (let life = 0; life < 12; life += 1) {
        const { image, file, model } = open(kind);
        for (let act = 0; act < 14; act += 1) {
          const offset = chance.below(size / 512) * 512;
          const length = Math.min(size - offset, 512 * (1 + chance.below(80)));
          const value = 1 + chance.below(250);
          switch (chance.below(5)) {
            case 0:
              fillGuest(image, offset, length, value);
              model.fill(value, offset, offset + length);
              break;
            case 1: {
              runToEnd(image.discard(guestOffset(offset), length));
              const end = offset + length === size ? size : Math.floor((offset + length) / clusterSize) * clusterSize;
              const start = Math.ceil(offset / clusterSize) * clusterSize;
              const changes = kind.change.compat === '1.1' || !kind.hasBacking;
              if (changes && start < end) model.fill(0, start, end);
              break;
            }
            case 2:
              runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
              break;
            default:
              runToEnd(image.zero(guestOffset(offset), length, { unmap: chance.chance(50) }));
              model.fill(0, offset, offset + length);
          }
          assert.deepEqual(guestBytes(image, 0, size), model, `life ${String(life)}, act ${String(act)}`);
        }
        image.close();
        assert.deepEqual(countsOf(file), clean);
      }
    });
  }

  it('keep the place of a cluster, or give it up, as they were asked (OPS-15, T10)', () => {
    const standard = open({ name: '', change: {}, hasBacking: false }).image;
    fillGuest(standard, 0, size, 7);
    runToEnd(standard.zero(guestOffset(0), clusterSize, { unmap: false }));
    runToEnd(standard.zero(guestOffset(clusterSize), clusterSize, { unmap: true }));
    runToEnd(standard.discard(guestOffset(clusterSize * 2), clusterSize));
    assert.deepEqual(kindsAt(standard), [
      `zero ${String(clusterSize)} placed`,
      `zero ${String(clusterSize * 2)}`,
      `data ${String(size - clusterSize * 3)} placed`,
    ]);
  });

  it('mark what shows nothing: zeroing always, discarding only where a layer below could show (OPS-15, OPS-16, T11)', () => {
    const alone = open({ name: '', change: {}, hasBacking: false }).image;
    runToEnd(alone.discard(guestOffset(0), size));
    assert.deepEqual(kindsAt(alone), [`hole ${String(size)}`]);
    runToEnd(alone.zero(guestOffset(0), clusterSize, { unmap: true }));
    assert.deepEqual(kindsAt(alone), [`zero ${String(clusterSize)}`, `hole ${String(size - clusterSize)}`]);
    const overlay = open({ name: '', change: {}, hasBacking: true }).image;
    runToEnd(overlay.discard(guestOffset(clusterSize), size - clusterSize));
    assert.deepEqual(kindsAt(overlay), [`hole ${String(clusterSize)}`, `zero ${String(size - clusterSize)}`]);
  });

  it('of a part mark the whole where the rest is zero already, and write zeroes where it is not (OPS-14, T07)', () => {
    const { image } = open({ name: '', change: {}, hasBacking: true });
    // The layer ends 512 bytes into this cluster.
    runToEnd(image.zero(guestOffset(clusterSize * 4), 512, { unmap: true }));
    assert.equal(kindsAt(image)[1], `zero ${String(clusterSize)}`);
    runToEnd(image.zero(guestOffset(512), 512, { unmap: true }));
    assert.equal(kindsAt(image)[0], `data ${String(clusterSize)} placed`);
  });
});

describe('a write that looks for zeroes', () => {
  it('leaves whole clusters of them out, and stores the others', () => {
    for (const hasBacking of [false, true]) {
      const { image, model } = open({ name: '', change: {}, hasBacking });
      const bytes = new Uint8Array(clusterSize * 4 + 700);
      bytes[clusterSize + 5] = 1;
      bytes[clusterSize * 4 + 600] = 2;
      image.write(guestOffset(512), bytes, { detectZeroes: true });
      model.set(bytes, 512);
      assert.deepEqual(guestBytes(image, 0, size), model);
      const stored = kindsAt(image).filter((item) => item.startsWith('data'));
      assert.deepEqual(
        stored,
        // The first part of a cluster that the layer below fills cannot be left out.
        hasBacking
          ? [`data ${String(clusterSize * 2)} placed`, `data ${String(clusterSize)} placed`]
          : [`data ${String(clusterSize)} placed`, `data ${String(clusterSize)} placed`],
      );
    }
  });

  it('sees every byte of a source that does not lie on a word', () => {
    for (let start = 0; start < 4; start += 1) {
      for (const length of [512, 513, 1023]) {
        for (const at of [0, 1, 5, length - 1]) {
          const { image } = open({ name: '', change: {}, hasBacking: false });
          const source = new Uint8Array(start + length).subarray(start);
          source[at] = 1;
          image.write(guestOffset(0), source, { detectZeroes: true });
          assert.equal(guestBytes(image, at, 1)[0], 1);
        }
      }
    }
  });
});
