// What tests make, unless they want something else: QEMU's defaults.

import { KiB, MiB } from '../../src/base/units.ts';
import type { CreateSpec } from '../../src/engine/image.ts';

export const plainSpec: CreateSpec = {
  virtualSize: 1 * MiB,
  clusterSize: 64 * KiB,
  compat: '1.1',
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  compressionType: 'zlib',
  preallocation: 'off',
  backing: undefined,
};

/** With clusters so small that a little data fills many of them. */
export const smallSpec: CreateSpec = { ...plainSpec, clusterSize: 4 * KiB };
