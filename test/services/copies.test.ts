import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { MiB } from '../../src/base/units.ts';
import { brakedEngine } from '../support/braked-service.ts';
import { gather, newImage, openHouse, readAll, writeAt } from '../support/service-house.ts';

describe('what is copied while another size is on its way', () => {
  test('is as large as the disk is when the copy begins', async () => {
    let [holds, isHeld] = [false, false];
    const brake = {
      get held() {
        return (isHeld = holds);
      },
    };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { copies, exports, images } = house.services;
    await images.create(newImage({ name: 'vm1', virtualSize: 2 * MiB }));
    await writeAt(house.services, 'vm1', 0, Buffer.alloc(2 * MiB, 7));
    const asBefore = { clusterSize: undefined, compressionType: undefined, encryption: undefined, dataFile: undefined };
    const live = { snapshot: undefined, signal: undefined };
    for (const virtualSize of [MiB, 3 * MiB]) {
      holds = true;
      const resize = images.resize('vm1', { virtualSize, allowShrink: true, preallocation: 'off' });
      while (!isHeld) await turn();
      const name = `copy-${virtualSize}`;
      const copied = copies.copy('vm1', { ...asBefore, name, snapshot: undefined, compress: false, mode: 'full' });
      const packed = exports.openExport('vm1', { ...live, format: 'qcow2', layer: 'all', compress: true });
      for (let turns = 0; turns < 20; turns += 1) await turn();
      holds = false;
      const [copy, file] = await Promise.all([copied, packed, resize]);
      using session = file;
      const content = await readAll(house.services, 'vm1');
      assert.equal(copy.facts?.virtualSize, virtualSize);
      assert.ok(content.equals(await readAll(house.services, name)), 'the copy is what the disk is');
      const bytes = await gather(session.chunks({ offset: 0, length: session.length }));
      assert.equal(bytes.readBigUInt64BE(24), BigInt(virtualSize), 'the header of the packed file says the size');
    }
  });
});
