// Idempotency-Key: the first answer for every repetition of a request. Says what must be kept; somebody else keeps it.

import type { FastifyRequest } from 'fastify';

import type { Answer } from './answer.ts';
import { principalOf } from './authentication.ts';
import { countOf } from './request-head.ts';
import { invalidRequest } from './schema.ts';

/** What the header needs of the service. */
export interface IdempotencyKeeper<Made> {
  /** Faults `idempotency-key-reused`, `idempotency-in-progress`. */
  begin(asked: {
    readonly principal: string;
    readonly route: string;
    readonly key: string;
    readonly request: string;
  }): Promise<
    | { readonly kind: 'new'; readonly id: string }
    | { readonly kind: 'answered'; readonly answer: unknown }
    | { readonly kind: 'made'; readonly id: string; readonly made: Made }
  >;
  keep(id: string, answer: unknown): Promise<void>;
  fail(id: string, error: unknown): Promise<void>;
}

/** What a creating route does. */
export interface Creation<Made> {
  /** What of the body tells this request from another one; left out for all of it. */
  readonly told?: object;
  /** Makes it; the key is settled in the step that makes the effect. */
  readonly make: (key: string | undefined) => Promise<Answer>;
  /** The answer for what was made before a crash; it may be gone since. */
  readonly describe: (made: Made) => Answer;
}

const keyHeader = 'idempotency-key';

/** As long as any name that a client may think of. */
const keyPattern = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/** Makes something once, however often the request comes with the same key. */
export async function answerOnce<Made>(
  keeper: IdempotencyKeeper<Made>,
  request: FastifyRequest,
  creation: Creation<Made>,
): Promise<Answer> {
  const key = request.headers[keyHeader];
  if (key === undefined) return creation.make(undefined);
  if (countOf(request.raw, keyHeader) > 1) throw keyInvalid('there is more than one key');
  if (typeof key !== 'string' || !keyPattern.test(key))
    throw keyInvalid('a key has 1 to 255 visible characters of ASCII');
  const begun = await keeper.begin({
    principal: principalOf(request).name,
    route: `${request.method} ${request.routeOptions.url ?? ''}`,
    key,
    request: JSON.stringify([request.raw.url, creation.told ?? request.body ?? null]),
  });
  // What was kept is what this function kept.
  if (begun.kind === 'answered') return begun.answer as Answer;
  let answer: Answer;
  try {
    answer = begun.kind === 'made' ? creation.describe(begun.made) : await creation.make(begun.id);
  } catch (error) {
    await keeper.fail(begun.id, error);
    throw error;
  }
  await keeper.keep(begun.id, answer);
  return answer;
}

function keyInvalid(message: string): Error {
  return invalidRequest({ pointer: `/${keyHeader}`, in: 'header', message });
}
