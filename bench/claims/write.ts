// Guest bytes in over HTTP, into clusters that are there: short ranges at random places, and the whole disk in sequence.

import { KiB, MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { againstPlainServer, againstQemu, connectionCounts, diskLength, makeSameDisk } from '../ranges.ts';

export const write: Claim = {
  name: 'write',
  measure: async function* measure(bench) {
    const disk = await makeSameDisk(bench.memory);
    for (const { name, length } of ranges) {
      for (const connections of connectionCounts) {
        const job = {
          title: `write ${name}, ${connections} at a time`,
          method: 'PUT',
          query: { ours: '?flush=false', theirs: '' },
          connections,
          rangeLength: length ?? diskLength / connections,
          order: length === undefined ? 'through' : 'random',
          goal: undefined,
        } as const;
        yield await againstPlainServer(bench, disk, job);
        yield await againstQemu(bench, disk, job);
      }
    }
  },
};

const ranges = [
  { name: '4 KiB', length: 4 * KiB },
  { name: '64 KiB', length: 64 * KiB },
  { name: '1 MiB', length: 1 * MiB },
  { name: 'in sequence', length: undefined },
] as const;
