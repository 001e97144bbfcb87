// Clients that use one image at the same time by chance, and note what they asked, when, and what they were told.

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';

import { MiB, sectorSize } from '../../src/base/units.ts';
import { bytesOf, togetherIn, valuesIn } from './cell-layout.ts';
import { bitmapVerbs, makeBitmap } from './concurrent-bitmaps.ts';
import { chainVerbs, copyVerbs, readVmState, upkeepVerbs, vmStateVerbs } from './concurrent-upkeep.ts';
import {
  ask,
  contentOf,
  count,
  expectStatus,
  insist,
  isRefused,
  note,
  noteChange,
  noteGeneration,
  someCells,
  someSnapshot,
  work,
} from './shared-image.ts';
import type { Answer, SharedImage } from './shared-image.ts';
import type { Prng } from './prng.ts';
import type { Action } from './tracked-disk.ts';

/** One request of a client by chance, or what belongs together. */
export type Verb = (image: SharedImage, prng: Prng) => Promise<void>;

/** What is done with an image besides reading and writing. */
export type Theme = keyof typeof themes;

/** How much of a long answer is of one moment. */
const momentLength = 1 * MiB;

/** What is there before the clients come. */
export async function prepare(
  image: SharedImage,
  options: { readonly prng: Prng; readonly theme: Theme },
): Promise<void> {
  for (const verb of openings[options.theme]) await verb(image, options.prng);
}

/** One client: so many requests, one after the other. */
export async function useImage(
  image: SharedImage,
  options: { readonly prng: Prng; readonly theme: Theme; readonly count: number },
): Promise<void> {
  const { prng, theme } = options;
  for (let done = 0; done < options.count; done += 1) {
    for (let pauses = prng.below(3); pauses > 0; pauses -= 1) await turn();
    const verb = prng.pick(themes[theme]);
    await verb(image, prng);
  }
}

async function read(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, Math.min(layout.cellCount, momentLength / layout.stride));
  const headers = { range: `bytes=${from * layout.stride}-${to * layout.stride - 1}` };
  const answer = await ask(image, { method: 'GET', path: '/data', headers });
  expectStatus(answer, [206, 416]);
  if (isRefused(answer)) return;
  count(image, 'read');
  if (answer.status === 416) {
    note(image, answer, 'read', [{ kind: 'too-small', to: from + 1 }]);
    return;
  }
  const values = valuesIn(layout, answer.body);
  const actions: Action[] = [{ kind: 'read', from, values }];
  // Less than was asked for: the disk ended there.
  if (values.length < to - from) actions.push({ kind: 'too-small', to: from + values.length + 1 });
  note(image, answer, 'read', actions);
  noteGeneration(image, answer);
}

async function write(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, layout.reach.write);
  const values = Array.from({ length: to - from }, () => (prng.chance(15) ? 0 : (image.lastValue += 1)));
  // Not the filling behind the last cell: a write may end anywhere.
  const bytes = bytesOf(layout, values).subarray(0, (values.length - 1) * layout.stride + sectorSize);
  const first = from * layout.stride;
  const answer = await ask(image, {
    method: 'PUT',
    path: `/data?flush=${prng.chance(10)}&detectZeroes=${prng.chance(50)}`,
    headers: { 'content-range': `bytes ${first}-${first + bytes.length - 1}/*` },
    body: bytes,
    isSlow: prng.chance(30),
  });
  noteInside(image, answer, { what: 'write', to, actions: piecesOf(image, { from, to, values }) });
}

/** Packed: whole clusters only, so the disk does not end in the last of them. */
async function pack(image: SharedImage, prng: Prng): Promise<void> {
  const { clusterSize, stride, cellCount, reach } = image.layout;
  const cellsEach = Math.max(1, clusterSize / stride);
  const first = prng.below(Math.floor(cellCount / cellsEach));
  const countMax = Math.max(1, Math.ceil(reach.write / cellsEach));
  const last = Math.min(Math.floor(cellCount / cellsEach), first + 1 + prng.below(countMax));
  const from = first * cellsEach;
  const to = stride > clusterSize ? from + 1 : last * cellsEach;
  const values = Array.from({ length: to - from }, () => (prng.chance(15) ? 0 : (image.lastValue += 1)));
  const bytes = bytesOf(image.layout, values).subarray(
    0,
    Math.max(clusterSize, (to - from) * Math.min(stride, clusterSize)),
  );
  const start = from * stride;
  const answer = await ask(image, {
    method: 'PUT',
    path: `/data?compress=true&flush=${prng.chance(10)}&detectZeroes=${prng.chance(50)}`,
    headers: { 'content-range': `bytes ${start}-${start + bytes.length - 1}/*` },
    body: bytes,
  });
  noteInside(image, answer, { what: 'pack', to, actions: piecesOf(image, { from, to, values }) });
}

async function zero(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, layout.reach.zero);
  const answer = await work(image, prng, {
    method: 'POST',
    path: '/zero',
    success: 204,
    json: {
      offset: from * layout.stride,
      length: (to - from - 1) * layout.stride + sectorSize,
      unmap: prng.chance(50),
      flush: prng.chance(20),
    },
  });
  const values = new Array<number>(to - from).fill(0);
  noteInside(image, answer, { what: 'zero', to, actions: piecesOf(image, { from, to, values }) });
}

async function discard(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, layout.reach.discard);
  const { stride, clusterSize } = layout;
  const json = { offset: from * stride, length: (to - from) * stride, flush: prng.chance(20) };
  const answer = await work(image, prng, { method: 'POST', path: '/discard', json, success: 204 });
  const actions: Action[] = [];
  for (let cell = from; cell < to; cell += 1) {
    const start = Math.floor((cell * stride) / clusterSize) * clusterSize;
    if (start < from * stride) continue;
    actions.push({ kind: 'discard', cell, isWhole: start + clusterSize <= to * stride, wholeAtEnd: to });
  }
  noteInside(image, answer, { what: 'discard', to, actions });
}

async function resize(image: SharedImage, prng: Prng): Promise<void> {
  const size = Math.max(1, image.layout.cellCount - prng.below(Math.ceil(image.layout.cellCount / 2)));
  const json = { virtualSize: size * image.layout.stride, allowShrink: true };
  const answer = await work(image, prng, { method: 'POST', path: '/resize', json, success: 200 });
  expectStatus(answer, [200]);
  noteChange(image, answer, { what: 'resize', actions: [{ kind: 'resize', size }] });
}

async function takeSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  if (image.snapshots.size >= snapshotsMax) return deleteSnapshot(image, prng);
  const name = `s-${(image.lastValue += 1)}`;
  const answer = await work(image, prng, { method: 'POST', path: '/snapshots', json: { name }, success: 201 });
  expectStatus(answer, [201]);
  if (isRefused(answer)) return;
  const content = await contentOf(image, name);
  noteChange(image, answer, { what: 'snapshot', actions: [{ kind: 'see', content }] });
  image.snapshots.set(name, content);
}

async function revert(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [name, content] = chosen;
  const answer = await work(image, prng, { method: 'POST', path: `/snapshots/${name}/revert`, success: 200 });
  if (answer.code === 'bitmaps-prevent-revert') return;
  expectStatus(answer, [200, 404]);
  if (answer.status !== 404) noteChange(image, answer, { what: 'revert', actions: [{ kind: 'revert', content }] });
}

async function readSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [name, content] = chosen;
  const answer = await ask(image, { method: 'GET', path: `/snapshots/${name}/data` });
  expectStatus(answer, [200, 404]);
  if (answer.status !== 200) return;
  count(image, 'read snapshot');
  assert.deepEqual(valuesIn(image.layout, answer.body), content, `snapshot ${name} never changes`);
}

async function deleteSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [name] = chosen;
  image.snapshots.delete(name);
  const answer = await work(image, prng, { method: 'DELETE', path: `/snapshots/${name}`, success: 204 });
  expectStatus(answer, [204]);
  if (!isRefused(answer)) count(image, 'delete snapshot');
}

async function check(image: SharedImage, prng: Prng): Promise<void> {
  const answer = await work(image, prng, { method: 'POST', path: '/check', success: 200 });
  expectStatus(answer, [200]);
  if (isRefused(answer)) return;
  count(image, 'check');
  const report = JSON.parse(answer.body.toString()) as { readonly clean: boolean };
  assert.ok(report.clean, `the image is clean while others use it: ${answer.body.toString()}`);
}

async function map(image: SharedImage): Promise<void> {
  const { stride } = image.layout;
  const answer = await ask(image, { method: 'GET', path: '/extents?limit=1000' });
  expectStatus(answer, [200]);
  if (isRefused(answer)) return;
  count(image, 'map');
  const page = JSON.parse(answer.body.toString()) as {
    readonly virtualSize: number;
    readonly nextCursor: string | null;
    readonly items: readonly { readonly offset: number; readonly length: number; readonly kind: string }[];
  };
  const zeroes: number[] = [];
  for (const { offset, length, kind } of page.items) {
    if (kind === 'data') continue;
    for (let cell = Math.ceil(offset / stride); cell * stride < offset + length; cell += 1) zeroes.push(cell);
  }
  note(image, answer, 'map', [{ kind: 'map', size: page.virtualSize / stride, zeroes }]);
}

const snapshotsMax = 4;

const dataVerbs = [
  ...[read, read, read, read, read, write, write, write, write, pack, zero, zero, discard, discard],
  ...[resize, check, map],
];
const snapshotVerbs = [takeSnapshot, takeSnapshot, revert, revert, readSnapshot, deleteSnapshot];

/** Each verb as often as it stands here. */
const themes = {
  snapshots: [...dataVerbs, ...snapshotVerbs, ...vmStateVerbs, ...copyVerbs],
  upkeep: [...dataVerbs, ...snapshotVerbs, ...upkeepVerbs, ...copyVerbs],
  chain: [...dataVerbs, ...chainVerbs, ...upkeepVerbs],
  bitmaps: [...dataVerbs, takeSnapshot, revert, ...bitmapVerbs, ...upkeepVerbs],
} as const satisfies Readonly<Record<string, readonly Verb[]>>;

const openings: Readonly<Record<Theme, readonly Verb[]>> = {
  snapshots: [takeSnapshot],
  upkeep: [takeSnapshot],
  chain: [],
  bitmaps: [makeBitmap, makeBitmap],
};

/** The whole disk as it is when nobody else uses it, noted as the last read. */
export async function readToTheEnd(image: SharedImage, prng: Prng): Promise<void> {
  const answer = await insist(image, { method: 'GET', path: '/data' });
  expectStatus(answer, [200]);
  note(image, answer, 'the last read', [{ kind: 'see', content: valuesIn(image.layout, answer.body) }]);
  await check(image, prng);
  for (const [name, content] of image.snapshots) {
    assert.deepEqual(await contentOf(image, name), content, `snapshot ${name} never changes`);
    if (image.vmStates.has(name)) await readVmState(image, name);
  }
}

/** What is wrong with the generations that were told: a sentence, or undefined. */
export function explainGenerations({ generations }: SharedImage): string | undefined {
  for (const one of generations) {
    const later = generations.find((other) => other.asked > one.answered && other.generation < one.generation);
    if (later === undefined) continue;
    return `generation ${one.generation} was told at ${one.answered}, ${later.generation} to who asked at ${later.asked}`;
  }
  return undefined;
}

/** A change of cells up to `to`, or the answer that the disk ends before. */
function noteInside(
  image: SharedImage,
  answer: Answer,
  change: { readonly what: string; readonly to: number; readonly actions: readonly Action[] },
): void {
  expectStatus(answer, [204, 416]);
  if (answer.status === 416) note(image, answer, change.what, [{ kind: 'too-small', to: change.to }]);
  else noteChange(image, answer, change);
}

/** Values that come to cells cluster by cluster. */
function piecesOf(
  { layout }: SharedImage,
  { from, to, values }: { readonly from: number; readonly to: number; readonly values: readonly number[] },
): readonly Action[] {
  return [...togetherIn(layout, { from, to })].map((piece) => ({
    kind: 'write',
    from: piece.from,
    values: values.slice(piece.from - from, piece.to - from),
  }));
}
