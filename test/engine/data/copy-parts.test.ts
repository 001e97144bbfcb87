// Which parts of a stretch are left to the file system: whole clusters or subclusters, whose bytes lie on a block of a file.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { KiB } from '../../../src/base/units.ts';
import { copyParts } from '../../../src/engine/data/copy-parts.ts';
import { FileSpan } from '../../../src/engine/file/file-span.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec } from '../../../src/engine/image.ts';
import { CountingFile } from '../../support/counting-file.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { fileBytes, newFile, partsOver } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const source = MemoryFile.of(new Prng(1).bytes(64 * KiB));

/** A stretch of the layer, in KiB, that lies in a file. */
interface Stretch {
  readonly at: number;
  readonly length: number;
  readonly host: number;
}

/** What of `span`, in KiB, is copied and what is read, into an image of 1 MiB and a sector more. */
function partsOf(
  stretches: readonly Stretch[],
  span: readonly [number, number],
  target: Partial<CreateSpec> & { readonly copyBlock?: number },
): readonly string[] {
  const { copyBlock, ...spec } = target;
  const content = newFile({ virtualSize: 1024.5 * KiB, clusterSize: 16 * KiB, ...spec });
  const file = new FaultyFile(content, { observer: undefined, ignoresFlush: () => false, copyBlock });
  const [from, end] = span;
  const found = copyParts(partsOver(file, undefined), { offset: from * KiB, length: (end - from) * KiB }, (at, max) => {
    const stretch = stretches.find((one) => at >= one.at * KiB && at < (one.at + one.length) * KiB);
    if (stretch === undefined) return undefined;
    const skipped = at - stretch.at * KiB;
    const length = Math.min(stretch.length * KiB - skipped, max);
    return new FileSpan(source, { offset: stretch.host * KiB + skipped, length });
  });
  return [...found].map(({ at, length, source: taken }) => {
    assert.ok(taken === undefined || taken.length === length);
    const how = taken === undefined ? 'read' : `host ${String(taken.offset / KiB)}`;
    return `${how}: ${String(at / KiB)} +${String(length / KiB)}`;
  });
}

describe('of a stretch, the file system copies', () => {
  const whole = [{ at: 0, length: 2000, host: 4 }];

  test('nothing where the file takes nothing, or its clusters are smaller than a block', () => {
    assert.deepEqual(partsOf(whole, [0, 100], {}), ['read: 0 +100']);
    assert.deepEqual(partsOf(whole, [0, 100], { clusterSize: 2 * KiB, copyBlock: 4 * KiB }), ['read: 0 +100']);
  });

  test('whole clusters, and a cut one at the end of the disk only', () => {
    const target = { copyBlock: 4 * KiB };
    assert.deepEqual(partsOf(whole, [0, 64], target), ['host 4: 0 +64']);
    assert.deepEqual(partsOf(whole, [8, 60], target), ['read: 8 +8', 'host 20: 16 +32', 'read: 48 +12']);
    assert.deepEqual(partsOf(whole, [16, 20], target), ['read: 16 +4']);
    assert.deepEqual(partsOf(whole, [1008, 1024.5], target), ['host 1012: 1008 +16.5']);
  });

  test('subclusters, but no less than a block', () => {
    const target = { copyBlock: 4 * KiB, extendedL2: true, clusterSize: 64 * KiB };
    assert.deepEqual(partsOf(whole, [8, 62], target), ['host 12: 8 +52', 'read: 60 +2']);
  });

  test('what lies on a block in its own file', () => {
    const stretches = [
      { at: 0, length: 16, host: 8 },
      { at: 16, length: 16, host: 1 },
      { at: 32, length: 20, host: 40 },
      { at: 52, length: 44, host: 100 },
    ];
    assert.deepEqual(partsOf(stretches, [0, 128], { copyBlock: 4 * KiB }), [
      'host 8: 0 +16',
      'read: 16 +16',
      'host 40: 32 +16',
      'read: 48 +16',
      'host 112: 64 +32',
      'read: 96 +32',
    ]);
  });
});

describe('bytes that lie in a file', () => {
  const bytes = fileBytes(source);

  test('are written as they are, with zeroes beyond the end, whatever the target does itself', () => {
    const span = new FileSpan(source, { offset: 60 * KiB, length: 5000 });
    const expected = new Uint8Array(5900);
    expected.set(bytes.subarray(60 * KiB + 100, 64 * KiB), 1000);
    const copying = { observer: undefined, ignoresFlush: () => false, copyBlock: 512 };
    for (const target of [new CountingFile(MemoryFile.empty()), new FaultyFile(MemoryFile.empty(), copying)]) {
      // What was there before is gone also where the source has ended.
      target.writeAt(hostOffset(1000), new Uint8Array(4900).fill(9));
      span.subarray(100).copyTo(target, hostOffset(1000));
      assert.deepEqual(fileBytes(target), expected);
      if (target instanceof FaultyFile) assert.equal(target.copiedLength, 4 * KiB - 100);
    }
  });

  test('are read as a part of them is asked for', () => {
    const span = new FileSpan(source, { offset: 1000, length: 3000 }).subarray(10, 20);
    assert.deepEqual([span.offset, span.length, span.read()], [1010, 10, bytes.subarray(1010, 1020)]);
  });
});
