// New images: ours are durable and catalogued when they are answered, those of qemu-img are neither.

import { rmSync } from 'node:fs';

import { GiB, TiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

export const create: Claim = {
  name: 'create',
  measure: async function* measure(bench) {
    for (const { name, site, virtualSize, preallocation, count, goal } of [
      { name: '10 GiB, on disk', site: bench.disk, virtualSize: 10 * GiB, preallocation: 'off', count: 10, goal: 1 },
      {
        name: '1 TiB, metadata preallocated',
        site: bench.memory,
        virtualSize: TiB,
        preallocation: 'metadata',
        count: 1,
        goal: undefined,
      },
    ]) {
      const service = await site.service();
      const names = Array.from({ length: count }, (_, index) => `created-${index}`);
      const ours = async (): Promise<number> => {
        const startedAt = performance.now();
        for (const image of names) await service.create({ name: image, virtualSize, preallocation });
        const seconds = (performance.now() - startedAt) / 1000;
        for (const image of names) await service.remove(image);
        return (seconds / count) * 1000;
      };
      const wordsOf = (path: string): readonly string[] => {
        const option = `preallocation=${preallocation}`;
        return ['create', '-q', '-f', 'qcow2', '-o', option, path, String(virtualSize)];
      };
      const theirs = async (): Promise<number> => {
        const paths = names.map((image) => site.path(`${image}.qcow2`));
        const seconds = paths.reduce((sum, path) => sum + timeCommand('qemu-img', wordsOf(path)), 0);
        for (const path of paths) rmSync(path);
        return (seconds / count) * 1000;
      };
      yield {
        name: `create ${name}; qemu-img create`,
        peer: `qemu-img ${wordsOf('FILE').join(' ')}`,
        unit: 'ms',
        better: 'less',
        goal,
        ...(await inTurns({ ours, theirs }, { rounds: bench.options.rounds, warmUp: count > 1 })),
      };
    }
  },
};
