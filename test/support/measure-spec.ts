// What the tests of measuring ask for, unless they want something else.

import { KiB } from '../../src/base/units.ts';
import type { MeasureSpec } from '../../src/engine/image.ts';

export const usual: MeasureSpec = {
  clusterSize: 64 * KiB,
  compat: '1.1',
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  compressionType: 'zlib',
  preallocation: 'off',
  backing: undefined,
  luks: undefined,
};
