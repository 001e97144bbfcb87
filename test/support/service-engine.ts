// The engine that the tests of the services run on: that of the product.

import { MiB } from '../../src/base/units.ts';
import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';

export const houseEngine = qcow2Engine({ locks: 'qemu', hostCopies: false, cacheBytes: 64 * MiB });
