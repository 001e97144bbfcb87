// A first day with the generated client; `test/client/` runs it against a live service. Its argument is the service's URL.

import assert from 'node:assert/strict';

import { createClient } from './qcowd/client/index.ts';
import * as qcowd from './qcowd/index.ts';
import type { Image, Job } from './qcowd/index.ts';

const client = createClient({ baseUrl: process.argv[2] ?? 'http://127.0.0.1:8080' });

/** The success of a call, or its problem as an error. */
function expectData<Data>(answer: {
  readonly data?: Data;
  readonly error?: { readonly detail: string };
}): NonNullable<Data> {
  if (answer.data === undefined || answer.data === null)
    throw new Error(answer.error?.detail ?? 'an answer without a body');
  return answer.data;
}

// A new image. The answer is the image, or a job when it takes longer than we want to wait.
const made = await qcowd.createImage({
  client,
  body: { name: 'vm1', virtualSize: 1_048_576, labels: { team: 'web' } },
  headers: { 'Idempotency-Key': 'first-day-1' },
});
const image: Image | Job = expectData(made);
assert.equal(made.response?.status, 201);
assert.equal(made.response.headers.get('location'), `/v1/images/${image.id}`);

// Bytes go in at any offset and come back as they were.
const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => (index * 7 + (index >> 8)) % 256);
const written = await qcowd.writeImageData({
  client,
  path: { image: 'vm1' },
  headers: { 'Content-Range': `bytes 1000-${1000 + bytes.length - 1}/*` },
  body: new Blob([bytes]),
});
assert.equal(written.response?.status, 204);
const read = await qcowd.readImageData({
  client,
  path: { image: 'vm1' },
  headers: { Range: `bytes=1000-${1000 + bytes.length - 1}` },
  parseAs: 'arrayBuffer',
});
assert.equal(read.response?.status, 206);
// The document can only say that bytes are binary; `parseAs` says as what they are handed over.
assert.deepEqual(new Uint8Array(expectData<unknown>(read) as ArrayBuffer), bytes);

// A snapshot, a check, a list.
const snapshot = expectData(await qcowd.createSnapshot({ client, path: { image: 'vm1' }, body: { name: 's1' } }));
assert.ok('name' in snapshot && snapshot.name === 's1');
const report = expectData(await qcowd.checkImage({ client, path: { image: 'vm1' }, headers: { Prefer: 'wait=60' } }));
assert.ok('clean' in report && report.clean);
const list = expectData(await qcowd.listImages({ client, query: { label: ['team:web'] } }));
assert.deepEqual(
  list.items.map(({ name }) => name),
  ['vm1'],
);

// An error is a problem whose code says which members it has.
const refused = await qcowd.createImage({ client, body: { name: 'vm1', virtualSize: 512 } });
const problem = refused.error;
assert.ok(problem?.code === 'name-conflict' && 'name' in problem);
assert.equal(problem.name, 'vm1');
assert.equal(problem.status, 409);

// Long work without waiting: a job, and then its end.
const asked = await qcowd.checkImage({ client, path: { image: 'vm1' }, headers: { Prefer: 'respond-async' } });
assert.equal(asked.response?.status, 202);
assert.equal(asked.response.headers.get('preference-applied'), 'respond-async');
const job = expectData(asked);
assert.ok('kind' in job && job.kind === 'check');
const ended = expectData(await qcowd.getJob({ client, path: { job: job.id }, query: { wait: 60 } }));
assert.equal(ended.state, 'succeeded');
assert.ok(ended.result !== undefined && 'clean' in ended.result && ended.result.clean);

console.log('done');
