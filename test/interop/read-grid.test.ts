// Every cluster size, version, refcount width, entry size and compression reads as QEMU reads it.
//
//   GRID=all npm run test:qemu -- read-grid    each of them, not every second one

import { everySecond } from '../support/every-second.ts';
import { gridImages } from '../support/image-matrix-grid.ts';
import { readingAlone, testReading } from '../support/read-judge.ts';

testReading(everySecond(gridImages), readingAlone);
