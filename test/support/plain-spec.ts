// What tests make, unless they want something else: QEMU's defaults.

import { KiB, MiB } from '../../src/base/units.ts';
import type { CreateSpec } from '../../src/engine/image.ts';

/** The form of a file, whatever the size of its disk and whatever it stands on. */
export const plainForm = {
  clusterSize: 64 * KiB,
  compat: '1.1',
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  compressionType: 'zlib',
  preallocation: 'off',
} as const;

export const plainSpec: CreateSpec = { virtualSize: 1 * MiB, ...plainForm, backing: undefined };

/** With clusters so small that a little data fills many of them. */
export const smallSpec: CreateSpec = { ...plainSpec, clusterSize: 4 * KiB };
