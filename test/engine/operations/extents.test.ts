// The map as listed: merged like qemu-img map (OPS-08, reference 2.4), in pages, and never a byte left out.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Layer, LayerExtent } from '../../../src/engine/layer/layer.ts';
import type { ExtentItem, ExtentQuery } from '../../../src/engine/operations/extent-item.ts';
import { listExtents } from '../../../src/engine/operations/extents.ts';
import { PatternLayer, randomStretches } from '../../support/pattern-layer.ts';
import { Prng } from '../../support/prng.ts';

/** A layer that is nothing but its extents. */
class ListedLayer implements Layer {
  readonly size: number;
  readonly #extents: readonly LayerExtent[];
  asked = 0;

  constructor(extents: readonly LayerExtent[]) {
    this.#extents = extents;
    this.size = extents.reduce((sum, { length }) => sum + length, 0);
  }

  read(): void {
    assert.fail('a map is listed without reading data');
  }

  extentAt(offset: number, lengthMax: number): LayerExtent {
    this.asked += 1;
    let start = 0;
    for (const extent of this.#extents) {
      const inside = offset - start;
      start += extent.length;
      if (inside >= extent.length) continue;
      const length = Math.min(extent.length - inside, lengthMax);
      if (extent.kind === 'absent') return { ...extent, length };
      return { ...extent, length, host: extent.host === undefined ? undefined : extent.host + inside };
    }
    return assert.fail('a layer is asked inside its size');
  }

  close(): void {
    // Nothing is held.
  }
}

const data = (length: number, host: number | undefined, change: { depth?: number; compressed?: boolean } = {}) =>
  ({ kind: 'data', length, depth: 0, compressed: false, host, ...change }) as const;
const zero = (length: number, host: number | undefined) =>
  ({ kind: 'zero', length, depth: 0, compressed: false, host }) as const;
const absent = (length: number, depth: number) => ({ kind: 'absent', length, depth }) as const;

function itemsOf(layer: Layer, change: Partial<ExtentQuery> = {}): readonly string[] {
  const query = { offset: 0, length: layer.size, limit: 100, layer: 'all', hostOffsets: false, ...change } as const;
  const page = listExtents(layer, query);
  assert.equal(page.nextOffset, undefined);
  return page.items.map(wordsOf);
}

function wordsOf(item: ExtentItem): string {
  const place = item.hostOffset === undefined ? '' : ` at ${String(item.hostOffset)}`;
  const packed = item.compressed ? ' compressed' : '';
  return `${String(item.offset)}+${String(item.length)} ${item.kind} ${String(item.depth)}${packed}${place}`;
}

describe('a listing', () => {
  it('joins what is alike and keeps apart what is not', () => {
    const layer = new ListedLayer([
      data(512, 4096),
      data(512, 8192),
      data(512, undefined, { compressed: true }),
      data(512, undefined, { compressed: true }),
      data(512, 4096, { depth: 1 }),
      zero(512, undefined),
      zero(512, 4096),
      absent(512, 0),
      absent(512, 1),
      absent(512, 1),
    ]);
    assert.deepEqual(itemsOf(layer), [
      '0+1024 data 0',
      '1024+1024 data 0 compressed',
      '2048+512 data 1',
      '2560+1024 zero 0',
      '3584+512 hole 0',
      '4096+1024 hole 1',
    ]);
  });

  it('with host offsets joins only what follows in the file too', () => {
    const layer = new ListedLayer([
      data(512, 4096),
      data(512, 4608),
      data(512, 9216),
      zero(512, 9728),
      zero(512, undefined),
      zero(512, undefined),
      data(512, undefined, { compressed: true }),
      data(512, undefined, { compressed: true }),
    ]);
    assert.deepEqual(itemsOf(layer, { hostOffsets: true }), [
      '0+1024 data 0 at 4096',
      '1024+512 data 0 at 9216',
      '1536+512 zero 0 at 9728',
      '2048+1024 zero 0',
      '3072+1024 data 0 compressed',
    ]);
  });

  it('of the top only shows a hole wherever something below answers', () => {
    const layer = new ListedLayer([data(512, 0), data(512, 0, { depth: 1 }), absent(512, 2), absent(512, 0)]);
    assert.deepEqual(itemsOf(layer, { layer: 'top', hostOffsets: true }), ['0+512 data 0 at 0', '512+1536 hole 0']);
  });

  it('starts and ends inside extents, and ends with the disk', () => {
    const layer = new ListedLayer([data(1000, 4096), zero(1000, undefined)]);
    const inside = { offset: 300, length: 1000, hostOffsets: true };
    assert.deepEqual(itemsOf(layer, inside), ['300+700 data 0 at 4396', '1000+300 zero 0']);
    assert.deepEqual(itemsOf(layer, { offset: 1500, length: 9999 }), ['1500+500 zero 0']);
    assert.deepEqual(itemsOf(layer, { offset: 5, length: 0 }), []);
    assert.deepEqual(itemsOf(layer, { offset: 2000, length: 10 }), []);
  });
});

describe('pages of a listing', () => {
  it('are, one behind the other, what one long page is, whatever their length', () => {
    const layer = new PatternLayer(randomStretches(new Prng(5), { size: 400 * 512, sectorsMax: 3 }));
    const whole = listExtents(layer, { offset: 0, length: layer.size, limit: 1000, layer: 'all', hostOffsets: false });
    for (const limit of [1, 2, 7, whole.items.length, whole.items.length - 1]) {
      const found: ExtentItem[] = [];
      let offset: number | undefined = 0;
      while (offset !== undefined) {
        const query = { offset, length: layer.size - offset, limit, layer: 'all', hostOffsets: false } as const;
        const page = listExtents(layer, query);
        assert.ok(page.items.length > 0 && page.items.length <= limit);
        found.push(...page.items);
        offset = page.nextOffset;
      }
      assert.deepEqual(found, whole.items, `pages of ${String(limit)}`);
    }
  });

  it('end after so much work, also where everything is alike, and go on from there', () => {
    const count = 100_500;
    // Answers one sector at a time: a map that is fragmented in the file, and one stretch for the guest.
    const layer: Layer = {
      size: count * 512,
      read: () => assert.fail('a map is listed without reading data'),
      extentAt: () => data(512, undefined),
      close: () => undefined,
    };
    const query = { offset: 0, length: layer.size, limit: 10, layer: 'all', hostOffsets: false } as const;
    const first = listExtents(layer, query);
    const next = first.nextOffset ?? assert.fail('the page ends before the disk does');
    assert.deepEqual(first.items.map(wordsOf), [`0+${String(next)} data 0`]);
    const rest = listExtents(layer, { ...query, offset: next, length: layer.size - next });
    assert.deepEqual(rest.items.map(wordsOf), [`${String(next)}+${String(layer.size - next)} data 0`]);
    assert.equal(rest.nextOffset, undefined);
  });
});
