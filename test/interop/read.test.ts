// Images with one oddity each read as QEMU reads them: bytes, extents, snapshots. Of most the check says what QEMU's says.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chainImages } from '../support/image-matrix-chains.ts';
import { snapshotImages } from '../support/image-matrix-snapshots.ts';
import { specialImages } from '../support/image-matrix-special.ts';
import { imageMatrix } from '../support/image-matrix.ts';
import { readingAlone, testReading } from '../support/read-judge.ts';
import { checkLikeQemu } from './check/judge.ts';

test('the matrix holds at least 150 images, each with an id of its own', () => {
  assert.ok(imageMatrix.length >= 150);
  assert.equal(new Set(imageMatrix.map(({ id }) => id)).size, imageMatrix.length);
});

testReading(chainImages, readingAlone);
testReading([...snapshotImages, ...specialImages], { verbs: 'reads and checks', judgeMore: checkLikeQemu });
