// The memory of the process does not grow with the size of an image, nor much with readers that do not take what they
// asked for. `npm run test:memory` looks with the sizes of the promise, more in one request than QEMU takes (LIM-09); in
// between smaller ones do.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { GiB, KiB, MiB } from '../../src/base/units.ts';
import { download, transfer, upload } from '../support/bulk-transfer.ts';
import { peakBytes, residentBytes } from '../support/process-memory.ts';
import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

const isLong = process.env['MEMORY'] === 'long';
const sizes = isLong ? { small: 256 * MiB, large: 4 * GiB } : { small: 64 * MiB, large: 512 * MiB };

/** How much more than a small image a large one may take. */
const growthMax = 32 * MiB;
/** The most that a service ever takes to bring images in and out. */
const peakMax = 300 * MiB;

const readerCount = 64;
const readersGrowthMax = 128 * MiB;

describe('memory', { timeout: 1_800_000 }, () => {
  test('does not grow with what comes in and goes out', async (context) => {
    const small = await peakOfTransfers(context, sizes.small);
    const large = await peakOfTransfers(context, sizes.large);
    assert.ok(large - small <= growthMax, `${mib(large)} with a large image, ${mib(small)} with a small one`);
    assert.ok(large <= peakMax, `${mib(large)} at the most`);
  });

  test(`grows by little for ${readerCount} readers that do not take what they asked for`, async (context) => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: join(folder.path, 'data') });
    await create(service, { name: 'large', size: 2 * GiB });
    // What the first answers load once is no growth.
    await create(service, { name: 'small', size: 8 * MiB });
    for (const path of ['data', 'file']) await download(`${service.url}/v1/images/small/${path}`);
    await untilSettled(service.child);
    const before = residentBytes(service.child);
    const readers = Array.from({ length: readerCount }, (_, index) =>
      beginToRead(service, index % 2 === 0 ? '/v1/images/large/data' : '/v1/images/large/file'),
    );
    await Promise.all(readers);
    for (let round = 0; round < 20; round += 1) {
      await pause(100);
      for (const reader of readers) (await reader).read(4 * KiB);
    }
    const growth = peakBytes(service.child) - before;
    context.diagnostic(`${readerCount} slow readers: ${mib(growth)} more than the ${mib(before)} before`);
    assert.ok(growth <= readersGrowthMax, `it grew by ${mib(growth)}`);

    const answer = await fetch(`${service.url}/v1/images/large/data`, { headers: { range: 'bytes=0-65535' } });
    assert.equal((await answer.arrayBuffer()).byteLength, 65_536, 'somebody else is answered meanwhile');
    for (const reader of readers) (await reader).destroy();
  });
});

/** The threads start one after the other, behind the first answers: until they are there, memory grows without readers. */
async function untilSettled(child: ServiceProcess['child']): Promise<void> {
  for (let before = 0, now = residentBytes(child); now - before > MiB; now = residentBytes(child)) {
    before = now;
    await pause(1_500);
  }
}

/** The peak of a process that takes an image of this size in and gives it out, in every way. */
async function peakOfTransfers(context: TestContext, size: number): Promise<number> {
  using folder = tempFolder();
  await using service = await startService({ QCOWD_DATA_DIR: join(folder.path, 'data') });
  const { url, child } = service;
  const noteOf = async (what: string, work: () => Promise<void>): Promise<void> => {
    await work();
    context.diagnostic(`${mib(size)}, ${what}: at most ${mib(peakBytes(child))}`);
  };
  await untilSettled(child);
  context.diagnostic(`${mib(size)}, started: ${mib(residentBytes(child))}`);

  await noteOf('raw zeroes in', async () => {
    const zeroes = { piece: Buffer.alloc(1 * MiB), count: size / MiB };
    assert.equal(await upload(`${url}/v1/imports/zeroes?format=raw`, zeroes), 201);
  });
  await noteOf('raw bytes in', async () => {
    const bytes = { piece: randomBytes(1 * MiB), count: isLong ? size / MiB : size / 4 / MiB };
    assert.equal(await upload(`${url}/v1/imports/bytes?format=raw`, bytes), 201);
    await remove(service, 'bytes');
  });
  await create(service, { name: 'source', size });
  await noteOf('qcow2 out and in', async () => {
    assert.equal(await transfer(`${url}/v1/images/source/file`, `${url}/v1/imports/copy`), 201);
    await remove(service, 'copy');
  });
  await noteOf('raw out', async () => {
    assert.equal(await download(`${url}/v1/images/zeroes/file?format=raw`), size);
  });
  return peakBytes(child);
}

/** Every cluster is there, and costs no space on disk. */
async function create({ url }: ServiceProcess, image: { readonly name: string; readonly size: number }): Promise<void> {
  const answer = await fetch(`${url}/v1/images`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'prefer': 'wait=60' },
    body: JSON.stringify({ name: image.name, virtualSize: image.size, preallocation: 'metadata' }),
  });
  assert.equal(answer.status, 201, await answer.text());
}

async function remove({ url }: ServiceProcess, name: string): Promise<void> {
  const answer = await fetch(`${url}/v1/images/${name}`, { method: 'DELETE' });
  assert.equal(answer.status, 204);
}

/** A connection on which an answer has begun; nobody reads it. */
async function beginToRead({ url }: ServiceProcess, path: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await once(socket, 'readable');
  const head = String(socket.read(12));
  assert.equal(head, 'HTTP/1.1 200');
  return socket;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MiB)} MiB`;
}
