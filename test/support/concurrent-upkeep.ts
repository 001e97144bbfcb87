// What clients do by chance with a shared image as a whole: none of it changes what its disk holds.

import assert from 'node:assert/strict';

import { valuesIn } from './cell-layout.ts';
import {
  ask,
  count,
  expectStatus,
  insist,
  isRefused,
  note,
  send,
  someSnapshot,
  takeContentOf,
  work,
} from './shared-image.ts';
import type { SharedImage } from './shared-image.ts';
import type { Prng } from './prng.ts';

async function compact(image: SharedImage, prng: Prng): Promise<void> {
  await change(image, prng, { what: 'compact', json: { detectZeroes: prng.chance(50) } });
}

async function amend(image: SharedImage, prng: Prng): Promise<void> {
  const json = { refcountBits: prng.pick([8, 16, 32, 64]), lazyRefcounts: prng.chance(30) };
  await change(image, prng, { what: 'amend', json });
}

async function runOtherwise(image: SharedImage, prng: Prng): Promise<void> {
  const json = {
    l2CacheBytes: prng.pick([8192, 65_536, 1_048_576]),
    l2CacheEntryBytes: 512,
    refcountCacheBytes: prng.pick([16, 64]) * image.layout.clusterSize,
    lazyRefcounts: prng.chance(30),
    overlapCheck: prng.pick(['none', 'cached', 'all']),
    passDiscard: prng.chance(50),
    discardNoUnref: prng.chance(30),
  };
  const answer = await ask(image, { method: 'PATCH', path: '/runtime', json });
  expectStatus(answer, [200]);
  if (!isRefused(answer)) count(image, 'runtime');
}

/** To the other thread, or where it is already. */
async function move(image: SharedImage, prng: Prng): Promise<void> {
  if (await image.relocate(prng.below(2))) count(image, 'move');
}

/** Whoever uses the image meanwhile is refused. */
async function detachAndAttach(image: SharedImage): Promise<void> {
  const answer = await ask(image, { method: 'POST', path: '/detach' });
  expectStatus(answer, [200]);
  if (answer.status !== 200) return;
  count(image, 'detach');
  expectStatus(await insist(image, { method: 'POST', path: '/attach' }), [200]);
}

async function commit(image: SharedImage, prng: Prng): Promise<void> {
  await change(image, prng, { what: 'commit', json: { keepTop: prng.chance(50) }, refusals: ['unsupported-option'] });
}

async function flatten(image: SharedImage, prng: Prng): Promise<void> {
  await change(image, prng, { what: 'flatten' });
}

async function rebase(image: SharedImage, prng: Prng): Promise<void> {
  const { below } = image;
  const backing = below === undefined || prng.chance(30) ? null : { image: below };
  await change(image, prng, { what: 'rebase', json: { backing, mode: 'safe' } });
}

async function copy(image: SharedImage, prng: Prng): Promise<void> {
  const name = `${image.name}-copy-${(image.lastValue += 1)}`;
  const json = { name, compress: prng.chance(50) };
  const answer = await work(image, prng, { method: 'POST', path: '/copy', json, success: 201 });
  expectStatus(answer, [201]);
  if (isRefused(answer)) return;
  count(image, 'copy');
  note(image, answer, 'copy', [{ kind: 'see', content: await takeContentOf(image, name) }]);
}

async function copySnapshot(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [snapshot, content] = chosen;
  const name = `${image.name}-copy-${(image.lastValue += 1)}`;
  const json = { name, snapshot, compress: prng.chance(50) };
  const answer = await work(image, prng, { method: 'POST', path: '/copy', json, success: 201 });
  expectStatus(answer, [201, 404]);
  if (answer.status !== 201) return;
  count(image, 'copy snapshot');
  assert.deepEqual(await takeContentOf(image, name), content, `a copy is what snapshot ${snapshot} is`);
}

/** A file of one moment, or none: it breaks off when the image changes before its end. */
async function download(image: SharedImage, prng: Prng): Promise<void> {
  const format = prng.pick(['raw', 'qcow2']);
  const compress = format === 'qcow2' && prng.chance(50);
  const path = `/file?format=${format}&compress=${compress}`;
  const answer = await ask(image, { method: 'GET', path, mayBreakOff: true });
  expectStatus(answer, [200, 412]);
  if (answer.status !== 200 || answer.isBrokenOff) return;
  count(image, 'download');
  const content = format === 'raw' ? valuesIn(image.layout, answer.body) : await contentOfFile(image, answer.body);
  note(image, answer, 'download', [{ kind: 'see', content }]);
}

async function contentOfFile(image: SharedImage, body: Buffer): Promise<readonly number[]> {
  const name = `${image.name}-file-${(image.lastValue += 1)}`;
  const imported = await send(image, { method: 'PUT', path: `/v1/imports/${name}`, body, success: 201 });
  expectStatus(imported, [201]);
  return takeContentOf(image, name);
}

async function writeVmState(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [snapshot] = chosen;
  const value = prng.chance(20) ? 0 : (image.lastValue += 1);
  const body = Buffer.alloc(value === 0 ? 0 : 4 * (1 + prng.below(600)));
  for (let at = 0; at < body.length; at += 4) body.writeUInt32LE(value, at);
  const answer = await ask(image, { method: 'PUT', path: `/snapshots/${snapshot}/vmstate`, body });
  expectStatus(answer, [204, 404]);
  if (answer.status === 404) return;
  if (!isRefused(answer)) count(image, 'write VM state');
  const answered = isRefused(answer) ? Infinity : answer.answered;
  vmHistoryOf(image, snapshot).push({
    ...{ asked: answer.asked, answered, what: 'write VM state' },
    action: { kind: 'write', from: 0, values: [value] },
  });
}

async function readSomeVmState(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen !== undefined) await readVmState(image, chosen[0]);
}

/** All of it is of one write. */
export async function readVmState(image: SharedImage, snapshot: string): Promise<void> {
  const answer = await ask(image, { method: 'GET', path: `/snapshots/${snapshot}/vmstate` });
  expectStatus(answer, [200, 404]);
  if (answer.status !== 200) return;
  count(image, 'read VM state');
  const { body, asked, answered } = answer;
  const value = body.length === 0 ? 0 : body.readUInt32LE(0);
  for (let at = 0; at < body.length; at += 4) assert.equal(body.readUInt32LE(at), value, 'a VM state is of one write');
  vmHistoryOf(image, snapshot).push({
    ...{ asked, answered, what: 'read VM state' },
    action: { kind: 'read', from: 0, values: [value] },
  });
}

/** Each as often as it stands here. */
export const upkeepVerbs = [compact, amend, runOtherwise, move, move, detachAndAttach];
export const chainVerbs = [commit, commit, flatten, rebase, rebase];
export const copyVerbs = [copy, copySnapshot, download, download];
export const vmStateVerbs = [writeVmState, readSomeVmState];

function vmHistoryOf({ vmStates }: SharedImage, snapshot: string) {
  const known = vmStates.get(snapshot) ?? [];
  vmStates.set(snapshot, known);
  return known;
}

/** Work that leaves the disk as it is, under the name that its path has. */
async function change(
  image: SharedImage,
  prng: Prng,
  asked: { readonly what: string; readonly json?: object; readonly refusals?: readonly string[] },
): Promise<void> {
  const { what, json, refusals = [] } = asked;
  const question = { method: 'POST', path: `/${what}`, success: 200 };
  const answer = await work(image, prng, json === undefined ? question : { ...question, json });
  if (answer.code !== undefined && refusals.includes(answer.code)) return;
  expectStatus(answer, [200]);
  if (!isRefused(answer)) count(image, what);
}
