// Writes that survive a crash when they are answered, on a disk: the plain server syncs each, we sync what waits together.

import { KiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { againstPlainServer, connectionCounts, makeSameDisk } from '../ranges.ts';

export const durableWrite: Claim = {
  name: 'durable-write',
  measure: async function* measure(bench) {
    const disk = await makeSameDisk(bench.disk);
    for (const connections of connectionCounts) {
      yield await againstPlainServer(bench, disk, {
        title: `write 4 KiB durably, ${connections} at a time`,
        method: 'PUT',
        query: { ours: '', theirs: '?durable' },
        connections,
        rangeLength: 4 * KiB,
        order: 'random',
        goal: undefined,
      });
    }
  },
};
