// A process that is killed: a client whose changes were not flushed learns it, and a lease still keeps others out.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

const watchdog = { timeout: 120_000 };
type Headers = Readonly<Record<string, string>>;

async function post(service: ServiceProcess, path: string, body: object, headers: Headers = {}): Promise<Response> {
  return fetch(`${service.url}/v1/images${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

async function put(service: ServiceProcess, query: string, headers: Headers): Promise<Response> {
  return fetch(`${service.url}/v1/images/vm/data${query}`, {
    method: 'PUT',
    headers: { 'content-range': 'bytes 0-511/*', ...headers },
    body: Buffer.alloc(512, 7),
  });
}

test(
  'what was not flushed when the process was killed is told by the write epoch; a lease goes on',
  watchdog,
  async () => {
    using folder = tempFolder();
    const settings = { QCOWD_DATA_DIR: folder.path };
    const killed = await startService(settings);
    assert.equal((await post(killed, '', { name: 'vm', virtualSize: 1_048_576 })).status, 201);
    const lease = (await (await post(killed, '/vm/leases', { mode: 'exclusive' })).json()) as Record<string, unknown>;
    const claim = { 'lease-id': String(lease['id']), 'fencing-token': '1' };
    const written = await put(killed, '?flush=false', claim);
    const epoch = written.headers.get('write-epoch');
    assert.equal(written.status, 204);
    assert.ok(epoch !== null);
    const flushed = await post(killed, '/vm/flush', { writeEpoch: epoch });
    assert.deepEqual([flushed.status, flushed.headers.get('write-epoch')], [204, epoch]);
    assert.equal((await put(killed, '?flush=false', claim)).headers.get('write-epoch'), epoch);
    const exit = once(killed.child, 'exit');
    killed.child.kill('SIGKILL');
    await exit;

    await using service = await startService(settings);
    const lost = await post(service, '/vm/flush', { writeEpoch: epoch });
    const problem = (await lost.json()) as Record<string, unknown>;
    assert.deepEqual([lost.status, problem['code']], [409, 'writes-lost']);
    assert.notEqual(problem['writeEpoch'], epoch);
    assert.equal((await put(service, '', {})).status, 423);
    const again = await put(service, '?flush=false', claim);
    assert.deepEqual([again.status, again.headers.get('write-epoch')], [204, problem['writeEpoch']]);
    assert.equal((await post(service, '/vm/flush', { writeEpoch: problem['writeEpoch'] })).status, 204);
    await post(service, '/vm/leases/break', {});
    const next = (await (await post(service, '/vm/leases', { mode: 'exclusive' })).json()) as Record<string, unknown>;
    assert.equal(next['fencingToken'], 2);
  },
);
