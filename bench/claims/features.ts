// What each thing around the bytes costs on the data route: the same requests with it and without it.

import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';

import { KiB } from '../../src/base/units.ts';
import type { Claim, Comparison } from '../claim.ts';
import { againstServer, diskLength, makeSameDisk } from '../ranges.ts';
import type { RangeJob, Target } from '../ranges.ts';
import { Service } from '../service.ts';
import type { Bench } from '../workplace.ts';

/** None may cost more than a tenth. */
const goal = 0.9;
const token = 'bench-token-of-no-secrecy';

interface Feature {
  readonly name: string;
  readonly method: 'GET' | 'PUT';
  readonly headers: readonly string[];
}

export const features: Claim = {
  name: 'features',
  measure: async function* measure(bench) {
    const { service: plain } = await makeSameDisk(bench.memory);
    for (const feature of headersOnly) yield await compare(bench, { plain, with: plain }, feature);
    yield* leases(bench, plain);
    yield* tokens(bench, plain);
    yield* scraped(bench, plain);
  },
};

/** A body that the load generator sends has no known digest, so what is written goes without one. */
const headersOnly: readonly Feature[] = [
  { name: 'If-None-Match', method: 'GET', headers: ['if-none-match: "another"'] },
  { name: 'If-None-Match', method: 'PUT', headers: ['if-none-match: "another"'] },
  { name: 'Want-Content-Digest', method: 'GET', headers: ['want-content-digest: sha-256=1'] },
  { name: 'a Request-Id', method: 'GET', headers: ['request-id: bench-1'] },
];

/** Over a copy of the disk: whoever writes to a leased image has to name the lease. */
async function* leases(bench: Bench, plain: Target): AsyncGenerator<Comparison> {
  const service = await bench.memory.service();
  const file = bench.memory.path('disk.qcow2');
  service.upload(file, '/v1/imports/leased-disk');
  const body = { mode: 'exclusive', ttlSeconds: 3600 };
  const lease = await service.ask('POST', '/v1/images/leased-disk/leases', { body, status: 201 });
  const headers = [`lease-id: ${String(lease['id'])}`, `fencing-token: ${String(lease['fencingToken'])}`];
  const leased = { server: service, path: '/v1/images/leased-disk/data' };
  await warmUp(bench, { ...leased, headers });
  yield await compare(bench, { plain, with: leased }, { name: 'a lease', method: 'GET', headers });
  yield await compare(bench, { plain, with: leased }, { name: 'a lease', method: 'PUT', headers });
}

/** A second service with a list of tokens, over a copy of the same disk. */
async function* tokens(bench: Bench, plain: Target): AsyncGenerator<Comparison> {
  const list = bench.memory.path('tokens');
  writeFileSync(list, `bench:admin:${hash('sha256', token, 'hex')}\n`);
  const service = await Service.start(bench.memory.path('guarded'), [], { QCOWD_TOKENS_FILE: list });
  try {
    const headers = [`authorization: Bearer ${token}`];
    const file = bench.memory.path('disk.qcow2');
    service.upload(file, '/v1/imports/same-disk', headers);
    const guarded = { server: service, path: plain.path };
    await warmUp(bench, { ...guarded, headers });
    yield await compare(bench, { plain, with: guarded }, { name: 'a token', method: 'GET', headers });
    yield await compare(bench, { plain, with: guarded }, { name: 'a token', method: 'PUT', headers });
  } finally {
    await service.end();
  }
}

/** Metrics are always kept; what can be left out is that somebody reads them, here four times a second. */
async function* scraped(bench: Bench, plain: Target): AsyncGenerator<Comparison> {
  const scrape = (): void => {
    void fetch(`http://127.0.0.1:${plain.server.port}/metrics`).then((answer) => answer.arrayBuffer());
  };
  const timer: { current: NodeJS.Timeout | undefined } = { current: undefined };
  const around = {
    begin: (): void => {
      timer.current = setInterval(scrape, 250);
    },
    end: (): void => clearInterval(timer.current),
  };
  yield await compare(bench, { plain, with: plain }, { name: 'a scrape', method: 'GET', headers: [] }, around);
}

/** The other side has served for long by now: a process or thread that has not is half as fast, whatever it is asked. */
async function warmUp(bench: Bench, { server, path, headers = [] }: Target): Promise<void> {
  const load = { port: server.port, connections: 16, rangeLength: 4 * KiB, contentLength: diskLength, headers };
  const order = { kind: 'random', seconds: warmUpSeconds } as const;
  await bench.load({ ...load, path, method: 'GET', order });
  await bench.load({ ...load, path: `${path}?flush=false`, method: 'PUT', order });
}

const warmUpSeconds = 5;

async function compare(
  bench: Bench,
  sides: { readonly plain: Target; readonly with: Target },
  feature: Feature,
  around?: Target['around'],
): Promise<Comparison> {
  const { name, method, headers } = feature;
  const query = method === 'PUT' ? '?flush=false' : '';
  const job: RangeJob = {
    title: `${method === 'GET' ? 'read' : 'write'} 4 KiB, 16 at a time, with ${name}`,
    method,
    query: { ours: query, theirs: query },
    connections: 16,
    rangeLength: 4 * KiB,
    order: 'random',
    goal,
  };
  const ours = { ...sides.with, headers, around };
  return againstServer(bench, { ours, theirs: sides.plain, peer: 'without' }, job);
}
