// A running service whose files may not grow beyond a size, as on a full disk: what it leaves is sound for QEMU.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { Prng } from '../support/prng.ts';
import { checkImage, qemuIo, runTool } from '../support/qemu-img.ts';
import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** What one file may hold; the catalog stays far below it. */
const fileLengthMax = 4 * MiB;
const slot = 64 * KiB;

describe('a service whose files cannot grow', () => {
  test('says so, keeps what it answered, and leaves what QEMU finds sound', { timeout: 180_000 }, async () => {
    using folder = tempFolder();
    const settings = { QCOWD_DATA_DIR: join(folder.path, 'data') };
    const fileOf = (id: string): string => join(folder.path, 'data/images', `${id}.qcow2`);
    let kept = 0;
    let id = '';
    {
      await using service = await startService(settings, { fileLengthMax });
      id = String((await post(service, '/v1/images', { name: 'vm', virtualSize: 64 * MiB }, 201))['id']);
      while ((await put(service, kept * slot, kept + 1)).status === 204) kept += 1;
      assert.ok(kept > 40 && kept < 64, `${kept} slots fit into ${fileLengthMax} bytes`);
      const full = await put(service, 32 * MiB, 200);
      const problem = (await full.json()) as { readonly code: string };
      assert.deepEqual([full.status, problem.code], [507, 'insufficient-storage']);
      await judge(service, kept);

      // Nothing is left of an import that does not fit.
      const large = await fetch(`${service.url}/v1/imports/large?format=raw`, {
        method: 'PUT',
        body: Buffer.alloc(6 * MiB, 1),
      });
      assert.equal(large.status, 507, await large.text());
      assert.deepEqual(readdirSync(join(folder.path, 'data/images')), [`${id}.qcow2`]);
      assert.deepEqual(readdirSync(join(folder.path, 'data/staging')), []);

      await overflow(service, folder.path);

      // As it is handed over while it is full, so QEMU finds it.
      await post(service, '/v1/images/vm/detach', {}, 200);
      assertSilent(fileOf(id));
      await post(service, '/v1/images/vm/attach', {}, 200);

      // What a guest gives up makes room.
      await post(service, '/v1/images/vm/discard', { offset: 0, length: 8 * slot }, 204);
      assert.equal((await put(service, 32 * MiB, 201)).status, 204);
      assert.equal(await service.end('SIGTERM'), 0);
    }
    assertSilent(fileOf(id));
    const reads = Array.from({ length: kept - 8 }, (_, index) => `read -P ${index + 9} ${(index + 8) * slot} ${slot}`);
    qemuIo(fileOf(id), [`read -P 0 0 ${8 * slot}`, ...reads, `read -P 201 32M ${slot}`], {
      format: 'qcow2',
      readOnly: true,
      syncs: false,
      discard: 'unmap',
    });
    await using service = await startService(settings);
    assert.equal((await put(service, 40 * MiB, 202)).status, 204);
    await fitNow(service, folder.path);
  });
});

/** Bytes that do not shrink, and that fill a file but for a quarter. */
const filling = new Prng(1).bytes(3 * MiB);
const diskLength = 8 * MiB;
const secondHalf = 4 * MiB;
/** What needs more room than one file may have: by name of its image, how it is asked for, and what it gives with room. */
const tooLarge = {
  flat: { path: '/v1/images/flat/flatten', body: {} },
  moved: { path: '/v1/images/moved/rebase', body: { backing: { image: 'nothing' } } },
  upper: { path: '/v1/images/upper/commit', body: {} },
  source: { path: '/v1/images/source/copy', body: { name: 'copied' } },
  grown: { path: '/v1/images/grown/resize', body: { virtualSize: 2 * diskLength, preallocation: 'falloc' } },
} as const;
const overlays = { flat: 'base', moved: 'base', source: 'base', upper: 'lower' } as const;

/** Each verb that needs room is refused for want of it, and changes nothing that anybody sees. */
async function overflow(service: ServiceProcess, folder: string): Promise<void> {
  for (const name of ['base', 'lower', 'nothing', 'grown', 'state']) {
    await post(service, '/v1/images', { name, virtualSize: diskLength }, 201);
    if (name !== 'nothing') await putAt(service, name, 0);
  }
  for (const [name, image] of Object.entries(overlays)) {
    await post(service, '/v1/images', { name, backing: { image } }, 201);
    await putAt(service, name, secondHalf);
  }
  await post(service, '/v1/images/state/snapshots', { name: 's' }, 201);
  for (const [name, { path, body }] of Object.entries(tooLarge)) {
    const problem = await post(service, path, body, 507);
    assert.equal(problem['code'], 'insufficient-storage', name);
  }
  // The first image is full to its end: not even a table fits.
  await post(service, '/v1/images/vm/amend', { refcountBits: 64 }, 507);
  await post(service, '/v1/images/vm/bitmaps', { name: 'b', granularity: 512 }, 507);
  assert.equal((await saveState(service)).status, 507);
  const packed = await fetch(`${service.url}/v1/imports/packed?format=raw&compress=true`, {
    ...{ method: 'PUT', body: Buffer.concat([filling, new Prng(2).bytes(3 * MiB)]) },
  });
  assert.equal(packed.status, 507, await packed.text());
  await judgeDisks(service, folder);
}

/** With room again each of them does what it was asked for. */
async function fitNow(service: ServiceProcess, folder: string): Promise<void> {
  for (const { path, body } of Object.values(tooLarge)) {
    await post(service, path, body, path.endsWith('/copy') ? 201 : 200);
  }
  await post(service, '/v1/images/vm/amend', { refcountBits: 64 }, 200);
  await post(service, '/v1/images/vm/bitmaps', { name: 'b', granularity: 512 }, 201);
  assert.equal((await saveState(service)).status, 204);
  await judgeDisks(service, folder);
}

async function saveState(service: ServiceProcess): Promise<Response> {
  return fetch(`${service.url}/v1/images/state/snapshots/s/vmstate`, {
    method: 'PUT',
    body: filling.slice(0, 2 * MiB),
  });
}

/** Every disk holds what it held, every file has its row, and QEMU finds nothing in any of them. */
async function judgeDisks(service: ServiceProcess, folder: string): Promise<void> {
  for (const name of Object.keys(overlays)) {
    const answer = await fetch(`${service.url}/v1/images/${name}/data`);
    const disk = Buffer.from(await answer.arrayBuffer());
    assert.ok(disk.subarray(0, filling.length).equals(filling), `${name}: what comes from below`);
    assert.ok(disk.subarray(secondHalf, secondHalf + filling.length).equals(filling), `${name}: what is its own`);
  }
  const page = (await (await fetch(`${service.url}/v1/images?limit=1000`)).json()) as {
    readonly items: readonly { readonly id: string; readonly state: string }[];
  };
  const files = page.items.map(({ id }) => `${id}.qcow2`);
  assert.deepEqual(readdirSync(join(folder, 'data/images')).toSorted(), files.toSorted());
  assert.deepEqual(readdirSync(join(folder, 'data/staging')), []);
  for (const { id } of page.items) {
    const report = await post(service, `/v1/images/${id}/check`, {}, 200);
    assert.deepEqual([report['corruptions'], report['leaks']], [0, 0], id);
  }
  for (const file of files) {
    const { exit, stderr } = runTool('qemu-img', ['check', '-U', '-f', 'qcow2', join(folder, 'data/images', file)], '');
    assert.equal(exit, 0, stderr);
  }
}

async function putAt(service: ServiceProcess, name: string, offset: number): Promise<void> {
  const answer = await fetch(`${service.url}/v1/images/${name}/data`, {
    method: 'PUT',
    headers: { 'content-range': `bytes ${offset}-${offset + filling.length - 1}/*` },
    body: filling,
  });
  assert.equal(answer.status, 204, `${name}: ${await answer.text()}`);
}

async function put(service: ServiceProcess, offset: number, value: number): Promise<Response> {
  return fetch(`${service.url}/v1/images/vm/data`, {
    method: 'PUT',
    headers: { 'content-range': `bytes ${offset}-${offset + slot - 1}/*` },
    body: Buffer.alloc(slot, value),
  });
}

async function judge(service: ServiceProcess, kept: number): Promise<void> {
  const answer = await fetch(`${service.url}/v1/images/vm/data`, { headers: { range: `bytes=0-${kept * slot - 1}` } });
  assert.equal(answer.status, 206);
  const bytes = Buffer.from(await answer.arrayBuffer());
  for (let index = 0; index < kept; index += 1) {
    const expected = Buffer.alloc(slot, index + 1);
    assert.ok(bytes.subarray(index * slot, (index + 1) * slot).equals(expected), `slot ${index}`);
  }
}

async function post(
  service: ServiceProcess,
  path: string,
  body: object,
  status: number,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(`${service.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.equal(answer.status, status, `${path}: ${text}`);
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
}

function assertSilent(path: string): void {
  const { exit, json, stderr } = checkImage(path, 'none');
  assert.deepEqual({ exit, stderr }, { exit: 0, stderr: '' }, JSON.stringify(json));
}
