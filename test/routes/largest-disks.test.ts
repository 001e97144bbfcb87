// Disks as large as clusters of a size allow (LIM-01, LIM-05): whatever tells a size tells one that JSON can carry.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { KiB, MiB, PiB } from '../../src/base/units.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { codeOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const clusterSizes = Array.from({ length: 13 }, (_, index) => 512 << index);
/** Those that are made as large: both ends, and the two between which the limit of the format becomes ours. */
const madeLarge = [512, 64 * KiB, 128 * KiB, 2 * MiB];
const largest = 8 * PiB - 512;
/** In the header of the file. */
const sizeAt = 24;
let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

describe('the largest disk', () => {
  for (const clusterSize of clusterSizes) {
    test(`with clusters of ${clusterSize} bytes is what info says`, async () => {
      const name = `small-${clusterSize}`;
      await service.create({ name, virtualSize: MiB, clusterSize });
      const answer = await service.get(`/v1/images/${name}/info`).expect(200);
      const { limits } = answer.body as { readonly limits: { readonly virtualSizeMax: number } };
      const virtualSize = limits.virtualSizeMax;
      assert.equal(virtualSize, Math.min(largest, (clusterSize ** 2 / 8) * 4_194_304));
      if (!madeLarge.includes(clusterSize)) return;
      const made = await service.create({ name: `large-${clusterSize}`, virtualSize, clusterSize });
      assert.equal(made.virtualSize, virtualSize);
      const more = { name: 'more', virtualSize: virtualSize + 512, clusterSize };
      const refused = await service.post('/v1/images', more);
      assert.ok([400, 422].includes(refused.status));
    });
  }

  test('is written, read and told of up to its last byte', async () => {
    const image = `/v1/images/large-${2 * MiB}`;
    await service.write(`large-${2 * MiB}`, largest - 3, Buffer.from('end'));
    const read = await service.bytes(`${image}/data`).set('Range', 'bytes=-3').expect(206);
    assert.deepEqual(read.body, Buffer.from('end'));
    assert.equal(read.headers['content-range'], `bytes ${largest - 3}-${largest - 1}/${largest}`);
    const { items } = (await service.get(`${image}/extents`).expect(200)).body as {
      readonly items: readonly { readonly offset: number; readonly length: number }[];
    };
    assert.equal(
      items.reduce((end, { offset, length }) => (offset === end ? offset + length : Number.NaN), 0),
      largest,
    );
    await service.post(`${image}/snapshots`, { name: 's' }).expect(201);
    for (const path of ['', '/info', '/chain', '/snapshots', '/snapshots/s']) {
      await service.get(`${image}${path}`).expect(200);
    }
    await service.get('/v1/images').expect(200);
  });
});

describe('a disk of 8 PiB, which QEMU makes', () => {
  test('is not taken in, nor back, and everything else goes on', async () => {
    const { id } = await service.create({ name: 'vm', virtualSize: largest, clusterSize: 2 * MiB });
    await service.post('/v1/images/vm/detach').expect(200);
    const path = join(service.folder, 'images', `${id}.qcow2`);
    const image = ImageBytes.read(path);
    image.setU64(sizeAt, BigInt(8 * PiB));
    image.write(path);
    const taken = await service.put('/v1/imports/foreign').send(readFileSync(path));
    assert.deepEqual([taken.status, codeOf(taken)], [422, 'unsafe-image']);
    const attached = await service.post('/v1/images/vm/attach');
    assert.equal(attached.status, 422);
    const list = (await service.get('/v1/images').expect(200)).body as { readonly items: readonly ImageBody[] };
    assert.equal(list.items.find((one) => one.id === id)?.['state'], 'detached');
    image.setU64(sizeAt, BigInt(largest));
    image.write(path);
    await service.post('/v1/images/vm/attach').expect(200);
  });
});
