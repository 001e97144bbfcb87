// A whole image in over HTTP, judged and durable, beside `cp` and `sync` of the same file, and beside qemu-img for raw bytes.

import { rmSync } from 'node:fs';

import { MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { runCommand, settleDisk, timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

export const importImage: Claim = {
  name: 'import',
  measure: async function* measure(bench) {
    const { memory, disk } = bench;
    const raw = memory.fillRandom('import.raw', imageLength);
    const qcow2 = memory.path('import.qcow2');
    runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    const service = await disk.service();
    const copy = disk.path('copy');
    const take = async (file: string, query: string): Promise<number> => {
      settleDisk();
      const seconds = service.upload(file, `/v1/imports/incoming${query}`);
      await service.remove('incoming');
      return imageLength / MiB / seconds;
    };
    const make = async (command: string, words: readonly string[]): Promise<number> => {
      settleDisk();
      const seconds = timeCommand(command, words) + timeCommand('sync', [copy]);
      rmSync(copy);
      return imageLength / MiB / seconds;
    };
    const options = { rounds: bench.options.rounds, warmUp: true };
    yield {
      name: 'import of a qcow2 file; cp and sync',
      peer: `cp ${qcow2} ${copy} && sync ${copy}`,
      unit: 'MiB/s',
      better: 'more',
      goal: 0.7,
      ...(await inTurns({ ours: () => take(qcow2, ''), theirs: () => make('cp', [qcow2, copy]) }, options)),
    };
    yield {
      name: 'import of a raw file; cp and sync',
      peer: `cp ${raw} ${copy} && sync ${copy}`,
      unit: 'MiB/s',
      better: 'more',
      goal: 0.7,
      ...(await inTurns({ ours: () => take(raw, '?format=raw'), theirs: () => make('cp', [raw, copy]) }, options)),
    };
    const convert = ['convert', '-f', 'raw', '-O', 'qcow2', raw, copy];
    yield {
      name: 'import of a raw file; qemu-img convert and sync',
      peer: `qemu-img ${convert.join(' ')} && sync ${copy}`,
      unit: 'MiB/s',
      better: 'more',
      goal: undefined,
      ...(await inTurns({ ours: () => take(raw, '?format=raw'), theirs: () => make('qemu-img', convert) }, options)),
    };
  },
};

const imageLength = 512 * MiB;
