// Holes under data clusters: told in an image that was preallocated, and in no other.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { MiB } from '../../../src/base/units.ts';
import type { CreateSpec } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { fillGuest, imageOver, newFile } from '../../support/memory-parts.ts';
import { usual } from '../../support/measure-spec.ts';

const cluster = 65_536;

function mapOf(file: MemoryFile): readonly unknown[] {
  const image = imageOver(file, undefined);
  const { items } = image.extents({
    offset: 0,
    length: image.virtualSize,
    limit: 100,
    layer: 'all',
    hostOffsets: false,
  });
  image.abandon();
  return items.map(({ offset, length, kind, preallocated }) => [offset, length, kind, preallocated]);
}

describe('holes of the file', () => {
  for (const refcountBits of [1, 4, 16, 64] as const) {
    it(`are shown where only the tables were written (OPS-08a): ${String(refcountBits)} bits`, () => {
      const change: Partial<CreateSpec> = { clusterSize: cluster, virtualSize: 4 * MiB, refcountBits };
      const file = newFile({ ...change, preallocation: 'metadata' });
      assert.deepEqual(mapOf(file), [[0, 4 * MiB, 'data', true]]);
      const image = imageOver(file, undefined);
      fillGuest(image, MiB, cluster, 7);
      image.close();
      assert.deepEqual(mapOf(file), [
        [0, MiB, 'data', true],
        [MiB, cluster, 'data', undefined],
        [MiB + cluster, 3 * MiB - cluster, 'data', true],
      ]);
    });
  }

  it('are no matter in a file that was written (OPS-08a)', () => {
    const file = newFile({ clusterSize: cluster, virtualSize: 4 * MiB });
    const image = imageOver(file, undefined);
    fillGuest(image, 0, 2 * MiB, 7);
    image.close();
    assert.deepEqual(mapOf(file), [
      [0, 2 * MiB, 'data', undefined],
      [2 * MiB, 2 * MiB, 'hole', undefined],
    ]);
  });

  it('count for nothing when the size of a copy is measured', () => {
    const sizeOf = (preallocation: CreateSpec['preallocation']): number => {
      const image = imageOver(newFile({ clusterSize: cluster, virtualSize: 4 * MiB, preallocation }), undefined);
      const { required } = runToEnd(image.measure({ snapshot: undefined, spec: usual }));
      image.abandon();
      return required;
    };
    assert.equal(sizeOf('metadata'), sizeOf('off'));
  });
});
