// A disk that fills up: said as 507, nothing that was answered is lost, and room that comes back is used.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import type { Response } from 'supertest';

import { KiB, MiB } from '../../src/base/units.ts';
import type { ReadSession } from '../../src/services/services.ts';
import { openHouse } from '../support/service-house.ts';
import { serveHouse } from '../support/served-house.ts';
import type { ServedHouse } from '../support/served-house.ts';
import { SmallDisk } from '../support/small-disk.ts';
import type { RefusedCall } from '../support/small-disk.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { codeOf } from '../support/test-service.ts';

const watchdog = { timeout: 120_000 };
const folder = tempFolder();
const slot = 64 * KiB;
/** Short: an image whose flush failed is opened again once nobody has it. */
const imageIdleMs = 50;
let disk: SmallDisk;
let service: ServedHouse;

before(async () => {
  mkdirSync(join(folder.path, 'images'));
  disk = new SmallDisk(join(folder.path, 'images'));
  service = await serveHouse(await openHouse({ engine: disk.engine, path: folder.path, imageIdleMs }));
});
after(async () => {
  await service[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

async function create(name: string, virtualSize: number): Promise<void> {
  await service.post('/v1/images', { name, virtualSize, clusterSize: 4 * KiB }).expect(201);
}

async function put(image: string, offset: number, bytes: Buffer): Promise<Response> {
  const range = `bytes ${offset}-${offset + bytes.length - 1}/*`;
  return service.put(`/v1/images/${image}/data`).set('Content-Range', range).send(bytes);
}

async function read(image: string, offset: number, length: number): Promise<Buffer> {
  const answer = await service
    .get(`/v1/images/${image}/data`)
    .set('Range', `bytes=${offset}-${offset + length - 1}`)
    .buffer(true)
    .expect(206);
  return answer.body as Buffer;
}

async function requireClean(image: string, note: string): Promise<void> {
  const answer = await service.post(`/v1/images/${image}/check`).expect(200);
  const { clean, findings } = answer.body as { readonly clean: boolean; readonly findings: unknown };
  assert.ok(clean, `${note}: ${JSON.stringify(findings)}`);
}

function assertFull(answer: Response, note: string): void {
  assert.deepEqual([answer.status, codeOf(answer)], [507, 'insufficient-storage'], `${note}: ${answer.text}`);
  assert.equal(typeof (answer.body as { available: unknown }).available, 'number', note);
}

describe('a disk that is full', () => {
  test('keeps what was answered, is read, and takes writes again when an image is deleted', async () => {
    await create('other', 4 * MiB);
    assert.equal((await put('other', 0, Buffer.alloc(MiB, 9))).status, 204);
    await create('vm', 16 * MiB);
    disk.leave(MiB);
    let kept = 0;
    let answer = await put('vm', 0, Buffer.alloc(slot, 1));
    while (answer.status === 204) {
      kept += 1;
      assert.ok(kept < 100, 'the disk fills up');
      answer = await put('vm', kept * slot, Buffer.alloc(slot, kept + 1));
    }
    assert.ok(kept >= 10, 'what fits is taken');
    assertFull(answer, 'the disk is full');
    assertFull(await put('vm', 8 * MiB, Buffer.alloc(slot, 77)), 'and stays full');
    for (let index = 0; index < kept; index += 1) {
      assert.deepEqual(await read('vm', index * slot, slot), Buffer.alloc(slot, index + 1), `slot ${index}`);
    }
    assert.equal((await put('vm', 0, Buffer.alloc(slot, 50))).status, 204, 'what has its place is overwritten');
    await requireClean('vm', 'on the full disk');
    await service.delete('/v1/images/other').expect(204);
    assert.equal((await put('vm', 8 * MiB, Buffer.alloc(slot, 78))).status, 204);
    assert.deepEqual(await read('vm', 8 * MiB, slot), Buffer.alloc(slot, 78));
    await requireClean('vm', 'with room again');
  });

  test('at any write loses nothing that was answered', watchdog, async () => {
    const refused = await refuseEach('write', async (name, reader) => {
      reader.close();
      await requireClean(name, name);
      assert.equal((await put(name, slot, Buffer.alloc(4 * slot, 3))).status, 204, name);
    });
    assert.ok(refused >= 3, `${refused} writes were refused`);
  });

  test('at any flush loses nothing that was answered', watchdog, async () => {
    const refused = await refuseEach('flush', writeUntilOpenedAgain);
    assert.ok(refused >= 1, `${refused} flushes were refused`);
  });

  test('at a reservation leaves the image as it was', watchdog, async () => {
    disk.leave(Infinity);
    await create('reserved', 4 * MiB);
    disk.refuse('preallocate', 0);
    const larger = { virtualSize: 6 * MiB, preallocation: 'falloc' };
    assertFull(await service.post('/v1/images/reserved/resize', larger), 'a reservation');
    assert.ok(disk.takeRefusalBack());
    const shown = await service.get('/v1/images/reserved').expect(200);
    assert.equal((shown.body as { readonly virtualSize: number }).virtualSize, 4 * MiB);
    await requireClean('reserved', 'refused');
    await service.post('/v1/images/reserved/resize', larger).expect(200);
    await requireClean('reserved', 'reserved');
  });
});

/** Writes the same to one image after another, each time with one later call refused; how often it was. */
async function refuseEach(
  call: RefusedCall,
  goOn: (image: string, reader: ReadSession) => Promise<void>,
): Promise<number> {
  disk.leave(Infinity);
  for (let calls = 0; ; calls += 1) {
    const name = `${call}-${calls}`;
    await create(name, 8 * MiB);
    assert.equal((await put(name, 1000, Buffer.alloc(slot, 1))).status, 204);
    // As long as somebody reads, the image is not closed for want of users, however slow the machine is.
    using reader = await service.house.services.content.openRead(name, { snapshot: undefined, signal: undefined });
    disk.refuse(call, calls);
    const answer = await put(name, slot, Buffer.alloc(4 * slot, 2));
    if (!disk.takeRefusalBack()) {
      assert.equal(answer.status, 204);
      return calls;
    }
    assertFull(answer, name);
    assert.deepEqual(await read(name, 1000, slot - 1000), Buffer.alloc(slot - 1000, 1), name);
    await goOn(name, reader);
    assert.deepEqual(await read(name, slot, 4 * slot), Buffer.alloc(4 * slot, 3), name);
    assert.deepEqual(await read(name, 1000, slot - 1000), Buffer.alloc(slot - 1000, 1), name);
    await requireClean(name, name);
  }
}

/** After a failed flush nobody knows what is durable: the image is read-only until it was closed and opened. */
async function writeUntilOpenedAgain(name: string, reader: ReadSession): Promise<void> {
  const write = (): Promise<Response> => put(name, slot, Buffer.alloc(4 * slot, 3));
  let answer = await write();
  assert.deepEqual([answer.status, codeOf(answer)], [409, 'image-read-only'], name);
  reader.close();
  for (let tries = 0; answer.status === 409 && tries < triesMax; tries += 1) {
    await pause(2 * imageIdleMs);
    answer = await write();
  }
  assert.equal(answer.status, 204, `${name}: ${answer.text}`);
  // As after a crash, there may be clusters that nothing uses, and nothing worse; a repair takes them back.
  const report = await service.post(`/v1/images/${name}/check`, { repair: 'leaks' }).expect(200);
  const { corruptions, checkErrors, leaks } = report.body as Readonly<Record<string, number>>;
  assert.deepEqual([corruptions, checkErrors, leaks], [0, 0, 0], name);
}

/** Only a watchdog. */
const triesMax = 300;
