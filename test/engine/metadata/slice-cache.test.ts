// The cache of metadata slices: what it keeps, what it writes, in which order and pieces.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { CacheCleaning } from '../../../src/engine/metadata/cache-cleaning.ts';
import { SliceCache, sliceLengthOf, sliceOffset } from '../../../src/engine/metadata/slice-cache.ts';
import { CountingFile } from '../../support/counting-file.ts';

const sliceLength = 512;

function cacheOver(
  length: number,
  beforeWrite: () => void = () => undefined,
): { readonly cache: SliceCache; readonly file: CountingFile } {
  const bytes = Uint8Array.from({ length }, (_, index) => Math.floor(index / sliceLength));
  const file = new CountingFile(MemoryFile.of(bytes));
  return { cache: new SliceCache({ file, sliceLength, slicesMax: 16, beforeWrite }), file };
}

function change(cache: SliceCache, index: number, value: number): void {
  const slice = cache.get(hostOffset(index * sliceLength));
  slice.bytes.fill(value);
  cache.markDirty(slice);
}

function stored(file: CountingFile, index: number): number {
  const byte = new Uint8Array(1);
  file.readAt(hostOffset(index * sliceLength), byte);
  return byte[0] ?? -1;
}

describe('a slice cache', () => {
  it('reads a slice once and gives the same one again', () => {
    const { cache } = cacheOver(16_384);
    const slice = cache.get(hostOffset(1024));
    assert.equal(slice.bytes[0], 2);
    cache.get(hostOffset(0));
    assert.equal(cache.get(hostOffset(1024)), slice);
  });

  it('writes changed slices in order of their offsets, neighbours in one piece', () => {
    const { cache, file } = cacheOver(16_384);
    for (const index of [9, 2, 4, 3, 20]) change(cache, index, 200 + index);
    assert.deepEqual(file.log, []);
    cache.writeBack();
    assert.deepEqual(file.log, [
      { offset: 1024, length: 1536 },
      { offset: 4608, length: 512 },
      { offset: 10_240, length: 512 },
    ]);
    assert.deepEqual(
      [1, 2, 3, 4, 5, 9, 20].map((index) => stored(file, index)),
      [1, 202, 203, 204, 5, 209, 220],
    );
  });

  it('writes nothing twice, and asks nobody when nothing was changed', () => {
    let asked = 0;
    const { cache, file } = cacheOver(16_384, () => {
      asked += 1;
    });
    cache.get(hostOffset(0));
    cache.writeBack();
    assert.equal(asked, 0);
    change(cache, 1, 77);
    cache.writeBack();
    cache.writeBack();
    assert.equal(asked, 1);
    assert.equal(file.log.length, 1);
  });

  it('asks what the slices wait for before it writes the first of them (ORD-01, T54)', () => {
    const { cache, file } = cacheOver(16_384, () => {
      file.flush();
    });
    change(cache, 1, 77);
    cache.writeBack();
    assert.deepEqual(file.log, [undefined, { offset: 512, length: 512 }]);
  });

  it('keeps what could not be written for the next time (T56)', () => {
    let fails = true;
    const { cache, file } = cacheOver(16_384, () => {
      if (fails) throw new Fault('insufficient-storage', {});
    });
    change(cache, 1, 77);
    assert.throws(() => {
      cache.writeBack();
    }, Fault);
    fails = false;
    cache.writeBack();
    assert.equal(stored(file, 1), 77);
  });

  it('gives slices up by the clock: one that was asked for again stays for another round', () => {
    const { cache, file } = cacheOver(32_768);
    for (let index = 0; index < 16; index += 1) change(cache, index, 100 + index);
    // The first round clears every mark, so the hand's first, slice 0, goes; slice 1 is asked for again and stays.
    cache.get(hostOffset(16 * sliceLength));
    const kept = cache.get(hostOffset(sliceLength));
    cache.get(hostOffset(17 * sliceLength));
    assert.equal(cache.get(hostOffset(sliceLength)), kept);
    assert.equal(stored(file, 0), 100, 'it was written before it left');
    assert.equal(cache.get(hostOffset(0)).bytes[0], 100);
  });

  it('never gives up the slice that was asked for last', () => {
    const { cache } = cacheOver(65_536);
    for (let index = 0; index < 100; index += 1) {
      const slice = cache.get(hostOffset(index * sliceLength));
      cache.markDirty(slice);
      const next = cache.get(hostOffset(((index + 1) % 128) * sliceLength));
      cache.markDirty(next);
    }
    cache.writeBack();
  });

  it('forgets the slices of a span without writing them (T47)', () => {
    const { cache, file } = cacheOver(16_384);
    for (const index of [3, 4, 5]) change(cache, index, 99);
    const gone = cache.get(hostOffset(4 * sliceLength));
    cache.forget(hostOffset(4 * sliceLength), sliceLength);
    cache.writeBack();
    assert.deepEqual(
      [3, 4, 5].map((index) => stored(file, index)),
      [99, 4, 99],
    );
    assert.equal(cache.get(hostOffset(4 * sliceLength)).bytes[0], 4);
    assert.throws(() => {
      cache.markDirty(gone);
    }, BrokenAssertion);
  });

  it('does not join more than a megabyte', () => {
    const file = new CountingFile(MemoryFile.empty());
    const parts = { file, sliceLength: 65_536, slicesMax: 32, beforeWrite: () => undefined };
    const cache = new SliceCache(parts);
    for (let index = 0; index < 20; index += 1) cache.markDirty(cache.get(hostOffset(index * 65_536)));
    cache.writeBack();
    assert.deepEqual(
      file.log.map((write) => write?.length),
      [16 * 65_536, 4 * 65_536],
    );
  });
});

describe('the place of a slice', () => {
  it('starts at a multiple of the slice length from the start of its table', () => {
    assert.equal(sliceOffset(hostOffset(65_536), 0, 4096), 65_536);
    assert.equal(sliceOffset(hostOffset(65_536), 4095, 4096), 65_536);
    assert.equal(sliceOffset(hostOffset(65_536), 4096, 4096), 69_632);
  });

  it('is at most 4 KiB long, and never longer than a cluster (OPT-02)', () => {
    assert.equal(sliceLengthOf(512), 512);
    assert.equal(sliceLengthOf(4096), 4096);
    assert.equal(sliceLengthOf(2 * 1024 * 1024), 4096);
  });
});

describe('a cache that is tidied', () => {
  it('drops what is clean and was not asked for in an interval, and nothing else (OPT-05)', () => {
    const bytes = new Uint8Array(16 * sliceLength);
    const file = new CountingFile(MemoryFile.of(bytes));
    const cleaning = new CacheCleaning();
    cleaning.choose(1);
    const cache = new SliceCache({ file, sliceLength, slicesMax: 16, cleaning, beforeWrite: () => undefined });
    const touch = (index: number): void => void cache.get(hostOffset(index * sliceLength));
    const count = (): number => cache.figures.length / sliceLength;
    for (let index = 0; index < 8; index += 1) touch(index);
    change(cache, 0, 7);
    cache.tidy(0);
    cache.tidy(999);
    assert.equal(count(), 8, 'the interval is not over');
    cache.tidy(1000);
    assert.equal(count(), 8, 'all were asked for in the first one');
    touch(3);
    touch(3);
    touch(4);
    touch(5);
    cache.tidy(1999);
    cache.tidy(2000);
    assert.equal(count(), 4, 'three that were asked for, and what was changed');
    const { misses } = cache.figures;
    for (const index of [3, 4, 5, 0]) touch(index);
    assert.equal(cache.figures.misses, misses);
    cache.writeBack();
    cache.tidy(3000);
    cache.tidy(4000);
    assert.equal(count(), 1, 'the one that was asked for last stays');
    assert.equal(stored(file, 0), 7);
  });

  it('keeps all while there is room when nothing else was said', () => {
    const { cache } = cacheOver(4 * sliceLength);
    for (let index = 0; index < 4; index += 1) cache.get(hostOffset(index * sliceLength));
    for (const nowMs of [0, 1e9, 2e9]) cache.tidy(nowMs);
    assert.equal(cache.figures.length, 4 * sliceLength);
  });
});
