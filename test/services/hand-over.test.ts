// What a detach promises to whoever has written, and what is left when it fails.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import type { Engine } from '../../src/pool/engine.ts';
import type { Services, WriteReceipt } from '../../src/services/services.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, readAll } from '../support/service-house.ts';

/** Writes without a flush. */
async function write(services: Services, bytes: Uint8Array): Promise<WriteReceipt> {
  using session = await services.content.openWrite('vm', { signal: undefined });
  const options = {
    ...{ bodyLength: undefined, flush: false, detectZeroes: false, compress: false },
    ...{ sha256: undefined, expected: undefined },
  };
  return await session.write({ offset: 0, length: bytes.length }, bodyIn(bytes, 100_000), options);
}

test('a detach makes durable what was written without a flush', async () => {
  await using house = await openHouse({ engine: houseEngine });
  const { services } = house;
  await services.images.create(newImage({ name: 'vm' }));
  const { writeEpoch } = await write(services, Buffer.from('kept'));
  await services.images.detach('vm');
  await services.images.attach('vm');
  assert.equal((await services.content.flush('vm', { writeEpoch })).writeEpoch, writeEpoch);
  assert.equal((await readAll(services, 'vm')).toString('latin1', 0, 4), 'kept');
});

test('a detach whose flush fails says so, and the image stays here, mended, in another write epoch', async () => {
  const disk = { fails: false };
  await using house = await openHouse({ engine: failingFlushes(disk) });
  const { services, catalog } = house;
  await services.images.create(newImage({ name: 'vm' }));
  const { writeEpoch } = await write(services, Buffer.from('perhaps'));
  disk.fails = true;
  await assert.rejects(services.images.detach('vm'), faultOf('io-error'));
  disk.fails = false;
  const record = await catalog.findImage('vm');
  assert.deepEqual([record?.state, record?.structural], ['ready', 'repair']);
  await assert.rejects(services.content.flush('vm', { writeEpoch }), faultOf('writes-lost'));
  await write(services, Buffer.from('again'));
  assert.equal((await readAll(services, 'vm')).toString('latin1', 0, 5), 'again');
  assert.equal((await services.images.detach('vm')).state, 'detached');
});

/** The engine of the product on a disk that fails flushes. */
function failingFlushes(disk: { readonly fails: boolean }): Engine {
  return {
    ...houseEngine,
    open: (options) => {
      const image = houseEngine.open(options);
      const flush = image.flush.bind(image);
      return Object.assign(image, {
        flush: () => {
          if (disk.fails) throw new Fault('io-error', { operation: 'flush' });
          flush();
        },
      });
    },
  };
}
