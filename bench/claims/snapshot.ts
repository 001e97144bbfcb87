// Internal snapshots taken and deleted, of an image with a little data and of one with all tables of 1 TiB.

import { rmSync } from 'node:fs';

import { MiB, TiB } from '../../src/base/units.ts';
import type { Claim, Comparison } from '../claim.ts';
import { runCommand, timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';
import type { Service } from '../service.ts';
import type { Bench } from '../workplace.ts';

export const snapshot: Claim = {
  name: 'snapshot',
  measure: async function* measure(bench) {
    yield* small(bench);
    yield* large(bench);
  },
};

/** On the disk: what counts here are the syncs. */
async function* small({ disk, options }: Bench): AsyncGenerator<Comparison> {
  const service = await disk.service();
  const path = disk.path('snapshot.qcow2');
  const raw = disk.fillRandom('snapshot.raw', 64 * MiB);
  runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  const id = await service.create({ name: 'snapped', virtualSize: 64 * MiB, preallocation: 'full' });
  yield* compare(
    { service, id, path },
    { title: '64 MiB allocated, on disk', goal: 1, rounds: options.rounds, warmUp: true },
  );
  await service.remove(id);
}

/** In memory: what counts here are 16 million entries and refcounts. */
async function* large({ memory }: Bench): AsyncGenerator<Comparison> {
  const service = await memory.service();
  const path = memory.path('snapshot.qcow2');
  const words = ['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, String(1 * TiB)];
  runCommand('qemu-img', words);
  const id = await service.create({ name: 'snapped', virtualSize: 1 * TiB, preallocation: 'metadata' });
  const title = '1 TiB, metadata preallocated, in memory';
  yield* compare({ service, id, path }, { title, goal: undefined, rounds: largeRounds, warmUp: false });
  await service.remove(id);
  rmSync(path);
}

const largeRounds = 2;

/** The same image twice: `id` is ours, `path` is QEMU's. */
async function* compare(
  sides: { readonly service: Service; readonly id: string; readonly path: string },
  options: {
    readonly title: string;
    readonly goal: number | undefined;
    readonly rounds: number;
    readonly warmUp: boolean;
  },
): AsyncGenerator<Comparison> {
  const { service, id, path } = sides;
  const deletions: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
  const ours = async (): Promise<number> => {
    const startedAt = performance.now();
    const taken = await service.ask('POST', `/v1/images/${id}/snapshots`, { body: { name: 's' }, status: 201 });
    const takenAt = performance.now();
    await service.ask('DELETE', `/v1/images/${id}/snapshots/${String(taken['id'])}`, { body: undefined, status: 204 });
    deletions.ours.push(performance.now() - takenAt);
    return takenAt - startedAt;
  };
  const theirs = async (): Promise<number> => {
    const seconds = timeCommand('qemu-img', ['snapshot', '-c', 's', path]);
    deletions.theirs.push(timeCommand('qemu-img', ['snapshot', '-d', 's', path]) * 1000);
    return seconds * 1000;
  };
  const taken = await inTurns({ ours, theirs }, options);
  const common = { unit: 'ms', better: 'less', goal: options.goal } as const;
  const { title, rounds } = options;
  yield { ...common, name: `snapshot, ${title}; qemu-img snapshot -c`, peer: 'qemu-img snapshot -c s FILE', ...taken };
  yield {
    ...common,
    name: `delete a snapshot, ${title}; qemu-img snapshot -d`,
    peer: 'qemu-img snapshot -d s FILE',
    ours: deletions.ours.slice(-rounds),
    theirs: deletions.theirs.slice(-rounds),
    cost: undefined,
  };
}
