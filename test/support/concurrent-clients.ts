// Clients that use one image at the same time by chance, and note what they asked, when, and what they were told.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Agent, IncomingMessage } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';

import { MiB, sectorSize } from '../../src/base/units.ts';
import { bytesOf, togetherIn, valuesIn } from './cell-layout.ts';
import type { CellLayout } from './cell-layout.ts';
import type { Happening } from './linearizability.ts';
import type { Prng } from './prng.ts';
import type { Action, Content } from './tracked-disk.ts';

/** One image, and everything that was done with it. */
export interface SharedImage {
  readonly base: string;
  readonly name: string;
  readonly layout: CellLayout;
  readonly agent: Agent;
  readonly history: Happening[];
  /** Generations that were told, for the judge of their order. */
  readonly generations: { readonly generation: number; readonly asked: number; readonly answered: number }[];
  /** Snapshots whose content is known. */
  readonly snapshots: Map<string, Content>;
  readonly clock: { tick: number };
  /** The last value that somebody writes. */
  lastValue: number;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  readonly asked: number;
  readonly answered: number;
}

/** How much of a long answer is of one moment. */
const momentLength = 1 * MiB;

/** One client: so many requests, one after the other. */
export async function useImage(
  image: SharedImage,
  options: { readonly prng: Prng; readonly count: number },
): Promise<void> {
  const { prng, count } = options;
  for (let done = 0; done < count; done += 1) {
    for (let pauses = prng.below(3); pauses > 0; pauses -= 1) await turn();
    const verb = prng.pick(verbs);
    await verb(image, prng);
  }
}

type Verb = (image: SharedImage, prng: Prng) => Promise<void>;

async function read(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, Math.min(layout.cellCount, momentLength / layout.stride));
  const headers = { range: `bytes=${from * layout.stride}-${to * layout.stride - 1}` };
  const answer = await send(image, { method: 'GET', path: '/data', headers });
  if (answer.status === 416) {
    note(image, answer, 'read', [{ kind: 'too-small', to: from + 1 }]);
    return;
  }
  expectStatus(answer, [206]);
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
  const answer = await send(image, {
    method: 'PUT',
    path: `/data?flush=${prng.chance(10)}&detectZeroes=${prng.chance(50)}`,
    headers: { 'content-range': `bytes ${first}-${first + bytes.length - 1}/*` },
    body: bytes,
    isSlow: prng.chance(30),
  });
  const pieces = [...togetherIn(layout, { from, to })].map((piece): Action => ({
    kind: 'write',
    from: piece.from,
    values: values.slice(piece.from - from, piece.to - from),
  }));
  noteChange(image, answer, { what: 'write', to, actions: pieces });
}

async function zero(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, layout.reach.zero);
  const answer = await send(image, {
    method: 'POST',
    path: '/zero',
    json: {
      offset: from * layout.stride,
      length: (to - from - 1) * layout.stride + sectorSize,
      unmap: prng.chance(50),
      flush: prng.chance(20),
    },
  });
  const pieces = [...togetherIn(layout, { from, to })].map((piece): Action => ({
    kind: 'write',
    from: piece.from,
    values: new Array<number>(piece.to - piece.from).fill(0),
  }));
  noteChange(image, answer, { what: 'zero', to, actions: pieces });
}

async function discard(image: SharedImage, prng: Prng): Promise<void> {
  const { layout } = image;
  const { from, to } = someCells(image, prng, layout.reach.discard);
  const { stride, clusterSize } = layout;
  const json = { offset: from * stride, length: (to - from) * stride, flush: prng.chance(20) };
  const answer = await send(image, { method: 'POST', path: '/discard', json });
  const actions: Action[] = [];
  for (let cell = from; cell < to; cell += 1) {
    const start = Math.floor((cell * stride) / clusterSize) * clusterSize;
    if (start < from * stride) continue;
    actions.push({ kind: 'discard', cell, isWhole: start + clusterSize <= to * stride, wholeAtEnd: to });
  }
  noteChange(image, answer, { what: 'discard', to, actions });
}

async function resize(image: SharedImage, prng: Prng): Promise<void> {
  const size = Math.max(1, image.layout.cellCount - prng.below(Math.ceil(image.layout.cellCount / 2)));
  const json = { virtualSize: size * image.layout.stride, allowShrink: true };
  const answer = await send(image, { method: 'POST', path: '/resize', json });
  expectStatus(answer, [200]);
  note(image, answer, 'resize', [{ kind: 'resize', size }]);
}

async function takeSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  if (image.snapshots.size >= 4) return deleteSnapshot(image, prng);
  const name = `s-${(image.lastValue += 1)}`;
  const answer = await send(image, { method: 'POST', path: '/snapshots', json: { name } });
  expectStatus(answer, [201]);
  const content = await contentOf(image, name);
  note(image, answer, `snapshot ${name}`, [{ kind: 'see', content }]);
  image.snapshots.set(name, content);
}

async function revert(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [name, content] = chosen;
  const answer = await send(image, { method: 'POST', path: `/snapshots/${name}/revert` });
  expectStatus(answer, [200, 404]);
  if (answer.status === 200) note(image, answer, `revert to ${name}`, [{ kind: 'revert', content }]);
}

async function readSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  const [name, content] = chosen;
  const answer = await send(image, { method: 'GET', path: `/snapshots/${name}/data` });
  expectStatus(answer, [200, 404]);
  if (answer.status === 200) assert.deepEqual(valuesIn(image.layout, answer.body), content, 'a snapshot never changes');
}

async function deleteSnapshot(image: SharedImage, prng: Prng): Promise<void> {
  const chosen = someSnapshot(image, prng);
  if (chosen === undefined) return;
  image.snapshots.delete(chosen[0]);
  const answer = await send(image, { method: 'DELETE', path: `/snapshots/${chosen[0]}` });
  expectStatus(answer, [204]);
}

async function check(image: SharedImage): Promise<void> {
  const answer = await send(image, { method: 'POST', path: '/check' });
  expectStatus(answer, [200]);
  const report = JSON.parse(answer.body.toString()) as { readonly clean: boolean };
  assert.ok(report.clean, `the image is clean while others use it: ${answer.body.toString()}`);
}

async function map(image: SharedImage): Promise<void> {
  const { stride } = image.layout;
  const answer = await send(image, { method: 'GET', path: '/extents?limit=1000' });
  expectStatus(answer, [200]);
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

/** Each as often as it stands here. */
const verbs: readonly Verb[] = [
  ...[read, read, read, read, read, write, write, write, write, write, zero, zero, discard, discard],
  ...[resize, takeSnapshot, takeSnapshot, revert, revert, readSnapshot, deleteSnapshot, check, map],
];

/** The whole disk as it is when nobody else uses it, noted as the last read. */
export async function readToTheEnd(image: SharedImage): Promise<void> {
  const answer = await send(image, { method: 'GET', path: '/data' });
  expectStatus(answer, [200]);
  note(image, answer, 'the last read', [{ kind: 'see', content: valuesIn(image.layout, answer.body) }]);
  await check(image);
  for (const [name, content] of image.snapshots) {
    assert.deepEqual(await contentOf(image, name), content, 'a snapshot never changes');
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

async function contentOf(image: SharedImage, snapshot: string): Promise<Content> {
  const answer = await send(image, { method: 'GET', path: `/snapshots/${snapshot}/data` });
  expectStatus(answer, [200]);
  return valuesIn(image.layout, answer.body);
}

function someCells(image: SharedImage, prng: Prng, countMax: number): { readonly from: number; readonly to: number } {
  const { cellCount } = image.layout;
  const from = prng.below(cellCount);
  return { from, to: Math.min(cellCount, from + 1 + prng.below(countMax)) };
}

function someSnapshot({ snapshots }: SharedImage, prng: Prng): readonly [string, Content] | undefined {
  return snapshots.size === 0 ? undefined : prng.pick([...snapshots]);
}

function noteChange(
  image: SharedImage,
  answer: Answer,
  change: { readonly what: string; readonly to: number; readonly actions: readonly Action[] },
): void {
  expectStatus(answer, [204, 416]);
  const refused: Action = { kind: 'too-small', to: change.to };
  note(image, answer, change.what, answer.status === 204 ? change.actions : [refused]);
  if (answer.status === 204) noteGeneration(image, answer);
}

function note(image: SharedImage, answer: Answer, what: string, actions: readonly Action[]): void {
  const { asked, answered } = answer;
  image.history.push(...actions.map((action) => ({ action, asked, answered, what })));
}

function noteGeneration(image: SharedImage, { headers, asked, answered }: Answer): void {
  const generation = Number(headers['image-generation']);
  assert.ok(Number.isSafeInteger(generation), 'a generation is told');
  image.generations.push({ generation, asked, answered });
}

function expectStatus(answer: Answer, statuses: readonly number[]): void {
  assert.ok(statuses.includes(answer.status), `${answer.status}: ${answer.body.subarray(0, 400).toString()}`);
}

async function send(
  image: SharedImage,
  asked: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Buffer;
    readonly json?: object;
    /** Whether the body comes in two parts. */
    readonly isSlow?: boolean;
  },
): Promise<Answer> {
  const body = asked.json === undefined ? asked.body : Buffer.from(JSON.stringify(asked.json));
  const headers: Record<string, string> = { ...asked.headers };
  if (asked.json !== undefined) headers['content-type'] = 'application/json';
  if (asked.method !== 'GET' && asked.isSlow !== true) headers['content-length'] = String(body?.length ?? 0);
  const { agent, clock } = image;
  const askedAt = (clock.tick += 1);
  const outgoing = request(`${image.base}/v1/images/${image.name}${asked.path}`, {
    method: asked.method,
    agent,
    headers,
  });
  const answer = once(outgoing, 'response');
  if (asked.isSlow === true && body !== undefined) {
    outgoing.write(body.subarray(0, body.length >>> 1));
    await turn();
    outgoing.end(body.subarray(body.length >>> 1));
  } else {
    outgoing.end(body);
  }
  const [incoming] = (await answer) as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of incoming) pieces.push(piece as Buffer);
  const { statusCode: status = 0 } = incoming;
  return {
    status,
    headers: incoming.headers,
    body: Buffer.concat(pieces),
    asked: askedAt,
    answered: (clock.tick += 1),
  };
}
