// The check of an image of 1 TiB with all its tables: 16 million L2 entries and as many refcounts, in one and the same file.

import { TiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

export const check: Claim = {
  name: 'check',
  measure: async function* measure(bench) {
    const service = await bench.memory.service();
    const id = await service.create({ name: 'checked', virtualSize: 1 * TiB, preallocation: 'metadata' });
    const ours = async (): Promise<number> => {
      const startedAt = performance.now();
      await service.ask('POST', `/v1/images/${id}/check`, { body: undefined, status: 200 });
      return (performance.now() - startedAt) / 1000;
    };
    // The service has the file open, for reading only.
    const words = ['check', '-q', '-U', '-f', 'qcow2', service.fileOf(id)];
    const theirs = async (): Promise<number> => timeCommand('qemu-img', words);
    const taken = await inTurns({ ours, theirs }, { rounds: bench.options.rounds, warmUp: true });
    await service.remove(id);
    yield {
      name: 'check of a 1 TiB metadata-preallocated image; qemu-img check',
      peer: `qemu-img ${words.join(' ')}`,
      unit: 's',
      better: 'less',
      goal: 1,
      ...taken,
    };
  },
};
