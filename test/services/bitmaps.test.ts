import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { MiB } from '../../src/base/units.ts';
import { brakedEngine } from '../support/braked-service.ts';
import { newImage, openHouse } from '../support/service-house.ts';

describe('what a bitmap tells', () => {
  test('is of the size that the disk has by then', async () => {
    let [holds, isHeld] = [false, false];
    const brake = {
      get held() {
        return (isHeld = holds);
      },
    };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { bitmaps, images } = house.services;
    await images.create(newImage({ name: 'vm1', virtualSize: 2 * MiB }));
    const wish = { name: 'b1', granularity: undefined, enabled: true };
    await bitmaps.create('vm1', wish, { claim: undefined, key: undefined });
    for (const virtualSize of [MiB, 3 * MiB]) {
      holds = true;
      const resize = images.resize('vm1', { virtualSize, allowShrink: true, preallocation: 'off' });
      while (!isHeld) await turn();
      const asked = bitmaps.extents('vm1', 'b1', { offset: 0, length: undefined, limit: 100, claim: undefined });
      for (let turns = 0; turns < 10; turns += 1) await turn();
      holds = false;
      const [page] = await Promise.all([asked, resize]);
      const end = page.items.reduce((sum, { length }) => sum + length, 0);
      assert.deepEqual([page.virtualSize, end], [virtualSize, virtualSize]);
    }
  });
});
