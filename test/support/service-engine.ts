// The engine that the tests of the services run on: that of the product.

import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';

export const houseEngine = qcow2Engine({ locks: 'qemu' });
