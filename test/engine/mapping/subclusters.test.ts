// Which subclusters a write touches: every bitmap of a small window, every span, against a plain list.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { geometryOf } from '../../../src/engine/format/geometry.ts';
import { bitsBetween, planSubclusters } from '../../../src/engine/mapping/subclusters.ts';

const geometry = geometryOf({ clusterBits: 14, extendedL2: true, refcountOrder: 4 });
const part = geometry.subclusterSize;

describe('a row of bits', () => {
  it('is set from the first to the last, and nowhere else', () => {
    for (let first = 0; first < 32; first += 1) {
      for (let last = first; last < 32; last += 1) {
        const bits = bitsBetween(first, last);
        for (let bit = 0; bit < 32; bit += 1) {
          assert.equal((bits >>> bit) & 1, bit >= first && bit <= last ? 1 : 0);
        }
      }
    }
    assert.throws(() => bitsBetween(3, 2), BrokenAssertion);
    assert.throws(() => bitsBetween(0, 32), BrokenAssertion);
  });
});

describe('the plan of a write', () => {
  /** The states of six subclusters from `base` on: 0 nothing, 1 data, 2 zero. */
  function* states(): Generator<readonly number[], void, undefined> {
    for (let code = 0; code < 3 ** 6; code += 1) {
      yield Array.from({ length: 6 }, (_, index) => Math.floor(code / 3 ** index) % 3);
    }
  }

  for (const base of [0, 13, 26]) {
    for (const owned of [true, false]) {
      it(`is right for every state (SUB-06, SUB-07, T26, T30) of subclusters ${String(base)} to ${String(base + 5)}${owned ? ' in place' : ''}`, () => {
        for (const state of states()) {
          const bitsOf = (wanted: number): number =>
            state.reduce((word, value, index) => (value === wanted ? (word | (1 << (base + index))) >>> 0 : word), 0);
          const entry = { high: 0x8000_0000, low: 0x4000, zeroes: bitsOf(2), allocated: bitsOf(1) };
          for (const [offset, length] of [
            [part * base, part],
            [part * (base + 2) + 3, 5],
            [part * (base + 1) + 7, part],
            [part * (base + 5), part - 1],
            [part * base + 1, part * 6 - 2],
          ] as const) {
            const plan = planSubclusters(entry, geometry, { offset, length, owned });
            const first = Math.floor(offset / part);
            const last = Math.floor((offset + length - 1) / part);
            const isData = (index: number): boolean => ((entry.allocated >>> index) & 1) === 1;
            const data = Array.from({ length: 32 }, (_, index) => index).filter(isData);
            const touched = owned ? [first, last] : [Math.min(first, ...data), Math.max(last, ...data)];
            const [from = 0, to = 0] = touched;
            // Everything that reads as data afterwards is in the place: it was, or it is written.
            const start = owned && isData(first) ? offset : from * part;
            const end = owned && isData(last) ? offset + length : (to + 1) * part;
            assert.deepEqual(plan.copied, { offset: start, length: end - start });
            for (let index = 0; index < 32; index += 1) {
              const isWritten = index >= from && index <= to;
              assert.equal((plan.bits.allocated >>> index) & 1, isWritten || isData(index) ? 1 : 0);
              assert.equal((plan.bits.zeroes >>> index) & 1, isWritten ? 0 : (entry.zeroes >>> index) & 1);
            }
          }
        }
      });
    }
  }

  it('covers the whole cluster when it was compressed (SUB-05)', () => {
    const entry = { high: 0x4000_0000, low: 0x4000, zeroes: 0, allocated: 0 };
    const plan = planSubclusters(entry, geometry, { offset: 600, length: 10, owned: false });
    assert.deepEqual(plan, {
      copied: { offset: 0, length: geometry.clusterSize },
      bits: { zeroes: 0, allocated: 0xffff_ffff },
    });
  });
});
