// A compressed copy of an image over HTTP, durable, beside `qemu-img convert -c` of the same file and `sync`.

import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';

import { MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { runCommand, settleDisk, timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

export const copyImage: Claim = {
  name: 'copy',
  measure: async function* measure(bench) {
    const { memory, disk } = bench;
    const raw = memory.path('copy.raw');
    fillMixed(raw);
    const source = memory.path('copy.qcow2');
    runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, source]);
    const service = await disk.service();
    service.upload(source, '/v1/imports/source');
    const target = disk.path('copy');
    const ours = async (compressionType: string): Promise<number> => {
      settleDisk();
      const startedMs = performance.now();
      const body = { name: 'copy', compress: true, compressionType };
      await service.ask('POST', '/v1/images/source/copy', { body, status: 201 });
      const seconds = (performance.now() - startedMs) / 1000;
      await service.remove('copy');
      return imageLength / MiB / seconds;
    };
    const options = { rounds: bench.options.rounds, warmUp: true };
    for (const { compressionType, words, goal } of comparisons) {
      const convert = [
        'convert',
        '-c',
        ...words,
        '-O',
        'qcow2',
        '-o',
        `compression_type=${compressionType}`,
        source,
        target,
      ];
      const theirs = async (): Promise<number> => {
        settleDisk();
        const seconds = timeCommand('qemu-img', convert) + timeCommand('sync', [target]);
        rmSync(target);
        return imageLength / MiB / seconds;
      };
      yield {
        name: `copy with ${compressionType}; qemu-img convert ${['-c', ...words].join(' ')} and sync`,
        peer: `qemu-img ${convert.join(' ')} && sync ${target}`,
        unit: 'MiB/s',
        better: 'more',
        goal,
        ...(await inTurns({ ours: () => ours(compressionType), theirs }, options)),
      };
    }
  },
};

const comparisons = [
  { compressionType: 'zlib', words: [], goal: 1.5 },
  { compressionType: 'zlib', words: ['-W', '-m', '16'], goal: 1.2 },
  { compressionType: 'zstd', words: [], goal: 1.5 },
] as const;

const imageLength = 256 * MiB;

/** Program code and tables: what shrinks to about a third, as the file of Node itself. */
function fillMixed(path: string): void {
  const code = readFileSync(process.execPath);
  const file = openSync(path, 'w');
  for (let at = 0; at < imageLength;) at += writeSync(file, code, 0, Math.min(code.length, imageLength - at), at);
  closeSync(file);
}
