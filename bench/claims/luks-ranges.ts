// Ranges of an unlocked LUKS image beside the same ranges of a plain one: what encryption costs a guest.

import { KiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { againstServer, diskLength } from '../ranges.ts';

export const luksRanges: Claim = {
  name: 'luks-ranges',
  measure: async function* measure(bench) {
    const { memory } = bench;
    const service = await memory.service();
    const raw = memory.fillRandom('luks.raw', diskLength);
    const encryption = { format: 'luks', passphrase: 'a passphrase of the bench' };
    await service.create({ name: 'encrypted', virtualSize: diskLength, encryption });
    await service.create({ name: 'plain', virtualSize: diskLength });
    await service.ask('POST', '/v1/images/encrypted/unlock', {
      body: { passphrase: encryption.passphrase },
      status: 204,
    });
    for (const image of ['encrypted', 'plain']) service.upload(raw, `/v1/images/${image}/data`);
    for (const { name, method, rangeLength, query } of jobs) {
      const job = {
        title: `${name} of an unlocked LUKS image, 16 at a time`,
        method,
        query: { ours: query, theirs: query },
        connections: 16,
        rangeLength,
        order: 'random',
        goal: undefined,
      } as const;
      const ours = { server: service, path: '/v1/images/encrypted/data' };
      const theirs = { server: service, path: '/v1/images/plain/data' };
      yield await againstServer(bench, { ours, theirs, peer: 'the same of a plain image' }, job);
    }
  },
};

const jobs = [
  { name: 'read 4 KiB', method: 'GET', rangeLength: 4 * KiB, query: '' },
  { name: 'read 64 KiB', method: 'GET', rangeLength: 64 * KiB, query: '' },
  { name: 'write 4 KiB', method: 'PUT', rangeLength: 4 * KiB, query: '?flush=false' },
  { name: 'write 64 KiB', method: 'PUT', rangeLength: 64 * KiB, query: '?flush=false' },
] as const;
