import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';
import type { Response } from 'supertest';

import { readCommitted } from '../../openapi/export.ts';
import { explainProblems } from '../../src/http/problem.ts';
import { fuzzSeed } from '../support/fuzz-seed.ts';
import { startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly enum?: readonly unknown[];
}

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, object>>;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

const document = JSON.parse(readCommitted()) as Document;
const statuses = new Map(explainProblems().map(({ code, status }) => [code as string, status]));
/** Enough to meet every operation many times; more where time is no matter. */
const requestCount = process.env['CI'] === undefined ? 500 : 5_000;
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'vm', virtualSize: 1_048_576 });
  await service.create({ name: 'base', virtualSize: 65_536 });
});
after(async () => service[Symbol.asyncDispose]());

const oddTexts = [
  '',
  'x',
  '-1',
  '0',
  '1',
  '511',
  '65536',
  '1.5',
  '9007199254740992',
  'true',
  'a:b',
  's1',
  '%',
  'ä',
  '__proto__',
];
const oddValues = [
  null,
  true,
  -1,
  0,
  1,
  512,
  65_536,
  1_048_576,
  1.5,
  2 ** 53 - 1,
  '',
  's1',
  'vm',
  'off',
  [],
  {},
  { image: 'base' },
];
const names = ['vm', 'base', 'other', 'nobody', 's1', '1', 'img_x', '..', 'a b', 'constructor', 'x'.repeat(200)];

/** Members that the schema names, with values that it allows and others. */
function bodyOf(schema: Schema | undefined): fc.Arbitrary<unknown> {
  const resolved =
    schema?.$ref === undefined ? schema : document.components.schemas[schema.$ref.split('/').at(-1) ?? ''];
  const members = Object.entries(resolved?.properties ?? {}).map(([name, member]) => {
    const known = [...(member.enum ?? []), ...(name === 'name' ? names : [])];
    return [name, fc.option(fc.constantFrom(...known, ...oddValues), { nil: undefined })] as const;
  });
  const shaped = fc.record({
    ...Object.fromEntries(members),
    bogus: fc.constantFrom(undefined, undefined, undefined, 1),
  });
  return fc.oneof({ weight: 8, arbitrary: shaped }, { weight: 1, arbitrary: fc.constantFrom(...oddValues) });
}

function requestsOf(method: string, path: string, operation: Operation): fc.Arbitrary<Asked> {
  const parameters = operation.parameters ?? [];
  const query = parameters.filter((parameter) => parameter.in === 'query');
  const pairs = query.map(({ name, schema }) =>
    fc.option(fc.tuple(fc.constant(name), fc.constantFrom(...(schema.enum ?? []).map(String), ...oddTexts)), {
      freq: 1,
      nil: undefined,
    }),
  );
  const content = operation.requestBody?.content;
  const body = content === undefined ? fc.constant(undefined) : bodyOf(content['application/json']?.schema);
  const header = fc.constantFrom<Record<string, string>>(
    {},
    { Range: 'bytes=0-9' },
    { Range: 'bytes=-0,5-4' },
    { Range: 'bytes=99999999-' },
    { 'If-Match': '"x"' },
    { 'If-None-Match': '*' },
    { 'Content-Range': 'bytes 0-3/*' },
    { 'Content-Digest': 'sha-256=:x:' },
    { 'Want-Content-Digest': 'sha-256=1' },
  );
  const place = fc.array(fc.constantFrom(...names), { minLength: 2, maxLength: 2 });
  return fc.tuple(place, fc.tuple(...pairs), body, header).map(([values, chosen, given, headers]) => {
    let at = 0;
    const filled = path.replace(/\{[^}]+\}/g, () => encodeURIComponent(values[at++] ?? 'vm'));
    const asked = new URLSearchParams(chosen.filter((pair) => pair !== undefined));
    const search = asked.size === 0 ? '' : `?${asked.toString()}`;
    return { method, path: `${filled}${search}`, operation, headers, body: given };
  });
}

const anyRequest = fc.oneof(
  ...Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => requestsOf(method, path, operation)),
  ),
);

async function send({ method, path, headers, body }: Asked): Promise<Response> {
  const asked = {
    get: () => service.bytes(path),
    post: () => service.post(path),
    put: () => service.put(path),
    patch: () => service.patch(path, typeof body === 'object' && body !== null ? body : {}),
    delete: () => service.delete(path),
  }[method];
  assert.ok(asked !== undefined, method);
  const request = asked().set(headers);
  if (body === undefined || method === 'patch') return request;
  if (method === 'put') return request.send(Buffer.from(JSON.stringify(body)));
  return request.set('Content-Type', 'application/json').send(JSON.stringify(body));
}

describe('any request', () => {
  test('is answered as documented, never with an internal error', { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(anyRequest, async (asked) => {
        const answer = await send(asked);
        const where = `${asked.method} ${asked.path} ${JSON.stringify(asked.headers)} ${JSON.stringify(asked.body)}`;
        if (answer.status < 400) {
          assert.ok(String(answer.status) in asked.operation.responses, `${where}: ${answer.status}`);
          return;
        }
        assert.match(String(answer.headers['content-type']), /^application\/problem\+json/, where);
        const problem = JSON.parse(Buffer.isBuffer(answer.body) ? answer.body.toString() : answer.text) as {
          code: string;
          status: number;
        };
        assert.equal(problem.status, answer.status, where);
        assert.equal(statuses.get(problem.code), answer.status, where);
        assert.ok(answer.status < 500 || answer.status === 507, `${where}: ${answer.status} ${problem.code}`);
      }),
      { numRuns: requestCount, seed: fuzzSeed() },
    );
  });
});
