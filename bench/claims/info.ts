// What is asked for most: what an image is. The service knows it; qemu-img is started and reads the file.

import { GiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

const count = 20;

export const info: Claim = {
  name: 'info',
  measure: async function* measure(bench) {
    const service = await bench.disk.service();
    const id = await service.create({ name: 'shown', virtualSize: 10 * GiB });
    const words = ['info', '-U', '--output=json', service.fileOf(id)];
    const ours = async (): Promise<number> => {
      const startedAt = performance.now();
      for (let index = 0; index < count; index += 1) {
        await service.ask('GET', `/v1/images/${id}`, { body: undefined, status: 200 });
      }
      return (performance.now() - startedAt) / count;
    };
    const theirs = async (): Promise<number> => {
      let seconds = 0;
      for (let index = 0; index < count; index += 1) seconds += timeCommand('qemu-img', words);
      return (seconds / count) * 1000;
    };
    yield {
      name: 'show an image, on disk; qemu-img info',
      peer: `qemu-img ${words.slice(0, -1).join(' ')} FILE`,
      unit: 'ms',
      better: 'less',
      goal: 1,
      ...(await inTurns({ ours, theirs }, { rounds: bench.options.rounds, warmUp: true })),
    };
    await service.remove(id);
  },
};
