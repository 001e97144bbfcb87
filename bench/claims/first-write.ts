// Writes into an empty image: every one finds a new cluster. qemu-img does the same without any network.

import { KiB, MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { runCommand } from '../processes.ts';
import { qemuWords, runQemuLoad } from '../qemu.ts';
import { inTurns } from '../rounds.ts';

export const firstWrite: Claim = {
  name: 'first-write',
  measure: async function* measure(bench) {
    const { memory } = bench;
    const service = await memory.service();
    const path = memory.path('first.qcow2');
    for (const rangeLength of rangeLengths) {
      const ours = async (): Promise<number> => {
        await service.create({ name: 'first', virtualSize });
        const { requests, seconds } = await bench.load({
          port: service.port,
          method: 'PUT',
          path: '/v1/images/first/data?flush=false',
          connections: depth,
          rangeLength,
          headers: [],
          contentLength: virtualSize,
          order: { kind: 'each', stride, requests: virtualSize / stride },
        });
        await service.remove('first');
        return requests / seconds;
      };
      const load = { path, writes: true, depth, rangeLength, stride, requests: virtualSize / stride };
      const theirs = async (): Promise<number> => {
        runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(virtualSize)]);
        return runQemuLoad(load);
      };
      yield {
        name: `first write of ${rangeLength / KiB} KiB to each cluster, ${depth} at a time; qemu-img bench, no network`,
        peer: `qemu-img ${qemuWords(load).join(' ')}`,
        unit: 'req/s',
        better: 'more',
        goal: undefined,
        ...(await inTurns({ ours, theirs }, { rounds: bench.options.rounds, warmUp: true })),
      };
    }
  },
};

const rangeLengths = [4 * KiB, 64 * KiB];
const stride = 64 * KiB;
const depth = 16;
const virtualSize = 256 * MiB;
