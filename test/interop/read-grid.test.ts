// Every cluster size, version, refcount width, entry size and compression reads as QEMU reads it.

import { gridImages } from '../support/image-matrix-grid.ts';
import { testReading } from '../support/read-judge.ts';

testReading(gridImages);
