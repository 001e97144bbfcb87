// How far a long run says it is: it only goes forwards, towards a total that stays what it was.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MiB } from '../../../src/base/units.ts';
import type { Image, Steps } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const cluster = 512;
const size = 14_000 * cluster;

/** Many tables, half of them shared with a snapshot; zeroes among the data. */
function prepare(): Image {
  const image = imageOver(newFile({ virtualSize: size, clusterSize: cluster }), undefined);
  fillGuest(image, 0, size / 2, 1);
  runToEnd(image.createSnapshot({ name: 'old', seconds: 5, nanoseconds: 6, idFloor: 1 }));
  fillGuest(image, size / 4, size / 2, 2);
  for (let at = 0; at < size; at += 1000 * cluster) fillGuest(image, at, 500 * cluster, 0);
  return image;
}

const runs: Readonly<Record<string, (image: Image) => Steps<unknown>>> = {
  'compacting': (image) => image.compact({ detectZeroes: true }),
  'compacting without a look for zeroes': (image) => image.compact({ detectZeroes: false }),
  'taking a snapshot': (image) => image.createSnapshot({ name: 'new', seconds: 5, nanoseconds: 6, idFloor: 1 }),
  'deleting a snapshot': (image) => image.deleteSnapshot('old'),
  'reverting to a snapshot': (image) => image.revertSnapshot('old'),
  'shrinking': (image) => image.resize({ virtualSize: cluster, allowShrink: true, preallocation: 'off' }),
  'emptying': (image) => image.empty(),
};

describe('the progress of a run', () => {
  for (const [name, run] of Object.entries(runs)) {
    it(`only goes forwards: ${name}`, () => {
      const image = prepare();
      const steps = [...run(image)];
      image.abandon();
      assert.ok(steps.length >= 2, `${steps.length} steps`);
      let before = 0;
      for (const { done, total } of steps) {
        assert.ok(before <= done && done <= total, `${done} of ${total} after ${before}`);
        assert.equal(total, steps[0]?.total);
        before = done;
      }
    });
  }

  it('is a number that JSON has, and soon at its end, for the largest disk with little on it', () => {
    const virtualSize = Number.MAX_SAFE_INTEGER + 1 - 512;
    const image = imageOver(newFile({ virtualSize, clusterSize: 2 * MiB }), undefined);
    fillGuest(image, 0, cluster, 0);
    fillGuest(image, virtualSize - 4 * MiB, cluster, 1);
    let count = 0;
    for (const { done, total } of image.compact({ detectZeroes: true })) {
      count += 1;
      assert.ok(done <= total && Number.isSafeInteger(total), `${done} of ${total}`);
      assert.ok(count < 100_000, 'there is a step for each L2 table, and for each cluster that is there');
    }
    assert.equal(guestBytes(image, virtualSize - 4 * MiB, 1)[0], 1);
    image.abandon();
  });
});
