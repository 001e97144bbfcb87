// Guest bytes out over HTTP: short ranges at random places, and the whole disk from its start to its end.

import { KiB, MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { againstPlainServer, againstQemu, connectionCounts, diskLength, makeSameDisk } from '../ranges.ts';

export const read: Claim = {
  name: 'read',
  measure: async function* measure(bench) {
    const disk = await makeSameDisk(bench.memory);
    for (const { name, length, goal } of ranges) {
      for (const connections of connectionCounts) {
        const job = {
          title: `read ${name}, ${connections} at a time`,
          method: 'GET',
          query: { ours: '', theirs: '' },
          connections,
          rangeLength: length ?? diskLength / connections,
          order: length === undefined ? 'through' : 'random',
          goal,
        } as const;
        yield await againstPlainServer(bench, disk, job);
        yield await againstQemu(bench, disk, job);
      }
    }
  },
};

const ranges = [
  { name: '4 KiB', length: 4 * KiB, goal: undefined },
  { name: '64 KiB', length: 64 * KiB, goal: 0.6 },
  { name: '1 MiB', length: 1 * MiB, goal: undefined },
  { name: 'in sequence', length: undefined, goal: undefined },
] as const;
