// Durable writes that wait together share a flush: syncs are counted, not timed.

import { statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { KiB, MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { inTurns } from '../rounds.ts';
import { Service } from '../service.ts';

const counter = fileURLToPath(new URL('../count-syncs.ts', import.meta.url));
const virtualSize = 64 * MiB;
const rangeLength = 4 * KiB;
/** 16 connections have so many turns. */
const writes = 16 * 16;

export const sharedFlushes: Claim = {
  name: 'shared-flushes',
  measure: async function* measure(bench) {
    const log = bench.disk.path('syncs');
    writeFileSync(log, '');
    const folder = bench.disk.path('counted');
    const service = await Service.start(folder, ['--import', counter], { SYNC_LOG: log });
    try {
      const id = await service.create({ name: 'flushed', virtualSize, preallocation: 'full' });
      const syncsOfAWrite = async (connections: number): Promise<number> => {
        const before = statSync(log).size;
        await bench.load({
          port: service.port,
          path: `/v1/images/${id}/data`,
          method: 'PUT',
          connections,
          rangeLength,
          contentLength: virtualSize,
          headers: [],
          order: { kind: 'each', stride: rangeLength, requests: writes },
        });
        return (statSync(log).size - before) / writes;
      };
      yield {
        name: 'write 4 KiB durably, 16 at a time; 1 at a time',
        peer: 'the same requests over one connection',
        unit: 'syncs for a write',
        better: 'less',
        goal: undefined,
        ...(await inTurns(
          { ours: () => syncsOfAWrite(16), theirs: () => syncsOfAWrite(1) },
          { rounds: bench.options.rounds, warmUp: true },
        )),
      };
    } finally {
      await service.end();
    }
  },
};
