import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { readCommitted } from '../../openapi/export.ts';
import { readContract } from '../support/contract.ts';
import type { GivenAnswer } from '../support/contract.ts';
import { requestsTo } from '../support/http-client.ts';

type Json = Record<string, unknown>;

const committed = readCommitted();
const contract = readContract(committed);

const lease = {
  id: 'lse_x',
  mode: 'exclusive',
  owner: null,
  fencingToken: 1,
  acquiredAt: '2026-11-29T12:00:00.000Z',
  expiresAt: '2026-11-29T12:01:00.000Z',
};
const granted: GivenAnswer = {
  method: 'POST',
  path: '/v1/images/vm1/leases',
  status: 201,
  headers: { 'content-type': 'application/json; charset=utf-8', 'request-id': 'r1' },
  body: JSON.stringify(lease),
};
const problem = {
  type: '/problems/image-locked',
  title: 'Somebody holds a lease on the image',
  status: 423,
  detail: 'Wait.',
  instance: '/v1/images/vm1/leases',
  code: 'image-locked',
  requestId: 'r1',
  holder: { mode: 'shared', owner: null, expiresAt: '2026-11-29T12:01:00.000Z' },
};
const refused: GivenAnswer = {
  ...granted,
  status: 423,
  headers: { 'content-type': 'application/problem+json', 'request-id': 'r1' },
  body: JSON.stringify(problem),
};

/** An answer with another body. */
function saying(answer: GivenAnswer, change: Json): GivenAnswer {
  return { ...answer, body: JSON.stringify({ ...(JSON.parse(String(answer.body)) as Json), ...change }) };
}

/** The document with something broken at a place. */
function broken(place: readonly string[], value: unknown): string {
  const document = JSON.parse(committed) as Json;
  const last = place.at(-1) ?? '';
  const holder = place.slice(0, -1).reduce<Json>((part, key) => part[key] as Json, document);
  assert.ok(last in holder, place.join('/'));
  holder[last] = value;
  return JSON.stringify(document);
}

describe('the judge of answers', () => {
  test('passes what is documented', () => {
    assert.deepEqual([contract.judge(granted), contract.judge(refused)], [[], []]);
  });

  test('refuses what is not: status, media type, member, type, header', () => {
    const wrong: Readonly<Record<string, readonly [GivenAnswer, RegExp]>> = {
      'a status': [{ ...granted, status: 200 }, /acquireLease does not document the status 200/],
      'a media type': [
        { ...granted, headers: { ...granted.headers, 'content-type': 'text/html' } },
        /the media type text\/html is not documented/,
      ],
      'an unknown member': [saying(granted, { secret: 1 }), /unevaluatedProperty":"secret"/],
      'a missing member': [saying(granted, { id: undefined }), /missingProperty":"id"/],
      'a number beyond 2^53': [saying(granted, { fencingToken: 2 ** 53 }), /\/fencingToken/],
      'a time that is none': [saying(granted, { expiresAt: 'soon' }), /\/expiresAt must match format "date-time"/],
      'a code of another operation': [saying(refused, { code: 'size-mismatch' }), /\/code/],
      'an unknown member of a problem': [saying(refused, { path: '/secret' }), /unevaluatedProperty":"path"/],
      'a wrong member deep in a problem': [saying(refused, { holder: { mode: 'odd' } }), /\/holder\/mode/],
      'a missing header': [{ ...granted, headers: { 'content-type': 'application/json' } }, /request-id is missing/],
      'an unknown header': [
        { ...granted, headers: { ...granted.headers, 'x-powered-by': 'us' } },
        /x-powered-by is not documented/,
      ],
      'a header of another form': [
        {
          ...granted,
          method: 'GET',
          path: '/v1/images/vm1/extents',
          status: 200,
          headers: { ...granted.headers, 'image-generation': 'seven' },
        },
        /the header image-generation/,
      ],
      'an unknown path that is answered': [{ ...granted, path: '/v1/odd' }, /an unknown path is answered otherwise/],
      'a body where none is due': [
        { ...granted, method: 'DELETE', path: '/v1/images/vm1/leases/l', status: 204 },
        /a body came that is not documented/,
      ],
    };
    for (const [what, [answer, words]] of Object.entries(wrong)) {
      assert.match(contract.judge(answer).join('\n'), words, what);
    }
  });

  test('sees a document that is broken', () => {
    const members = ['components', 'schemas', 'Lease', 'properties'];
    const places: readonly (readonly [readonly string[], unknown])[] = [
      [[...members, 'fencingToken', 'type'], 'string'],
      [[...members, 'mode', 'enum'], ['shared']],
      [
        ['components', 'schemas', 'Lease', 'required'],
        [...Object.keys(lease), 'holder'],
      ],
      [['paths', '/v1/images/{image}/leases', 'post', 'responses', '201', 'content'], {}],
      [['paths', '/v1/images/{image}/leases', 'post', 'responses'], {}],
    ];
    for (const [place, value] of places) {
      assert.notDeepEqual(readContract(broken(place, value)).judge(granted), [], place.join('/'));
    }
  });
});

describe('a request of a route test', () => {
  let server: Server;

  before(async () => {
    server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'request-id': 'r1' }).end('{"status":"bad"}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  after(() => server.close());

  test('fails when its answer is not as documented', async () => {
    assert.ok((server.address() as AddressInfo).port > 0);
    const { get, bytes } = requestsTo(server);
    for (const ask of [get, bytes]) await assert.rejects(async () => ask('/healthz').expect(200), /\/status must be/);
    await assert.rejects(async () => get('/healthz'), /GET \/healthz: 200 is not as documented/);
  });
});
