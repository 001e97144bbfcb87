// Changes of an image as a whole, on a disk that fails at every single step of them.

import assert from 'node:assert/strict';

import type { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { bytesBelow, describeFailures, filled } from '../../support/failing-disk.ts';
import type { Change, Kind, State } from '../../support/failing-disk.ts';
import { fillGuest } from '../../support/memory-parts.ts';

const same = (before: State): State => before;

/** Whatever is there already. */
function bitmapNames(image: Image): readonly string[] {
  return runToEnd(image.bitmaps({ start: 0, limit: 10 })).items.map(({ name }) => name);
}

const compaction: Change = {
  name: 'compacting',
  isStructural: true,
  after: same,
  run: (image) => void runToEnd(image.compact({ detectZeroes: true })),
};

const runtime: Change = {
  name: 'other caches and rules between two writes',
  isStructural: false,
  after: (before, cluster) => filled(before, { offset: cluster, length: 3 * cluster, value: 0x77 }),
  run: (image, cluster) => {
    fillGuest(image, cluster, 2 * cluster, 0x77);
    image.setRuntime({
      l2CacheBytes: 64 * cluster,
      lazyRefcounts: image.describe().compat === '1.1',
      passDiscard: false,
    });
    fillGuest(image, 2 * cluster, 2 * cluster, 0x77);
  },
};

const lowering: Change = {
  name: 'amending to version 2',
  isStructural: true,
  after: same,
  run: (image) =>
    runToEnd(image.amend({ compat: '0.10', refcountBits: 16, lazyRefcounts: undefined, dataFileRaw: undefined })),
};

const narrowing: Change = {
  name: 'amending the width of refcounts and when they are written',
  isStructural: true,
  after: same,
  run: (image) =>
    runToEnd(image.amend({ compat: undefined, refcountBits: 8, lazyRefcounts: true, dataFileRaw: undefined })),
};

const emptying: Change = {
  name: 'emptying',
  isStructural: true,
  after: (before) => ({ ...before, bytes: new Uint8Array(before.bytes.length) }),
  run: (image) => {
    runToEnd(image.empty());
  },
};

const bitmapChanges: readonly Change[] = [
  {
    name: 'making a bitmap',
    isStructural: false,
    after: same,
    run: (image) => {
      if (bitmapNames(image).includes('new')) return;
      image.createBitmap({ name: 'new', granularity: undefined, enabled: true });
    },
  },
  {
    name: 'writing while a bitmap records, and merging it',
    isStructural: false,
    after: (before, cluster) => filled(before, { offset: 0, length: 3 * cluster, value: 0x55 }),
    run: (image, cluster) => {
      fillGuest(image, 0, 3 * cluster, 0x55);
      if (!bitmapNames(image).includes('sum')) {
        image.createBitmap({ name: 'sum', granularity: 1024, enabled: false });
      }
      runToEnd(image.mergeBitmaps('sum', ['records']));
    },
  },
  {
    name: 'clearing, switching and deleting a bitmap',
    isStructural: false,
    after: same,
    run: (image) => {
      if (!bitmapNames(image).includes('records')) return;
      image.clearBitmap('records');
      image.setBitmapEnabled('records', false);
      image.deleteBitmap('records');
      assert.ok(!bitmapNames(image).includes('records'));
    },
  },
];

const plain: Kind = { name: 'version 3', change: { clusterSize: 4096 }, below: undefined };
const version2: Kind = { name: 'version 2', change: { clusterSize: 4096, compat: '0.10' }, below: undefined };
const lazy: Kind = { name: 'lazy refcounts', change: { clusterSize: 1024, lazyRefcounts: true }, below: undefined };
const overlay: Kind = {
  ...{ name: 'small clusters and wide refcounts over a layer', below: bytesBelow(512) },
  change: { clusterSize: 512, refcountBits: 64 },
};

describeFailures(plain, [compaction, runtime, lowering, narrowing, emptying]);
describeFailures(version2, [compaction, runtime, emptying]);
describeFailures(lazy, [compaction, runtime, lowering, emptying]);
describeFailures(overlay, [compaction, runtime, narrowing]);
describeFailures({ ...plain, name: 'with a bitmap', bitmap: 'records' }, bitmapChanges);
describeFailures({ ...overlay, name: 'small clusters with a bitmap', bitmap: 'records' }, bitmapChanges);
