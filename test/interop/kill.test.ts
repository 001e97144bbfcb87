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
/** How often the process is killed. In CI there is time for four; `ROUNDS=20` takes a longer look. */
const rounds = Number(process.env['ROUNDS'] ?? 4);
const names = ['vm1', 'vm2'] as const;
/** Each writer has slots of its own, so that what a slot holds is what its writer was last answered. */
const writersPerImage = 2;
const slotLength = 64 * 1024;
const slotCount = 64;
/** Exit codes of `qemu-img check` (CHK-14): clean, or leaks. */
const soundExits: readonly number[] = [0, 3];

describe(`a process that is killed, seed ${seed}`, () => {
  test('has everything that it answered, and nothing half made', { timeout: 60_000 * (rounds + 1) }, async () => {
    const prng = new Prng(seed);
    using folder = tempFolder();
    const data = join(folder.path, 'data');
    const cloud = join(folder.path, 'cloud.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', cloud, '64M');
    qemuIo(cloud, ['write -P 7 1M 12M'], { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });

    // Most of a round is the start of the process. One that ends in order leaves its compiled code to the others.
    const settings = {
      QCOWD_DATA_DIR: data,
      QCOWD_ENGINE_THREADS: '2',
      NODE_COMPILE_CACHE: join(folder.path, 'code'),
    };
    await (await startService(settings)).end('SIGTERM');

    const logs = names.map((name): ImageLog => ({ name, slots: emptySlots(), unanswered: undefined }));
    for (let round = 0; round <= rounds; round += 1) {
      await using service = await startService(settings);
      if (round === 0) {
        for (const name of names) {
          await post(service, '/v1/images', { name, virtualSize: slotLength * slotCount, lazyRefcounts: isLazy(name) });
        }
      }
      for (const log of logs) await judge(service, log);
      for (const log of logs) await repeatUnanswered(service, log);
      await judgeFiles(service, data);
      if (round === rounds) return;
      const work = Promise.allSettled([
        ...logs.flatMap((log) => writersOf(service, log, new Prng(seed * 31 + round))),
        ...logs.map((log) => changeStructure(service, round, log)),
        importFiles(service, round, cloud),
      ]);
      await pause(50 + prng.below(400));
      const exit = once(service.child, 'exit');
      service.child.kill('SIGKILL');
      await exit;
      await work;
    }
  });
});

/** What a slot was last answered to hold, and what it may hold since. */
interface Slot {
  durable: number;
  tried: Set<number>;
}

/** What was asked of an image, kept here and not in the service. */
interface ImageLog {
  readonly name: string;
  readonly slots: readonly Slot[];
  /** The last snapshot that was asked for and not answered yet; its name is in its key. */
  unanswered: string | undefined;
}

function emptySlots(): readonly Slot[] {
  return Array.from({ length: slotCount }, () => ({ durable: 0, tried: new Set([0]) }));
}

function writersOf(service: ServiceProcess, log: ImageLog, prng: Prng): readonly Promise<void>[] {
  return Array.from({ length: writersPerImage }, (_, writer) => writeSlots(service, log, { writer, prng }));
}

/** Writes slots one after another until the process is gone. */
async function writeSlots(
  service: ServiceProcess,
  { name, slots }: ImageLog,
  { writer, prng }: { readonly writer: number; readonly prng: Prng },
): Promise<void> {
  for (let value = 1; ; value = (value % 250) + 1) {
    const index = prng.below(slotCount / writersPerImage) * writersPerImage + writer;
    const slot = slots[index];
    assert.ok(slot !== undefined);
    slot.tried.add(value);
    const first = index * slotLength;
    const answer = await fetch(`${service.url}/v1/images/${name}/data`, {
      method: 'PUT',
      headers: { 'content-range': `bytes ${first}-${first + slotLength - 1}/*` },
      body: Buffer.alloc(slotLength, value),
    });
    assert.equal(answer.status, 204);
    slot.durable = value;
    slot.tried = new Set([value]);
  }
}

async function changeStructure(service: ServiceProcess, round: number, log: ImageLog): Promise<void> {
  for (let turn = 0; ; turn += 1) {
    const snapshot = `s-${round}-${turn}`;
    log.unanswered = snapshot;
    await takeSnapshot(service, log.name, snapshot);
    log.unanswered = undefined;
    const virtualSize = slotLength * slotCount + turn * MiB;
    await post(service, `/v1/images/${log.name}/resize`, { virtualSize, allowShrink: true });
    if (turn % 2 === 0) {
      await fetch(`${service.url}/v1/images/${log.name}/snapshots/${snapshot}`, { method: 'DELETE' });
    }
  }
}

async function takeSnapshot(service: ServiceProcess, image: string, name: string): Promise<void> {
  await post(service, `/v1/images/${image}/snapshots`, { name }, { 'idempotency-key': `${image}-${name}` });
}

/** Taken before the kill or not, a snapshot that is asked for again with its key is there once. */
async function repeatUnanswered(service: ServiceProcess, log: ImageLog): Promise<void> {
  if (log.unanswered === undefined) return;
  await takeSnapshot(service, log.name, log.unanswered);
  const answer = await fetch(`${service.url}/v1/images/${log.name}/snapshots?limit=1000`);
  const { items } = (await answer.json()) as { readonly items: readonly { readonly name: string }[] };
  const taken = items.filter(({ name }) => name === log.unanswered);
  assert.equal(taken.length, 1, `seed ${seed}, ${log.name}: ${log.unanswered}`);
  await fetch(`${service.url}/v1/images/${log.name}/snapshots/${log.unanswered}`, { method: 'DELETE' });
  log.unanswered = undefined;
}

async function importFiles(service: ServiceProcess, round: number, path: string): Promise<void> {
  const bytes = readFileSync(path);
  for (let turn = 0; ; turn += 1) {
    const name = `import-${round}-${turn}`;
    await fetch(`${service.url}/v1/imports/${name}`, { method: 'PUT', body: bytes });
    await fetch(`${service.url}/v1/images/${name}`, { method: 'DELETE' });
  }
}

/** Each slot holds one value throughout: the last durable one, or one that was under way. */
async function judge(service: ServiceProcess, { name, slots }: ImageLog): Promise<void> {
  const answer = await fetch(`${service.url}/v1/images/${name}/data`);
  assert.equal(answer.status, 200);
  const disk = Buffer.from(await answer.arrayBuffer());
  for (const [index, slot] of slots.entries()) {
    const bytes = disk.subarray(index * slotLength, (index + 1) * slotLength);
    const values = new Set(bytes);
    for (const value of values) {
      assert.ok(
        slot.tried.has(value) || value === slot.durable,
        `seed ${seed}, ${name}: slot ${index} holds ${value}, never written there`,
      );
    }
    // One write of one cluster may be torn only while it was not answered.
    if (slot.tried.size === 1) assert.deepEqual([...values], [slot.durable], `seed ${seed}, ${name}: slot ${index}`);
    slot.tried = new Set([slot.durable, ...values]);
  }
}

/** Every file belongs to an image that answers, and QEMU finds no corruption in it. */
async function judgeFiles(service: ServiceProcess, data: string): Promise<void> {
  const listed = await fetch(`${service.url}/v1/images?limit=1000`);
  const { items } = (await listed.json()) as {
    readonly items: readonly { readonly id: string; readonly name: string; state: string }[];
  };
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
  for (const { id, name } of items) {
    const answer = await fetch(`${service.url}/v1/images/${id}/data`, { headers: { range: 'bytes=0-511' } });
    assert.equal(answer.status, 206);
    await answer.arrayBuffer();
    const report = await post(service, `/v1/images/${id}/check`, {});
    assert.deepEqual([report['corruptions'], report['checkErrors']], [0, 0], `seed ${seed}, ${id}`);
    // While it is open, the refcounts of a lazy image may be behind.
    if (isLazy(name)) await post(service, `/v1/images/${id}/detach`, {});
    const { exit, stderr } = runTool(
      'qemu-img',
      ['check', '-U', '-f', 'qcow2', join(data, 'images', `${id}.qcow2`)],
      '',
    );
    assert.ok(soundExits.includes(exit), `seed ${seed}, ${id}: ${exit} ${stderr}`);
    if (isLazy(name)) await post(service, `/v1/images/${id}/attach`, {});
    if (name.startsWith('import-')) await fetch(`${service.url}/v1/images/${id}`, { method: 'DELETE' });
  }
}

/** One of the images has refcounts that are written later, and that a crash leaves behind. */
function isLazy(name: string): boolean {
  return name === names.at(-1);
}

async function post(
  service: ServiceProcess,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(`${service.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${path}: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}
