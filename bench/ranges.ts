// Ranges over HTTP and through qemu-img: the same work on the same disk, for every claim that reads or writes ranges.

import { GiB, MiB } from '../src/base/units.ts';
import type { Comparison } from './claim.ts';
import { runCommand } from './processes.ts';
import { qemuWords, runQemuLoad } from './qemu.ts';
import { inTurns } from './rounds.ts';
import type { Figure } from './rounds.ts';
import type { Bench, Site } from './workplace.ts';

export const connectionCounts = [1, 16] as const;

/** Of the disk that is read and written. */
export const diskLength = 0.5 * GiB;

/** Who serves the disk, and where. */
export interface Target {
  readonly server: { readonly port: number; readonly cpuSeconds: number };
  readonly path: string;
  /** Lines of the request besides the usual ones. */
  readonly headers?: readonly string[];
  /** What goes on meanwhile. */
  readonly around?: { readonly begin: () => void; readonly end: () => void } | undefined;
}

/** One disk of random bytes as a raw file, as an image of QEMU's, and as an image of ours. */
export interface SameDisk {
  readonly plain: Target;
  readonly service: Target;
  readonly qemuPath: string;
}

/** What is asked for again and again. */
export interface RangeJob {
  readonly title: string;
  readonly method: 'GET' | 'PUT';
  /** Behind the `?` of our requests, and of the plain server's. */
  readonly query: { readonly ours: string; readonly theirs: string };
  readonly connections: number;
  readonly rangeLength: number;
  /** At random places, or once through the disk from its start to its end. */
  readonly order: 'random' | 'through';
  readonly goal: number | undefined;
}

export async function makeSameDisk(site: Site): Promise<SameDisk> {
  const raw = site.fillRandom('disk.raw', diskLength);
  const qemuPath = site.path('disk.qcow2');
  runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qemuPath]);
  const service = await site.service();
  service.upload(qemuPath, '/v1/imports/same-disk');
  return {
    plain: { server: await site.serve(raw), path: '/' },
    service: { server: service, path: '/v1/images/same-disk/data' },
    qemuPath,
  };
}

export async function againstPlainServer(bench: Bench, disk: SameDisk, job: RangeJob): Promise<Comparison> {
  return againstServer(bench, { ours: disk.service, theirs: disk.plain, peer: 'plain node:http server' }, job);
}

/** Figures in requests a second, or in MiB a second when the disk is gone through. */
export async function againstServer(
  bench: Bench,
  sides: { readonly ours: Target; readonly theirs: Target; readonly peer: string },
  job: RangeJob,
): Promise<Comparison> {
  const ours = (): Promise<Figure> => runJob(bench, job, { ...sides.ours, query: job.query.ours });
  const theirs = (): Promise<Figure> => runJob(bench, job, { ...sides.theirs, query: job.query.theirs });
  return {
    name: `${job.title}; ${sides.peer}`,
    peer: `${job.method} ${sides.theirs.path}${job.query.theirs}`,
    unit: unitOf(job),
    better: 'more',
    goal: job.goal,
    ...(await inTurns({ ours, theirs }, { rounds: bench.options.rounds, warmUp: true })),
  };
}

/** qemu-img works in its own process and without HTTP: what that is worth shows in a few pairs. */
export async function againstQemu(bench: Bench, disk: SameDisk, job: RangeJob): Promise<Comparison> {
  const through = job.order === 'through';
  const rangeLength = Math.min(job.rangeLength, 1 * MiB);
  const load = {
    path: disk.qemuPath,
    writes: job.method === 'PUT',
    depth: job.connections,
    rangeLength,
    stride: through ? rangeLength : rangeLength * strideFactor,
    requests: through ? diskLength / rangeLength : Math.min(qemuRequestsMax, qemuBytes / rangeLength),
  };
  const ours = (): Promise<Figure> => runJob(bench, job, { ...disk.service, query: job.query.ours });
  const theirs = async (): Promise<number> => {
    const requests = runQemuLoad(load);
    return through ? (requests * rangeLength) / MiB : requests;
  };
  return {
    name: `${job.title}; qemu-img bench, no network`,
    peer: `qemu-img ${qemuWords(load).join(' ')}`,
    unit: unitOf(job),
    better: 'more',
    goal: undefined,
    ...(await inTurns({ ours, theirs }, { rounds: qemuRounds, warmUp: false })),
  };
}

const qemuRounds = 2;
/** Odd, so that the walk over a power of two of ranges meets them all, and neighbours late. */
const strideFactor = 37;
const qemuRequestsMax = 20_000;
const qemuBytes = 1 * GiB;

function unitOf({ order }: RangeJob): string {
  return order === 'through' ? 'MiB/s' : 'req/s';
}

async function runJob(bench: Bench, job: RangeJob, at: Target & { readonly query: string }): Promise<Figure> {
  const { method, connections, rangeLength } = job;
  const through = job.order === 'through';
  const cpuBefore = at.server.cpuSeconds;
  at.around?.begin();
  const done = await bench.load({
    port: at.server.port,
    path: `${at.path}${at.query}`,
    method,
    connections,
    rangeLength,
    contentLength: diskLength,
    headers: at.headers ?? [],
    order: through
      ? { kind: 'each', stride: rangeLength, requests: diskLength / rangeLength }
      : { kind: 'random', seconds: bench.options.seconds },
  });
  at.around?.end();
  const { requests, bytes, seconds } = done;
  const work = through ? bytes / MiB : requests;
  return { value: work / seconds, cost: ((at.server.cpuSeconds - cpuBefore) / work) * 1e6 };
}
