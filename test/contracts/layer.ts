// What every layer promises, as a suite over a way to make one with known content.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../src/base/assert.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { Prng } from '../support/prng.ts';

/** A layer, and the bytes that reading all of it gives. */
export interface KnownLayer {
  readonly layer: Layer;
  readonly content: Uint8Array;
}

/** Runs the suite; `make` gives a layer of at least two sectors, which the suite closes. */
export function layerContract(name: string, make: () => KnownLayer): void {
  const on = (use: (known: KnownLayer) => void) => () => {
    const known = make();
    try {
      use(known);
    } finally {
      known.layer.close();
    }
  };

  describe(`layer: ${name}`, () => {
    it(
      'is as long as its content',
      on(({ layer, content }) => {
        assert.equal(layer.size, content.length);
        assert.equal(layer.size % 512, 0);
        assert.ok(layer.size >= 1024);
      }),
    );

    it(
      'reads any span',
      on(({ layer, content }) => {
        assert.deepEqual(read(layer, 0, layer.size), content);
        const chance = new Prng(11);
        for (let round = 0; round < 200; round += 1) {
          const offset = chance.below(layer.size);
          const length = chance.below(Math.min(layer.size - offset, 100_000) + 1);
          assert.deepEqual(read(layer, offset, length), content.subarray(offset, offset + length));
        }
      }),
    );

    it(
      'refuses to read beyond its size',
      on(({ layer }) => {
        assert.throws(() => read(layer, layer.size - 1, 2), BrokenAssertion);
      }),
    );

    it(
      'tells extents that cover it without a gap, each at least one byte and none longer than asked for',
      on(({ layer, content }) => {
        const chance = new Prng(12);
        for (const lengthMax of [layer.size, 100_000, 700, undefined]) {
          let at = 0;
          while (at < layer.size) {
            const limit = Math.min(lengthMax ?? 1 + chance.below(10_000), layer.size - at);
            const extent = layer.extentAt(guestOffset(at), limit);
            assert.ok(Number.isSafeInteger(extent.length) && extent.length > 0 && extent.length <= limit);
            assert.ok(extent.depth >= 0);
            if (extent.kind !== 'data') assertZero(content.subarray(at, at + extent.length));
            at += extent.length;
          }
        }
      }),
    );

    it(
      'gives the same kind for every part of an extent, in any order',
      on(({ layer }) => {
        const chance = new Prng(13);
        for (let round = 0; round < 200; round += 1) {
          const offset = chance.below(layer.size);
          const extent = layer.extentAt(guestOffset(offset), layer.size - offset);
          const inside = offset + chance.below(extent.length);
          const part = layer.extentAt(guestOffset(inside), layer.size - inside);
          assert.equal(part.kind, extent.kind);
          assert.equal(part.depth, extent.depth);
        }
      }),
    );
  });
}

function read(layer: Layer, offset: number, length: number): Uint8Array {
  const target = new Uint8Array(length).fill(0xee);
  layer.read(guestOffset(offset), target);
  return target;
}

function assertZero(bytes: Uint8Array): void {
  assert.ok(bytes.every((byte) => byte === 0));
}
