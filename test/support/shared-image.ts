// One image that several clients use: what they ask of it over HTTP, and what they note of it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Agent, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';

import { valuesIn } from './cell-layout.ts';
import type { CellLayout } from './cell-layout.ts';
import type { Prng } from './prng.ts';
import type { BitmapEvent } from './tracked-bitmaps.ts';
import type { Action, Content, Happening } from './tracked-disk.ts';

/** One image, and everything that was done with it. */
export interface SharedImage {
  readonly base: string;
  readonly id: string;
  readonly name: string;
  /** The image that it stood on at first; undefined for one that stands alone. */
  readonly below: string | undefined;
  readonly layout: CellLayout;
  readonly agent: Agent;
  /** Brings the image to one of two threads; whether it went. */
  readonly relocate: (index: number) => Promise<boolean>;
  readonly history: Happening[];
  /** Generations that were told, for the judge of their order. */
  readonly generations: { readonly generation: number; readonly asked: number; readonly answered: number }[];
  /** Snapshots whose content is known. */
  readonly snapshots: Map<string, Content>;
  /** The VM state of each snapshot, as a disk of one cell. */
  readonly vmStates: Map<string, Happening[]>;
  /** Bitmaps that there are. */
  readonly bitmaps: Set<string>;
  readonly bitmapEvents: BitmapEvent[];
  readonly clock: { tick: number };
  /** How often each verb did what it was asked for. */
  readonly done: Map<string, number>;
  /** The last value that somebody writes. */
  lastValue: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** What a problem says of itself; undefined for an answer that is none. */
  readonly code: string | undefined;
  /** Whether the connection ended before the body did. */
  readonly isBrokenOff: boolean;
  readonly asked: number;
  readonly answered: number;
}

export interface Question {
  readonly method: string;
  /** Behind the name of the image. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly json?: object;
  /** Whether the body comes in two parts. */
  readonly isSlow?: boolean;
  /** Whether the answer may end before its end. */
  readonly mayBreakOff?: boolean;
  /** The status of success: where it is said, the work may become a job, which is followed to its end. */
  readonly success?: number;
}

/** Asks the image. */
export async function ask(image: SharedImage, question: Question): Promise<Answer> {
  return send(image, { ...question, path: `/v1/images/${image.name}${question.path}` });
}

/** Asks for long work: some clients wait for its end, others follow the job. */
export async function work(
  image: SharedImage,
  prng: Prng,
  question: Question & { readonly success: number },
): Promise<Answer> {
  const prefer = prng.chance(15) ? 'respond-async' : 'wait=60';
  return ask(image, { ...question, headers: { prefer } });
}

/** Asks anything; what has become a job is answered as if it had not. */
export async function send(image: SharedImage, question: Question): Promise<Answer> {
  const first = await exchange(image, question);
  const { success } = question;
  if (first.status !== 202 || success === undefined) return first;
  const path = `${String(first.headers.location)}?wait=60`;
  for (;;) {
    const { body, answered, headers } = await exchange(image, { method: 'GET', path });
    const job = JSON.parse(body.toString()) as {
      readonly state: string;
      readonly result?: object;
      readonly problem?: { readonly status: number; readonly code: string };
    };
    if (job.state === 'queued' || job.state === 'running') continue;
    const { problem } = job;
    const status = job.state === 'succeeded' ? success : (problem?.status ?? 0);
    const told = Buffer.from(JSON.stringify(problem ?? job.result ?? {}));
    return { status, headers, body: told, code: problem?.code, isBrokenOff: false, asked: first.asked, answered };
  }
}

/** Whether nothing came of it because others had the image just then: it is asked again, or let be. */
export function isRefused({ code }: Answer): boolean {
  return code !== undefined && passing.includes(code);
}

/** A machine that stands still for seconds makes the service say that it is busy. */
const passing = ['engine-busy', 'image-detached', 'image-in-use'];

/** Asks until nobody else is in the way. */
export async function insist(image: SharedImage, question: Question): Promise<Answer> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const answer = await ask(image, question);
    if (!isRefused(answer)) return answer;
    await turn();
  }
  assert.fail(`${question.method} ${question.path} is let in at last`);
}

const triesMax = 1_000;

export async function contentOf(image: SharedImage, snapshot: string): Promise<Content> {
  const answer = await insist(image, { method: 'GET', path: `/snapshots/${snapshot}/data` });
  expectStatus(answer, [200]);
  return valuesIn(image.layout, answer.body);
}

/** An image beside this one is read and goes. */
export async function takeContentOf(image: SharedImage, name: string): Promise<Content> {
  const path = `/v1/images/${name}`;
  const read = await send(image, { method: 'GET', path: `${path}/data` });
  expectStatus(read, [200]);
  expectStatus(await send(image, { method: 'DELETE', path }), [204]);
  return valuesIn(image.layout, read.body);
}

/** What the clients do is counted, so that a test can tell that it did anything. */
export function count({ done }: SharedImage, what: string): void {
  done.set(what, (done.get(what) ?? 0) + 1);
}

/** What may have happened or not, when others were in the way. */
export function noteChange(
  image: SharedImage,
  answer: Answer,
  change: { readonly what: string; readonly actions: readonly Action[] },
): void {
  const { what, actions } = change;
  if (isRefused(answer)) {
    note(image, { ...answer, answered: Infinity }, what, actions);
    return;
  }
  count(image, what);
  note(image, answer, what, actions);
  noteGeneration(image, answer);
}

export function note(image: SharedImage, answer: Answer, what: string, actions: readonly Action[]): void {
  const { asked, answered } = answer;
  image.history.push(...actions.map((action) => ({ action, asked, answered, what })));
}

export function noteGeneration(image: SharedImage, { headers, asked, answered }: Answer): void {
  const told = headers['image-generation'];
  // Jobs do not tell it.
  if (told === undefined) return;
  const generation = Number(told);
  assert.ok(Number.isSafeInteger(generation), 'a generation is a number');
  image.generations.push({ generation, asked, answered });
}

/** One of these, or a refusal that passes. */
export function expectStatus(answer: Answer, statuses: readonly number[]): void {
  if (isRefused(answer)) return;
  assert.ok(statuses.includes(answer.status), `${answer.status}: ${answer.body.subarray(0, 400).toString()}`);
}

export function someCells(
  image: SharedImage,
  prng: Prng,
  countMax: number,
): { readonly from: number; readonly to: number } {
  const { cellCount } = image.layout;
  const from = prng.below(cellCount);
  return { from, to: Math.min(cellCount, from + 1 + prng.below(countMax)) };
}

export function someSnapshot({ snapshots }: SharedImage, prng: Prng): readonly [string, Content] | undefined {
  return snapshots.size === 0 ? undefined : prng.pick([...snapshots]);
}

async function exchange(image: SharedImage, asked: Question): Promise<Answer> {
  const { agent, clock } = image;
  const askedAt = (clock.tick += 1);
  const incoming = await begin({ base: image.base, agent }, asked);
  const pieces: Buffer[] = [];
  let isBrokenOff = false;
  try {
    for await (const piece of incoming) pieces.push(piece as Buffer);
  } catch (error) {
    if (asked.mayBreakOff !== true) throw error;
    isBrokenOff = true;
  }
  const { statusCode: status = 0, headers } = incoming;
  const body = Buffer.concat(pieces);
  const isProblem = headers['content-type']?.startsWith('application/problem+json') === true;
  const code = isProblem ? (JSON.parse(body.toString()) as { readonly code: string }).code : undefined;
  return { status, headers, body, code, isBrokenOff, asked: askedAt, answered: (clock.tick += 1) };
}

async function begin({ base, agent }: Pick<SharedImage, 'base' | 'agent'>, asked: Question): Promise<IncomingMessage> {
  const { method, path, isSlow = false } = asked;
  const body = asked.json === undefined ? asked.body : Buffer.from(JSON.stringify(asked.json));
  const headers: Record<string, string> = { ...asked.headers };
  if (asked.json !== undefined) headers['content-type'] = 'application/json';
  if (method !== 'GET' && !isSlow) headers['content-length'] = String(body?.length ?? 0);
  const outgoing = request(`${base}${path}`, { method, agent, headers });
  const answer = once(outgoing, 'response');
  if (isSlow && body !== undefined) {
    outgoing.write(body.subarray(0, body.length >>> 1));
    await turn();
    outgoing.end(body.subarray(body.length >>> 1));
  } else {
    outgoing.end(body);
  }
  const [incoming] = (await answer) as [IncomingMessage];
  return incoming;
}
