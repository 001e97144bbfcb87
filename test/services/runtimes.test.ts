// What holds after a change of how an image is run (OPT-15).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { joinedRuntime } from '../../src/services/runtimes.ts';

describe('a change of runtime options', () => {
  test('leaves what it does not speak of', () => {
    const before = {
      l2CacheBytes: 1,
      passDiscard: false,
      overlapCheck: 'all',
      overlapAreas: { activeL1: false },
    } as const;
    assert.deepEqual(joinedRuntime(before, { refcountCacheBytes: 2, overlapAreas: { activeL2: false } }), {
      ...before,
      refcountCacheBytes: 2,
      cacheBytes: undefined,
      overlapAreas: { activeL1: false, activeL2: false },
    });
  });

  test('ends what does not go with it: parts with a total, a total with both parts, areas with a template', () => {
    const parts = joinedRuntime({ l2CacheBytes: 1, refcountCacheBytes: 2 }, { cacheBytes: 8 });
    assert.deepEqual([parts.l2CacheBytes, parts.refcountCacheBytes, parts.cacheBytes], [undefined, undefined, 8]);
    const one = joinedRuntime({ cacheBytes: 8 }, { l2CacheBytes: 1 });
    assert.deepEqual([one.l2CacheBytes, one.cacheBytes], [1, 8]);
    const both = joinedRuntime(one, { refcountCacheBytes: 2 });
    assert.deepEqual([both.l2CacheBytes, both.refcountCacheBytes, both.cacheBytes], [1, 2, undefined]);
    const areas = joinedRuntime(
      { overlapCheck: 'all', overlapAreas: { activeL1: false } },
      { overlapCheck: 'none', overlapAreas: { activeL2: true } },
    );
    assert.deepEqual([areas.overlapCheck, areas.overlapAreas], ['none', { activeL2: true }]);
  });

  test('that says too much is left as it is, to be refused', () => {
    const change = { cacheBytes: 8, l2CacheBytes: 1, refcountCacheBytes: 2 };
    assert.deepEqual(joinedRuntime({}, change), { ...change, overlapAreas: {} });
  });
});
