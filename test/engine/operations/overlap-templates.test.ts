// The strictest overlap template refuses nothing that a sound image does.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = 512;
const size = 256 * 1024;

test('changes under "all" go on over snapshots that come, go and come back', () => {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  runToEnd(Image.create(path, { ...plainSpec, clusterSize: cluster, virtualSize: size }));
  const image = Image.open({ path, writable: true, backing: [], locks: 'none' });
  image.setRuntime({ overlapCheck: 'all' });
  const chance = new Prng(11);
  const ids: string[] = [];
  const offset = (): ReturnType<typeof guestOffset> => guestOffset(chance.below(size / cluster - 8) * cluster);
  for (let round = 0; round < 300; round += 1) {
    const choice = chance.below(12);
    if (choice < 7) image.write(offset(), chance.bytes(4 * cluster), { detectZeroes: false });
    else if (choice === 7) runToEnd(image.discard(offset(), 8 * cluster));
    else if (choice === 8) {
      const made = { name: `s${round}`, seconds: 0, nanoseconds: 0, idFloor: 1 };
      ids.push(runToEnd(image.createSnapshot(made)).id);
    } else if (choice === 9 && ids.length > 0) runToEnd(image.revertSnapshot(chance.pick(ids)));
    else if (choice === 10 && ids.length > 2) runToEnd(image.deleteSnapshot(ids.shift() ?? ''));
    else if (round % 5 === 0) runToEnd(image.compact({ detectZeroes: true }));
  }
  assert.ok(ids.length > 0);
  const { corruptions, leaks } = runToEnd(image.check());
  assert.deepEqual([corruptions, leaks], [0, 0]);
  image.close();
});
