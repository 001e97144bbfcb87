// Requests to a server under test. This is the one door through which route tests ask: every answer that comes back
// through it is held against the committed OpenAPI document.

import type { Server } from 'node:http';

import request from 'supertest';
import type { Response, Test } from 'supertest';

import { readCommitted } from '../../openapi/export.ts';
import { readContract } from './contract.ts';
import type { Contract, GivenAnswer } from './contract.ts';

/** Requests by method. */
export interface HttpClient {
  readonly get: (path: string) => Test;
  readonly head: (path: string) => Test;
  readonly post: (path: string, body?: object) => Test;
  readonly put: (path: string) => Test;
  readonly patch: (path: string, body: object | string) => Test;
  readonly delete: (path: string) => Test;
  /** GET whose body is a Buffer. */
  readonly bytes: (path: string) => Test;
}

/** `contract`: another one than the committed, to see it fail. */
export function requestsTo(server: Server, contract: Contract = committed()): HttpClient {
  const judged = (test: Test): Test => test.expect((response) => expectDocumented(answerOf(response), contract));
  const ask = request(server);
  return {
    get: (path) => judged(ask.get(path)),
    head: (path) => judged(ask.head(path)),
    post: (path, body) => judged(body === undefined ? ask.post(path) : ask.post(path).send(body)),
    put: (path) => judged(ask.put(path)),
    patch: (path, body) => judged(ask.patch(path).send(body)),
    delete: (path) => judged(ask.delete(path)),
    bytes: (path) => judged(ask.get(path).buffer(true).parse(gather)),
  };
}

let known: Contract | undefined;

function committed(): Contract {
  known ??= readContract(readCommitted());
  return known;
}

/** Throws what is wrong with an answer. */
export function expectDocumented(answer: GivenAnswer, contract: Contract = committed()): void {
  const errors = contract.judge(answer);
  if (errors.length === 0) return;
  const what = `${answer.method} ${answer.path}: ${answer.status} is not as documented`;
  throw new Error([what, ...errors, String(answer.body).slice(0, shownLengthMax)].join('\n  '));
}

const shownLengthMax = 1000;

function answerOf(response: Response): GivenAnswer {
  // supertest hands over the request that was sent; after a redirect it is the last one.
  const { req } = response as unknown as { readonly req: { readonly method: string; readonly path: string } };
  const body: unknown = response.body;
  return {
    method: req.method,
    path: req.path,
    status: response.status,
    headers: response.headers,
    body: Buffer.isBuffer(body) ? body : response.text,
  };
}

function gather(answer: Response, done: (error: Error | null, body: Buffer) => void): void {
  const stream = answer as unknown as NodeJS.ReadableStream;
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => done(null, Buffer.concat(pieces)));
}
