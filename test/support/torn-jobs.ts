// Jobs that are cut at a step of their run, by a crash or by a stop, and what the next process makes of them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import type { Test } from 'supertest';

import { startBrakedService } from './braked-service.ts';
import type { Brake, BrakedService } from './braked-service.ts';
import { newImage, openHouse, readAll, writeAt } from './service-house.ts';
import { houseEngine } from './service-engine.ts';
import { tempFolder } from './temp-folder.ts';
import { pattern } from './test-service.ts';
import type { ImageBody } from './test-service.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const virtualSize = 8 * MiB;

/**
 * A data directory with the image `vm`, to be cut again and again, `beside` to compare it with, and the overlay `top` over
 * `below`, which may go over `other`.
 */
export interface Template extends Disposable {
  readonly path: string;
  readonly imageId: string;
  /** What the guest sees, and what it saw when `s` was taken. */
  readonly live: Buffer;
  readonly snapshot: Buffer;
  /** What the guest sees of `top`. */
  readonly top: Buffer;
  /** A file to import. */
  readonly file: Buffer;
}

/** How a process ends over a job: as a kill leaves the files, or in order. */
export type Ending = 'crash' | 'stop';

/** A cut job after the next start. */
export interface Torn {
  readonly state: string;
}

/** Small clusters make many tables, so that runs over them take many steps. */
export async function makeTemplate(): Promise<Template> {
  const folder = tempFolder();
  await using house = await openHouse({ engine: houseEngine, path: folder.path });
  const { services } = house;
  const options = newImage({ name: 'vm', virtualSize, clusterSize: 512, preallocation: 'metadata' });
  const { id: imageId } = await services.images.create(options);
  await services.images.create(newImage({ name: 'beside', virtualSize }));
  await writeAt(services, 'vm', 0, pattern(256 * KiB, 1));
  await writeAt(services, 'vm', 6 * MiB, pattern(256 * KiB, 2));
  await services.snapshots.create('vm', { name: 's' });
  const snapshot = await readAll(services, 'vm');
  await writeAt(services, 'vm', 128 * KiB, pattern(256 * KiB, 3));
  const live = await readAll(services, 'vm');
  for (const [name, backing] of [
    ['below', undefined],
    ['other', undefined],
    ['top', 'below'],
  ] as const) {
    await services.images.create(newImage({ name, virtualSize: MiB, clusterSize: 512, backing }));
    const seed = name.length;
    for (let at = 0; at < MiB; at += 256 * KiB)
      await writeAt(services, name, at + 1000 * seed, pattern(64 * KiB, seed));
  }
  const top = await readAll(services, 'top');
  const session = await services.exports.openExport('vm', exportOptions);
  const pieces: Uint8Array[] = [];
  for await (const piece of session.chunks({ offset: 0, length: session.length })) pieces.push(piece);
  session.close();
  return {
    path: folder.path,
    imageId,
    live,
    snapshot,
    top,
    file: Buffer.concat(pieces),
    [Symbol.dispose]: () => {
      folder[Symbol.dispose]();
    },
  };
}

const exportOptions = {
  format: 'qcow2',
  layer: 'all',
  compress: false,
  snapshot: undefined,
  signal: undefined,
} as const;

const at = '/v1/images/vm';
const span = { offset: 64 * KiB, length: 6 * MiB };

/** How each kind of job is asked for. */
const requests = {
  'create': (service) => service.post('/v1/images', { name: 'new', virtualSize: 12 * MiB, preallocation: 'full' }),
  'import': (service, { file }) => service.put('/v1/imports/new').send(file),
  'copy': (service) => service.post(`${at}/copy`, { name: 'new', compress: true }),
  'compact': (service) => service.post(`${at}/compact`),
  'grow': (service) => service.post(`${at}/resize`, { virtualSize: virtualSize + 2 * MiB, preallocation: 'metadata' }),
  'shrink': (service) => service.post(`${at}/resize`, { virtualSize: 4 * MiB, allowShrink: true }),
  'compare': (service) => service.post(`${at}/compare`, { with: 'beside' }),
  'digest': (service) => service.post(`${at}/digest`),
  'rebase': (service) => service.post('/v1/images/top/rebase', { backing: { image: 'other' } }),
  'flatten': (service) => service.post('/v1/images/top/flatten'),
  'commit': (service) => service.post('/v1/images/top/commit'),
  'check': (service) => service.post(`${at}/check`),
  'repair': (service) => service.post(`${at}/check`, { repair: 'all' }),
  'empty': (service) => service.post(`${at}/empty`),
  'amend': (service) => service.post(`${at}/amend`, { refcountBits: 64, lazyRefcounts: true }),
  'zero': (service) => service.post(`${at}/zero`, span),
  'discard': (service) => service.post(`${at}/discard`, span),
  'snapshot-create': (service) => service.post(`${at}/snapshots`, { name: 'later' }),
  'snapshot-delete': (service) => service.delete(`${at}/snapshots/s`),
  'snapshot-revert': (service) => service.post(`${at}/snapshots/s/revert`),
} as const satisfies Readonly<Record<string, (service: BrakedService, template: Template) => Test>>;

export type TornKind = keyof typeof requests;

export const tornKinds = Object.keys(requests) as readonly TornKind[];

/** Cuts a job when its run has done so many steps; undefined when it has no more than that. */
export async function tear(
  template: Template,
  cut: {
    readonly kind: TornKind;
    readonly step: number;
    readonly ending: Ending;
    /** Told the file of the image when the next process has opened it and closed it again. */
    readonly judgeFile?: (path: string) => void;
  },
): Promise<Torn | undefined> {
  const { kind, step, ending } = cut;
  using folder = tempFolder();
  const [before, after] = [join(folder.path, 'before'), join(folder.path, 'after')];
  copyFolder(template.path, before);
  const brake: Brake = { held: false };
  let path = before;
  let jobId: string;
  {
    await using service = await startBrakedService(before, brake);
    // The image is open and mended before anything is held.
    await service.post(`/v1/images/${isOfChain(kind) ? 'top' : 'vm'}/flush`, {}).expect(204);
    brake.heldAt = step;
    const state = { answered: false };
    // Done with a lease, which lives on: a repair that begins again is still its holder's.
    const lease = kind === 'repair' ? await service.house.services.leases.acquire('vm', leaseOptions) : undefined;
    const asked = requests[kind](service, template)
      .set('Prefer', 'wait=60')
      .set(lease === undefined ? {} : { 'Lease-Id': lease.id })
      .then((answer) => {
        state.answered = true;
        return answer;
      });
    while (!state.answered && brake.reached !== true) await pause(2);
    if (state.answered) return undefined;
    service.house.services.jobs.letGo();
    const answer = await asked;
    assert.equal(answer.status, 202, answer.text);
    jobId = (answer.body as { readonly id: string }).id;
    if (ending === 'crash') {
      copyFolder(before, after);
      path = after;
    } else {
      setImmediate(() => (brake.heldAt = undefined));
    }
    // The other life of a crashed one ends as well, in its own folder.
    if (ending === 'crash') brake.heldAt = undefined;
  }
  const state = await judge(path, { template, kind, jobId });
  cut.judgeFile?.(join(path, 'images', `${template.imageId}.qcow2`));
  return { state };
}

const leaseOptions = { mode: 'exclusive', ttlMs: 600_000, owner: undefined, key: undefined } as const;

/** What every kind may lead to after a restart. */
async function judge(
  path: string,
  torn: { readonly template: Template; readonly kind: TornKind; readonly jobId: string },
): Promise<string> {
  const { template, kind, jobId } = torn;
  await using service = await startBrakedService(path);
  const ended = await service.get(`/v1/jobs/${jobId}?wait=60`).expect(200);
  const job = ended.body as { state: string; result?: object; problem?: { code: string } };
  const done = job.state === 'succeeded';
  if (!done) assert.deepEqual([job.state, job.problem?.code], ['failed', 'job-interrupted'], kind);
  if (isOfChain(kind)) {
    await judgeChain(service, { template, kind, done });
  } else {
    await judgeImage(service, { template, kind, done });
    await judgeNew(service, { kind, done });
  }
  const { catalog, failures } = service.house;
  for (const name of isOfChain(kind) ? ['top', 'below'] : ['vm']) {
    const report = await service.post(`/v1/images/${name}/check`).expect(200);
    const { corruptions, checkErrors } = report.body as { corruptions: number; checkErrors: number };
    assert.deepEqual([corruptions, checkErrors], [0, 0], name);
    assert.equal((await catalog.findImage(name))?.structural, undefined, name);
  }
  assert.deepEqual(failures, []);
  assert.deepEqual(service.house.files('staging'), []);
  return job.state;
}

/** The image is as before or as after, as the job says; only zeroes may have come half. */
async function judgeImage(
  service: BrakedService,
  torn: { readonly template: Template; readonly kind: TornKind; readonly done: boolean },
): Promise<void> {
  const { template, kind, done } = torn;
  const { live, snapshot } = template;
  const { services } = service.house;
  const disk = await readAll(services, 'vm');
  const page = await services.snapshots.list('vm', { limit: 1000, after: undefined });
  const names = page?.items.map(({ name }) => name);
  if (!(done && kind === 'snapshot-delete')) {
    assert.ok(snapshot.equals(await readAll(services, 'vm', 's')), `${kind}: the snapshot is what it was`);
  }
  assert.deepEqual(names, done ? (namesAfter[kind] ?? ['s']) : ['s'], kind);
  switch (kind) {
    case 'zero':
    case 'discard':
      assert.equal(done, false, 'zeroes must not come late');
      assert.ok(isPartlyZero(disk, live), `${kind}: old bytes or zeroes`);
      break;
    case 'grow':
      assert.ok(disk.equals(done ? Buffer.concat([live, Buffer.alloc(2 * MiB)]) : live), kind);
      break;
    case 'shrink':
      assert.ok(disk.equals(done ? live.subarray(0, 4 * MiB) : live), kind);
      break;
    case 'empty':
      assert.ok(disk.equals(done ? Buffer.alloc(live.length) : live), kind);
      break;
    case 'snapshot-revert':
      assert.ok(disk.equals(done ? snapshot : live), kind);
      break;
    case 'compare':
    case 'digest':
    case 'check':
    case 'repair':
      assert.ok(done, `${kind} begins again`);
      assert.ok(disk.equals(live), kind);
      break;
    default:
      assert.ok(disk.equals(live), kind);
  }
}

/** Those that are about the overlay. */
function isOfChain(kind: TornKind): boolean {
  return kind === 'rebase' || kind === 'flatten' || kind === 'commit';
}

/** The overlay shows what it showed, over the image that the job says. */
async function judgeChain(
  service: BrakedService,
  torn: { readonly template: Template; readonly kind: TornKind; readonly done: boolean },
): Promise<void> {
  const { template, kind, done } = torn;
  const { services, catalog } = service.house;
  assert.ok(template.top.equals(await readAll(services, 'top')), `${kind}: the overlay`);
  const after: Readonly<Partial<Record<TornKind, string | undefined>>> = { rebase: 'other', flatten: undefined };
  const expected = done && kind in after ? after[kind] : 'below';
  assert.equal((await catalog.findImage('top'))?.backing?.name, expected, kind);
  for (const name of ['below', 'other']) {
    assert.equal((await catalog.findImage(name))?.dependentCount, name === expected ? 1 : 0, `${kind}: ${name}`);
  }
  if (done && kind === 'commit') assert.ok(template.top.equals(await readAll(services, 'below')), 'all was committed');
}

const namesAfter: Readonly<Partial<Record<TornKind, readonly string[]>>> = {
  'snapshot-create': ['s', 'later'],
  'snapshot-delete': [],
};

const making: readonly TornKind[] = ['create', 'import', 'copy'];

async function judgeNew(service: BrakedService, torn: { kind: TornKind; done: boolean }): Promise<void> {
  const isThere = making.includes(torn.kind) && torn.done;
  const answer = await service.get('/v1/images/new');
  assert.equal(answer.status, isThere ? 200 : 404, torn.kind);
  if (isThere) assert.equal((answer.body as ImageBody)['state'], 'ready');
  assert.equal(service.house.files('images').length, isThere ? 6 : 5);
}

function isPartlyZero(disk: Buffer, live: Buffer): boolean {
  const end = span.offset + span.length;
  if (disk.length !== live.length) return false;
  return disk.every((byte, index) => byte === live[index] || (byte === 0 && index >= span.offset && index < end));
}

/** By another process: SQLite loses its locks when its own process closes one of its files. */
export function copyFolder(from: string, to: string): void {
  execFileSync('cp', ['-r', '--sparse=always', from, to]);
}
