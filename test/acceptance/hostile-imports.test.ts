// Hostile images over HTTP: each is answered soon, in little memory, leaves nothing, and holds nobody up.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { KiB, MiB } from '../../src/base/units.ts';
import type { HostileImage } from '../support/hostile-headers.ts';
import { hostileImages } from '../support/hostile-images.ts';
import { residentBytes } from '../support/process-memory.ts';
import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { pattern } from '../support/test-service.ts';

/** Only a watchdog: an answer takes a fraction of a second of processor time, on a machine that has others to serve. */
const patienceMs = 10_000;
/** By one image, for the whole process, garbage included; and by all of them, one after the other. */
const memoryGrowthMax = 64 * MiB;
/** So many images are sent at the same time. */
const atOnce = 4;
/** What is shorter holds no table that could become large. */
const largeLength = 128 * KiB;

const queries = ['', '?repair=all'] as const;

describe('hostile images over HTTP', () => {
  test('are refused, or taken when they are harmless, as they are and repaired', { timeout: 600_000 }, async () => {
    using folder = tempFolder();
    await using service = await startService({
      QCOWD_DATA_DIR: join(folder.path, 'data'),
      QCOWD_ENGINE_THREADS: '4',
      QCOWD_IMAGE_IDLE_MS: '200',
    });
    await makeBystander(service);
    // Some of them warm the threads up: what they load once is no growth.
    for (const query of queries) await importAll(service, query, hostileImages.slice(-30));
    const before = await settledMemory(service);
    const stop = new AbortController();
    const bystander = watchBystander(service, stop.signal);
    for (const query of queries) await importAll(service, query, hostileImages);
    stop.abort();
    assert.ok((await bystander) > 0, 'another image answered meanwhile');
    const growth = (await settledMemory(service)) - before;
    assert.ok(growth <= atOnce * memoryGrowthMax, `all of them, some at once: ${inMiB(growth)} more`);
    await importOneByOne(service);

    assert.deepEqual(await namesIn(service), ['bystander'], 'no refused image is listed');
    assert.equal(readdirSync(join(folder.path, 'data', 'images')).length, 1);
    assert.deepEqual(readdirSync(join(folder.path, 'data', 'staging')), []);
  });
});

async function makeBystander({ url }: ServiceProcess): Promise<void> {
  const created = await fetch(`${url}/v1/imports/bystander?format=raw`, { method: 'PUT', body: pattern(1 * MiB, 9) });
  assert.equal(created.status, 201);
}

/** Reads another image over and over, and compares; returns how often. */
async function watchBystander({ url }: ServiceProcess, stop: AbortSignal): Promise<number> {
  const expected = pattern(1 * MiB, 9);
  let reads = 0;
  while (!stop.aborted) {
    const at = (reads * 4096) % MiB;
    const headers = { range: `bytes=${at}-${at + 4095}` };
    const answer = await fetch(`${url}/v1/images/bystander/data`, { headers, signal: AbortSignal.timeout(patienceMs) });
    assert.equal(answer.status, 206);
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(expected.subarray(at, at + 4096)));
    reads += 1;
    await pause(2);
  }
  return reads;
}

/** Uploads every image, a few at a time; what is taken in is deleted again. */
async function importAll(service: ServiceProcess, query: string, images: readonly HostileImage[]): Promise<void> {
  const waiting = [...images.entries()];
  const worker = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [index, { id, bytes }] = next;
      await importOne(service, { name: `hostile-${index}`, id, bytes, query });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Uploads large images one after the other, and asks after each what the process has grown by. */
async function importOneByOne(service: ServiceProcess): Promise<void> {
  const large = hostileImages.filter(({ bytes }) => bytes.length >= largeLength);
  assert.ok(large.length > 10, 'some images are large');
  const start = await settledMemory(service);
  for (const [index, { id, bytes }] of large.entries()) {
    for (const query of queries) {
      const before = residentBytes(service.child);
      await importOne(service, { name: `large-${index}`, id, bytes, query });
      const growth = residentBytes(service.child) - before;
      assert.ok(growth <= memoryGrowthMax, `${id}${query}: ${inMiB(growth)} more`);
    }
  }
  const growth = (await settledMemory(service)) - start;
  assert.ok(growth <= memoryGrowthMax, `one after the other: ${inMiB(growth)} more`);
}

function inMiB(bytes: number): string {
  return `${String(Math.round(bytes / MiB))} MiB`;
}

async function importOne(
  { url }: ServiceProcess,
  image: { readonly name: string; readonly id: string; readonly bytes: Uint8Array; readonly query: string },
): Promise<void> {
  const { name, id, bytes, query } = image;
  const answer = await fetch(`${url}/v1/imports/${name}${query}`, {
    method: 'PUT',
    // However slow the machine is: the end, and not a job that goes on.
    headers: { prefer: 'wait=60' },
    body: Buffer.from(bytes),
    signal: AbortSignal.timeout(patienceMs),
  });
  const text = await answer.text();
  if (answer.status === 201) {
    await useTaken(url, name);
    return;
  }
  const problem = JSON.parse(text) as { readonly status: number; readonly code: string };
  assert.equal(answer.headers.get('content-type'), 'application/problem+json', id + query);
  assert.deepEqual([answer.status, problem.status, problem.code], [422, 422, 'unsafe-image'], `${id}${query}: ${text}`);
}

/** What was taken in can be used; what a check cannot see, as guest data that does not unpack, is said when it is met. */
async function useTaken(url: string, name: string): Promise<void> {
  const image = `${url}/v1/images/${name}`;
  const requests = [
    ['GET', '/info'],
    ['GET', '/snapshots'],
    ['GET', '/extents'],
    ['POST', '/check'],
    ['DELETE', ''],
  ] as const;
  for (const [method, path] of requests) {
    const answer = await fetch(`${image}${path}`, { method, signal: AbortSignal.timeout(patienceMs) });
    const text = await answer.text();
    if (answer.ok) continue;
    assert.equal((JSON.parse(text) as { readonly code: string }).code, 'image-corrupt', `${method} ${path}: ${text}`);
  }
}

async function namesIn({ url }: ServiceProcess): Promise<readonly string[]> {
  const answer = await fetch(`${url}/v1/images`);
  const { items } = (await answer.json()) as { readonly items: readonly { readonly name: string }[] };
  return items.map(({ name }) => name);
}

/** Bytes in memory once what is not needed any more has been given back. */
async function settledMemory(service: ServiceProcess): Promise<number> {
  let least = Infinity;
  for (let look = 0; look < 10; look += 1) {
    await pause(200);
    least = Math.min(least, residentBytes(service.child));
  }
  return least;
}
