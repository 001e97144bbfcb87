// A running service whose files may not grow beyond a size, as on a full disk: what it leaves is sound for QEMU.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { checkImage, qemuIo } from '../support/qemu-img.ts';
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
  });
});

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
