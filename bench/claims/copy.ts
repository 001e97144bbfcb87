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
    const service = await disk.service();
    const raw = memory.path('copy.raw');
    fillMixed(raw);
    const target = disk.path('copy');
    const ours = async (source: Source, compressionType: string): Promise<number> => {
      settleDisk();
      const startedMs = performance.now();
      const body = { name: 'copy', compress: true, compressionType };
      await service.ask('POST', `/v1/images/${source}/copy`, { body, status: 201 });
      const seconds = (performance.now() - startedMs) / 1000;
      await service.remove('copy');
      return imageLength / MiB / seconds;
    };
    for (const [source, words] of Object.entries(sources)) {
      runCommand('qemu-img', ['convert', ...words, '-f', 'raw', '-O', 'qcow2', raw, memory.path(source)]);
      service.upload(memory.path(source), `/v1/imports/${source}`);
    }
    const options = { rounds: bench.options.rounds, warmUp: true };
    for (const { source, compressionType, words, goal } of comparisons) {
      const form = ['-O', 'qcow2', '-o', `compression_type=${compressionType}`];
      const convert = ['convert', '-c', ...words, ...form, memory.path(source), target];
      const theirs = async (): Promise<number> => {
        settleDisk();
        const seconds = timeCommand('qemu-img', convert) + timeCommand('sync', [target]);
        rmSync(target);
        return imageLength / MiB / seconds;
      };
      const from = source === 'packed' ? `${compressionType} of the same` : compressionType;
      yield {
        name: `copy with ${from}; qemu-img convert ${['-c', ...words].join(' ')} and sync`,
        peer: `qemu-img ${convert.join(' ')} && sync ${target}`,
        unit: 'MiB/s',
        better: 'more',
        goal,
        ...(await inTurns({ ours: () => ours(source, compressionType), theirs }, options)),
      };
    }
  },
};

/** What is copied, and how qemu-img makes it. */
const sources = {
  plain: [],
  packed: ['-c', '-o', 'compression_type=zstd'],
} as const;

type Source = keyof typeof sources;

const comparisons = [
  { source: 'plain', compressionType: 'zlib', words: [], goal: 1.5 },
  { source: 'plain', compressionType: 'zlib', words: ['-W', '-m', '16'], goal: 1.2 },
  { source: 'plain', compressionType: 'zstd', words: [], goal: 1.5 },
  { source: 'packed', compressionType: 'zstd', words: [], goal: 1.5 },
] as const;

/** With deflate, qemu-img is busy for some seconds with so much: its start is nothing beside them. */
const imageLength = 128 * MiB;

/** Program code and tables: what shrinks to about a third, as the file of Node itself. */
function fillMixed(path: string): void {
  const code = readFileSync(process.execPath);
  const file = openSync(path, 'w');
  for (let at = 0; at < imageLength;) at += writeSync(file, code, 0, Math.min(code.length, imageLength - at), at);
  closeSync(file);
}
