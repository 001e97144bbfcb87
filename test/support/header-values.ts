// Headers for tests: a sound one of each version, to be changed by one field.

import { emptyMask } from '../../src/engine/format/features.ts';
import { headerLengthV2, headerLengthV3 } from '../../src/engine/format/header.ts';
import type { Header } from '../../src/engine/format/header.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';

/** The header of an empty image of 1 MiB with clusters of 64 KiB, as qemu-img 7.2 makes it (vector B01). */
export const headerV3: Header = {
  version: 3,
  backingNameOffset: 0,
  backingNameLength: 0,
  clusterBits: 16,
  size: 1_048_576,
  encryptionMethod: 0,
  l1Entries: 1,
  l1TableOffset: hostOffset(0x30000),
  refcountTableOffset: hostOffset(0x10000),
  refcountTableClusters: 1,
  snapshotCount: 0,
  snapshotsOffset: hostOffset(0),
  incompatible: emptyMask,
  compatible: emptyMask,
  autoclear: emptyMask,
  refcountOrder: 4,
  length: headerLengthV3,
  compressionType: 0,
  unknownFields: new Uint8Array(0),
};

/** The same in version 2. */
export const headerV2: Header = { ...headerV3, version: 2, length: headerLengthV2 };
