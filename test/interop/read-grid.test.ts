// Every cluster size, version, refcount width, entry size and compression reads as QEMU reads it.
//
//   GRID=all npm run test:qemu -- read-grid    each of them, not every second one

import { gridImages } from '../support/image-matrix-grid.ts';
import { testReading } from '../support/read-judge.ts';

testReading(process.env['GRID'] === 'all' ? gridImages : gridImages.filter((_, index) => index % 2 === 0));
