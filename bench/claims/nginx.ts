// Short ranges of an image beside nginx over the same bytes as a raw file.

import { KiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { isNginxThere, Nginx } from '../nginx.ts';
import { againstServer, makeSameDisk } from '../ranges.ts';

export const nginx: Claim = {
  name: 'nginx',
  measure: async function* measure(bench) {
    const title = 'read 4 KiB, 16 at a time';
    const peer = 'nginx, a raw file';
    if (!isNginxThere) {
      yield { name: `${title}; ${peer}`, missing: 'nginx is not installed (Debian: nginx-light)' };
      return;
    }
    const disk = await makeSameDisk(bench.memory);
    const server = await Nginx.start(bench.memory.folder);
    try {
      const target = { server, path: '/disk.raw' };
      yield await againstServer(
        bench,
        { ours: disk.service, theirs: target, peer },
        {
          title,
          method: 'GET',
          query: { ours: '', theirs: '' },
          connections: 16,
          rangeLength: 4 * KiB,
          order: 'random',
          goal: 0.5,
        },
      );
    } finally {
      server.end();
    }
  },
};
