// A whole disk out of LUKS images whose ciphers the processor has no instructions for, beside `qemu-img convert` from them.

import { rmSync } from 'node:fs';

import { MiB } from '../../src/base/units.ts';
import type { Claim } from '../claim.ts';
import { runCommand, timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';
import { createLuks, passphrase, readWords, writeWords } from './luks.ts';

export const luksCiphers: Claim = {
  name: 'luks-ciphers',
  measure: async function* measure(bench) {
    const { memory, options } = bench;
    const raw = memory.fillRandom('luks.raw', diskLength);
    const taken = memory.path('luks-taken.raw');
    const service = await memory.service();
    for (const { algorithm, mode } of ciphers) {
      const name = `${algorithm}-${mode}`;
      const file = memory.path(`${name}.qcow2`);
      createLuks(file, diskLength, [`encrypt.cipher-alg=${algorithm}`, `encrypt.cipher-mode=${mode}`]);
      runCommand('qemu-img', writeWords(raw, file));
      service.upload(file, `/v1/imports/${name}`);
      await service.ask('POST', `/v1/images/${name}/unlock`, { body: { passphrase }, status: 204 });
      yield {
        name: `read a LUKS image with ${algorithm} in ${mode.toUpperCase()}, in memory; qemu-img convert to raw`,
        peer: `qemu-img ${readWords('FILE', 'RAW').join(' ')}`,
        unit: 'MiB/s',
        better: 'more',
        goal: undefined,
        ...(await inTurns(
          {
            ours: async () => {
              const seconds = service.download(`/v1/images/${name}/data`, taken);
              rmSync(taken);
              return diskLength / MiB / seconds;
            },
            theirs: async () => {
              const seconds = timeCommand('qemu-img', readWords(file, taken));
              rmSync(taken);
              return diskLength / MiB / seconds;
            },
          },
          { rounds: options.rounds, warmUp: true },
        )),
      };
      await service.remove(name);
      rmSync(file);
    }
  },
};

const diskLength = 64 * MiB;

const ciphers = [
  { algorithm: 'serpent-256', mode: 'xts' },
  { algorithm: 'twofish-256', mode: 'xts' },
  { algorithm: 'cast5-128', mode: 'cbc' },
] as const;
