// A process that is killed in the middle of its work: what was answered as durable is there, and QEMU finds no corruption.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { MiB } from '../../src/base/units.ts';
import { Prng } from '../support/prng.ts';
import { qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(performance.now() * 1000) % 1_000_000);
const rounds = 5;
const slotLength = 64 * 1024;
const slotCount = 64;
/** Exit codes of `qemu-img check` (CHK-14): clean, or leaks. */
const soundExits: readonly number[] = [0, 3];

describe(`a process that is killed, seed ${seed}`, () => {
  test('has everything that it answered, and nothing half made', { timeout: 300_000 }, async () => {
    const prng = new Prng(seed);
    using folder = tempFolder();
    const data = join(folder.path, 'data');
    const cloud = join(folder.path, 'cloud.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', cloud, '64M');
    qemuIo(cloud, ['write -P 7 1M 12M'], { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });

    /** What each slot of the image was last answered to hold, and what it may hold since. */
    const slots = Array.from({ length: slotCount }, () => ({ durable: 0, tried: new Set<number>([0]) }));
    for (let round = 0; round <= rounds; round += 1) {
      await using service = await startService({ QCOWD_DATA_DIR: data });
      if (round === 0) {
        await post(service, '/v1/images', { name: 'vm1', virtualSize: slotLength * slotCount });
      }
      await judge(service, slots);
      await judgeFiles(service, data);
      if (round === rounds) return;
      const work = Promise.allSettled([
        writeSlots(service, slots, new Prng(seed * 31 + round)),
        changeStructure(service, round),
        importFiles(service, round, cloud),
      ]);
      await pause(150 + prng.below(900));
      const exit = once(service.child, 'exit');
      service.child.kill('SIGKILL');
      await exit;
      await work;
    }
  });
});

interface Slot {
  durable: number;
  tried: Set<number>;
}

/** Writes slots one after another until the process is gone. */
async function writeSlots(service: ServiceProcess, slots: readonly Slot[], prng: Prng): Promise<void> {
  for (let value = 1; ; value = (value % 250) + 1) {
    const index = prng.below(slotCount);
    const slot = slots[index];
    assert.ok(slot !== undefined);
    slot.tried.add(value);
    const first = index * slotLength;
    const answer = await fetch(`${service.url}/v1/images/vm1/data`, {
      method: 'PUT',
      headers: { 'content-range': `bytes ${first}-${first + slotLength - 1}/*` },
      body: Buffer.alloc(slotLength, value),
    });
    assert.equal(answer.status, 204);
    slot.durable = value;
    slot.tried = new Set([value]);
  }
}

async function changeStructure(service: ServiceProcess, round: number): Promise<void> {
  for (let turn = 0; ; turn += 1) {
    const name = `s-${round}-${turn}`;
    await post(service, '/v1/images/vm1/snapshots', { name });
    const virtualSize = slotLength * slotCount + turn * MiB;
    await post(service, '/v1/images/vm1/resize', { virtualSize, allowShrink: true });
    if (turn % 2 === 0) await fetch(`${service.url}/v1/images/vm1/snapshots/${name}`, { method: 'DELETE' });
  }
}

async function importFiles(service: ServiceProcess, round: number, path: string): Promise<void> {
  const bytes = readFileSync(path);
  for (let turn = 0; ; turn += 1) {
    const name = `import-${round}-${turn}`;
    await fetch(`${service.url}/v1/imports/${name}`, { method: 'PUT', body: bytes });
    if (turn % 2 === 0) await fetch(`${service.url}/v1/images/${name}`, { method: 'DELETE' });
  }
}

/** Each slot holds one value throughout: the last durable one, or one that was under way. */
async function judge(service: ServiceProcess, slots: readonly Slot[]): Promise<void> {
  const answer = await fetch(`${service.url}/v1/images/vm1/data`);
  assert.equal(answer.status, 200);
  const disk = Buffer.from(await answer.arrayBuffer());
  for (const [index, slot] of slots.entries()) {
    const bytes = disk.subarray(index * slotLength, (index + 1) * slotLength);
    const values = new Set(bytes);
    for (const value of values) {
      assert.ok(slot.tried.has(value) || value === slot.durable, `slot ${index} holds ${value}, never written there`);
    }
    // One write of one cluster may be torn only while it was not answered.
    if (slot.tried.size === 1) assert.deepEqual([...values], [slot.durable], `slot ${index}`);
    slot.tried = new Set([slot.durable, ...values]);
  }
}

/** Every file belongs to an image that answers, and QEMU finds no corruption in it. */
async function judgeFiles(service: ServiceProcess, data: string): Promise<void> {
  const listed = await fetch(`${service.url}/v1/images?limit=1000`);
  const { items } = (await listed.json()) as { readonly items: readonly { readonly id: string; state: string }[] };
  assert.deepEqual(
    items.filter(({ state }) => state !== 'ready'),
    [],
  );
  assert.deepEqual(
    readdirSync(join(data, 'images')).toSorted(),
    items.map(({ id }) => `${id}.qcow2`).toSorted(),
    'every file has its row, and every row its file',
  );
  assert.deepEqual(readdirSync(join(data, 'staging')), []);
  for (const { id } of items) {
    const answer = await fetch(`${service.url}/v1/images/${id}/data`, { headers: { range: 'bytes=0-511' } });
    assert.equal(answer.status, 206);
    await answer.arrayBuffer();
    const report = await post(service, `/v1/images/${id}/check`, {});
    assert.deepEqual([report['corruptions'], report['checkErrors']], [0, 0], `seed ${seed}, ${id}`);
    const { exit, stderr } = runTool(
      'qemu-img',
      ['check', '-U', '-f', 'qcow2', join(data, 'images', `${id}.qcow2`)],
      '',
    );
    assert.ok(soundExits.includes(exit), `seed ${seed}, ${id}: ${exit} ${stderr}`);
  }
}

async function post(service: ServiceProcess, path: string, body: unknown): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(`${service.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}
