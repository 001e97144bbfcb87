// Problems that take more than one request to a sound service: tokens, jobs, leases, damaged files, broken disks,
// threads that die, clients that fall silent. Each is met over HTTP.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { mock } from 'node:test';

import type { Response } from 'supertest';

import { chainDepthMax } from '../../src/services/new-images.ts';
import { leasesMax } from '../../src/services/lease-book.ts';
import { bodyPatience } from '../../src/http/request-body.ts';
import { startBrakedService } from './braked-service.ts';
import type { BrakedService } from './braked-service.ts';
import { at, commonChoice, place, setUint32, soundImage } from './hostile-image.ts';
import { expectDocumented } from './http-client.ts';
import { memoryEngine, traps } from './memory-image.ts';
import { exchange } from './raw-http.ts';
import { serveHouse } from './served-house.ts';
import { houseEngine } from './service-engine.ts';
import { newImage, openHouse } from './service-house.ts';
import { tempFolder } from './temp-folder.ts';
import { pattern, startTestService } from './test-service.ts';
import type { TestService } from './test-service.ts';

/** What a client was told. */
export interface Met {
  readonly status: number;
  readonly code: string;
  /** The whole problem. */
  readonly problem: Readonly<Record<string, unknown>>;
}

export type Provocation = () => Promise<Met>;

const MiB = 1_048_576;
const lostLease = 'lse_AAAAAAAAAAAAAAAAAAAAAA';

/** What an answer says. */
export function metIn(response: Response): Met {
  return metAs(response.status, response.body);
}

function metAs(status: number, body: unknown): Met {
  const problem = body as Readonly<Record<string, unknown>>;
  return { status, code: String(problem['code']), problem };
}

/** A provocation of a service of its own, as `npm start` makes it. */
function alone(
  settings: Readonly<Record<string, string>>,
  provoke: (service: TestService) => PromiseLike<Response>,
): Provocation {
  return async () => {
    await using service = await startTestService(settings);
    return metIn(await provoke(service));
  };
}

/** A provocation of a service whose long work can be held. */
function braked(provoke: (service: BrakedService) => PromiseLike<Response>): Provocation {
  return async () => {
    using folder = tempFolder();
    await using service = await startBrakedService(folder.path);
    try {
      return metIn(await provoke(service));
    } finally {
      service.brake.held = false;
    }
  };
}

const jobs: Readonly<Record<string, Provocation>> = {
  'job-not-found': alone({}, (service) => service.get('/v1/jobs/job_0')),
  'job-not-cancellable': braked(async (service) => {
    await service.post('/v1/images', { name: 'vm', virtualSize: MiB }).expect(201);
    service.brake.held = true;
    const job = await service.post('/v1/images/vm/check').set('Prefer', 'respond-async').expect(202);
    const path = String(job.headers['location']);
    await service.post(`${path}/cancel`).expect(202);
    await service.get(`${path}?wait=60`).expect(200);
    return service.post(`${path}/cancel`);
  }),
  'job-interrupted': async () => {
    using folder = tempFolder();
    const id = 'job_01900000-0000-7000-8000-000000000000';
    await using earlier = await openHouse({ engine: houseEngine, path: folder.path });
    const work = { kind: 'import', imageId: undefined, state: 'running', options: { name: 'x' }, trace: {} } as const;
    const times = { createdAtMs: 1, startedAtMs: 1, endedAtMs: undefined };
    const end = { done: 0, total: 0, result: undefined, fault: undefined, requestId: 'request' };
    // As a process leaves it behind that is killed in the middle of the work.
    await earlier.catalog.jobs.save({ id, ...work, ...times, ...end });
    await earlier[Symbol.asyncDispose]();
    await using service = await serveHouse(await openHouse({ engine: houseEngine, path: folder.path }));
    const { problem } = (await service.get(`/v1/jobs/${id}`).expect(200)).body as { problem: { status: number } };
    return metAs(problem.status, problem);
  },
  'idempotency-in-progress': braked(async (service) => {
    const body = { name: 'race', virtualSize: MiB, preallocation: 'full' };
    const ask = () => service.post('/v1/images', body).set('Idempotency-Key', 'one').set('Prefer', 'wait=60');
    service.brake.held = true;
    const first = ask().then((answer) => answer);
    while ((await service.house.catalog.findImage('race')) === undefined) await new Promise(setImmediate);
    const during = await ask();
    service.brake.held = false;
    assert.equal((await first).status, 201);
    return during;
  }),
  'idempotency-key-reused': alone({}, async (service) => {
    const ask = (virtualSize: number) =>
      service.post('/v1/images', { name: 'vm', virtualSize }).set('Idempotency-Key', 'one');
    await ask(512).expect(201);
    return ask(1024);
  }),
  'image-not-ready': braked(async (service) => {
    service.brake.held = true;
    const body = { name: 'vm', virtualSize: MiB, preallocation: 'full' };
    await service.post('/v1/images', body).set('Prefer', 'respond-async').expect(202);
    return service.get('/v1/images/vm/data');
  }),
  'image-in-use': braked(async (service) => {
    await service.post('/v1/images', { name: 'vm', virtualSize: MiB }).expect(201);
    service.brake.held = true;
    const job = await service.post('/v1/images/vm/check').set('Prefer', 'respond-async').expect(202);
    const state = async () =>
      (await service.get(String(job.headers['location']))).body as { progress: { done: number } };
    while ((await state()).progress.done === 0);
    return service.delete('/v1/images/vm');
  }),
};

const leases: Readonly<Record<string, Provocation>> = {
  'image-locked': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    await service.post('/v1/images/vm/leases', { mode: 'exclusive' }).expect(201);
    return service.post('/v1/images/vm/zero', { offset: 0, length: 1 });
  }),
  'too-many-leases': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    const acquire = () => service.post('/v1/images/vm/leases', { mode: 'shared' });
    for (let count = 0; count < leasesMax; count += 1) await acquire().expect(201);
    return acquire();
  }),
  'lease-lost': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    return service.post('/v1/images/vm/zero', { offset: 0, length: 1 }).set('Lease-Id', lostLease);
  }),
  'fencing-token-stale': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    const lease = await service.post('/v1/images/vm/leases', { mode: 'exclusive' }).expect(201);
    const { id } = lease.body as { readonly id: string };
    return service.post('/v1/images/vm/zero', { offset: 0, length: 1 }).set({ 'Lease-Id': id, 'Fencing-Token': '0' });
  }),
};

const images: Readonly<Record<string, Provocation>> = {
  'bitmaps-prevent-revert': alone({}, async (service) => {
    await service
      .put('/v1/imports/vm')
      .send(Buffer.from(soundImage(commonChoice).bytes))
      .expect(201);
    await service.post('/v1/images/vm/snapshots', { name: 'mine' });
    const { items } = (await service.get('/v1/images/vm/snapshots').expect(200)).body as { items: { id: string }[] };
    return service.post(`/v1/images/vm/snapshots/${items[0]?.id ?? ''}/revert`);
  }),
  'data-file-missing': alone({}, async (service) => {
    const { id } = await service.create({ name: 'vm', virtualSize: MiB, dataFile: {} });
    await service.post('/v1/images/vm/detach').expect(200);
    fs.rmSync(join(service.folder, 'images', `${id}.data`));
    return service.post('/v1/images/vm/attach');
  }),
  'bitmap-inconsistent': alone({}, async (service) => {
    await service.put('/v1/imports/vm').send(Buffer.from(withBitmapInUse())).expect(201);
    return service.post('/v1/images/vm/resize', { virtualSize: 64 * MiB });
  }),
  'bitmap-not-found': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    return service.get('/v1/images/vm/bitmaps/none');
  }),
  'chain-too-deep': async () => {
    // Each overlay opens all files below it, which takes its time; nothing here depends on what is in them.
    await using service = await serveHouse(await openHouse({ engine: memoryEngine }));
    await service.post('/v1/images', { name: 'layer1', virtualSize: 512 }).expect(201);
    const overlay = (depth: number) =>
      service.post('/v1/images', { name: `layer${depth}`, backing: { image: `layer${depth - 1}` } });
    for (let depth = 2; depth <= chainDepthMax; depth += 1) await overlay(depth).expect(201);
    return metIn(await overlay(chainDepthMax + 1));
  },
  'refcount-overflow': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB, refcountBits: 1 });
    await service.write('vm', 0, pattern(512, 1));
    return service.post('/v1/images/vm/snapshots', { name: 's' });
  }),
  'header-full': alone({}, async (service) => {
    await service.create({ name: 'base', virtualSize: MiB });
    const { id } = await service.create({ name: 'top', backing: { image: 'base' }, clusterSize: 512 });
    const file = fs.readFileSync(join(service.folder, 'images', `${id}.qcow2`));
    return service.put('/v1/imports/full?backing=base').send(fillHeader(file));
  }),
  'too-many-snapshots': alone({}, async (service) => {
    const { id } = await service.create({ name: 'vm', virtualSize: 0 });
    await changeFile(service, id, addSnapshots);
    return service.post('/v1/images/vm/snapshots', { name: 'more' });
  }),
  'image-corrupt': alone({}, async (service) => {
    const { id } = await service.create({ name: 'vm', virtualSize: MiB });
    await service.write('vm', 0, pattern(512, 1));
    await changeFile(service, id, (bytes) => {
      const l1 = Number(bytes.readBigUInt64BE(40));
      const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
      // An entry that is not aligned to a cluster.
      bytes.writeBigUInt64BE(bytes.readBigUInt64BE(l2) | 0x200n, l2);
      return bytes;
    });
    return service.get('/v1/images/vm/data').set('Range', 'bytes=0-511');
  }),
};

const machine: Readonly<Record<string, Provocation>> = {
  'unauthenticated': async () => {
    using folder = tempFolder();
    const path = join(folder.path, 'tokens');
    fs.writeFileSync(path, `backup:read:${'ab'.repeat(32)}\n`);
    return await alone({ QCOWD_TOKENS_FILE: path }, (service) => service.get('/v1/images'))();
  },
  'quota-exceeded': alone({ QCOWD_QUOTA_BYTES: '4096' }, (service) =>
    service.put('/v1/imports/large?format=raw').send(pattern(MiB, 2)),
  ),
  'request-timeout': async () => {
    await using service = await startTestService();
    await service.create({ name: 'vm', virtualSize: MiB });
    return await silentUpload(service);
  },
  'io-error': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    return withBrokenFlush('EIO', async () => await writeStart(service));
  }),
  'image-read-only': alone({}, async (service) => {
    await service.create({ name: 'vm', virtualSize: MiB });
    await writeStart(service);
    const failed = await withBrokenFlush('ENOSPC', async () => await writeStart(service));
    assert.equal(failed.status, 507);
    return await writeStart(service);
  }),
  'internal': async () => metIn(await trapped(traps.bug)),
  'engine-lost': async () => metIn(await trapped(traps.exit)),
  'engine-busy': async () => {
    await using service = await serveHouse(await openHouse({ engine: houseEngine, limits: { queueLengthMax: 0 } }));
    return metIn(await service.post('/v1/images', { name: 'vm', virtualSize: MiB }));
  },
  'not-ready': async () => {
    await using service = await serveHouse(await openHouse({ engine: houseEngine }));
    await service.house.pool.close();
    return metIn(await service.get('/readyz'));
  },
  'draining': async () => {
    await using service = await serveHouse(await openHouse({ engine: houseEngine }), () => true);
    return metIn(await service.get('/v1/images'));
  },
};

/** By code. */
export const hardProvocations: Readonly<Record<string, Provocation>> = { ...jobs, ...leases, ...images, ...machine };

async function writeStart(service: TestService): Promise<Response> {
  return service.put('/v1/images/vm/data').set('Content-Range', 'bytes 0-511/*').send(pattern(512, 3));
}

/** A snapshot whose name is a trap of the tests' own engine, which runs on threads. */
async function trapped(name: string): Promise<Response> {
  const entry = new URL('./memory-worker.ts', import.meta.url);
  await using service = await serveHouse(await openHouse({ engine: memoryEngine, entry }));
  await service.house.services.images.create(newImage({ name: 'vm' }));
  return await service.post('/v1/images/vm/snapshots', { name });
}

/** A body that stops coming; the clock is turned on as long as it takes the service to lose patience. */
async function silentUpload(service: TestService): Promise<Met> {
  const { server } = service.application.server;
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const path = '/v1/images/vm/data';
    const head = `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-511/*\r\nContent-Length: 512\r\n\r\n`;
    let isOver = false;
    const exchanged = exchange(server, `${head}silence`, { waitMs: 2 ** 31 - 1 }).then((answer) => {
      isOver = true;
      return answer;
    });
    while (!isOver) {
      for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
      mock.timers.tick(bodyPatience.idleMsMax);
    }
    const { status, headers, body } = await exchanged;
    assert.equal(headers.get('connection'), 'close', 'whoever has let us wait is not waited for any more');
    expectDocumented({ method: 'PUT', path, status, headers: Object.fromEntries(headers), body });
    return metAs(status, JSON.parse(body));
  } finally {
    mock.timers.reset();
  }
}

/** Whatever is flushed meanwhile fails, as on a broken disk or a full one. */
async function withBrokenFlush(code: 'EIO' | 'ENOSPC', act: () => Promise<Response>): Promise<Response> {
  const broken = mock.method(fs, 'fdatasyncSync', () => {
    throw Object.assign(new Error(`${code}: fdatasync`), { code, syscall: 'fdatasync' });
  });
  syncBuiltinESMExports();
  try {
    return await act();
  } finally {
    broken.mock.restore();
    syncBuiltinESMExports();
  }
}

/** Changes an image's file while the service has handed it over. */
export async function changeFile(service: TestService, id: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  await service.post(`/v1/images/${id}/detach`).expect(200);
  const path = join(service.folder, 'images', `${id}.qcow2`);
  fs.writeFileSync(path, change(fs.readFileSync(path)));
  await service.post(`/v1/images/${id}/attach`).expect(200);
}

/** Leaves an overlay of clusters of 512 bytes no room for a backing name of more than one letter. */
function fillHeader(bytes: Buffer): Buffer {
  const headerLength = bytes.readUInt32BE(100);
  bytes.fill(0, headerLength, 512);
  const nameAt = 511;
  bytes.writeUInt32BE(unknownExtension, headerLength);
  bytes.writeUInt32BE(nameAt - headerLength - 16 - ((nameAt - headerLength) % 8), headerLength + 4);
  bytes.write('b', nameAt, 'latin1');
  bytes.writeBigUInt64BE(BigInt(nameAt), 8);
  bytes.writeUInt32BE(1, 16);
  return bytes;
}

/** An extension that nobody knows is kept as it is. */
const unknownExtension = 0x1234_5678;

const snapshotCountMax = 65_536;

/** Its bitmap was in use when its program ended. */
function withBitmapInUse(): Uint8Array {
  const draft = soundImage(commonChoice);
  setUint32(draft, at(draft, place.bitmapDirectory, 12), 1);
  return draft.bytes;
}

/** As many snapshots as the format allows, of an image without content: none of them has an L1 table. */
export function addSnapshots(bytes: Buffer): Buffer {
  const entryLength = 72;
  const table = Buffer.alloc(snapshotCountMax * entryLength);
  for (let index = 0; index < snapshotCountMax; index += 1) {
    const start = index * entryLength;
    const id = String(100_000 + index);
    table.writeUInt16BE(id.length, start + 12);
    table.writeUInt16BE(id.length, start + 14);
    table.writeUInt32BE(16, start + 36);
    table.write(`${id}${id}`, start + 56, 'latin1');
  }
  const clusterSize = 2 ** bytes.readUInt32BE(20);
  const tableAt = Math.ceil(bytes.length / clusterSize) * clusterSize;
  bytes.writeUInt32BE(snapshotCountMax, 60);
  bytes.writeBigUInt64BE(BigInt(tableAt), 64);
  return Buffer.concat([bytes, Buffer.alloc(tableAt - bytes.length), table]);
}
