// A whole encrypted disk out and in over HTTP, beside `qemu-img convert` from and to the same LUKS image.

import { rmSync } from 'node:fs';

import { MiB } from '../../src/base/units.ts';
import { qemuImg } from '../../test/support/qemu-img.ts';
import type { Claim } from '../claim.ts';
import { runCommand, timeCommand } from '../processes.ts';
import { inTurns } from '../rounds.ts';

export const luks: Claim = {
  name: 'luks',
  measure: async function* measure(bench) {
    const { memory, options } = bench;
    const raw = memory.fillRandom('luks.raw', diskLength);
    const empty = memory.path('luks-empty.qcow2');
    const full = memory.path('luks-full.qcow2');
    const taken = memory.path('luks-taken.raw');
    createLuks(empty, diskLength, []);
    runCommand('cp', [empty, full]);
    runCommand('qemu-img', writeWords(raw, full));

    const service = await memory.service();
    const take = async (file: string): Promise<void> => {
      service.upload(file, '/v1/imports/encrypted');
      await service.ask('POST', '/v1/images/encrypted/unlock', { body: { passphrase }, status: 204 });
    };
    const common = { unit: 'MiB/s', better: 'more', goal: 0.5 } as const;
    const turns = { rounds: options.rounds, warmUp: true };
    const speed = (seconds: number): number => diskLength / MiB / seconds;

    await take(full);
    yield {
      ...common,
      name: 'read a LUKS image, in memory; qemu-img convert to raw',
      peer: `qemu-img ${readWords('FILE', 'RAW').join(' ')}`,
      ...(await inTurns(
        {
          ours: async () => {
            const seconds = service.download('/v1/images/encrypted/data', taken);
            rmSync(taken);
            return speed(seconds);
          },
          theirs: async () => {
            const seconds = timeCommand('qemu-img', readWords(full, taken));
            rmSync(taken);
            return speed(seconds);
          },
        },
        turns,
      )),
    };
    await service.remove('encrypted');

    const target = memory.path('luks-target.qcow2');
    yield {
      ...common,
      name: 'write an empty LUKS image, in memory; qemu-img convert -n from raw',
      peer: `qemu-img ${writeWords('RAW', 'FILE').join(' ')}`,
      ...(await inTurns(
        {
          ours: async () => {
            await take(empty);
            const seconds = service.upload(raw, '/v1/images/encrypted/data');
            await service.remove('encrypted');
            return speed(seconds);
          },
          theirs: async () => {
            runCommand('cp', [empty, target]);
            const seconds = timeCommand('qemu-img', writeWords(raw, target));
            rmSync(target);
            return speed(seconds);
          },
        },
        turns,
      )),
    };
  },
};

const diskLength = 256 * MiB;
export const passphrase = 'a passphrase of the bench';
const secret = ['--object', `secret,id=key,data=${passphrase}`];

/** Has QEMU make an empty image with as little key derivation as it knows: it is the ciphers that are compared. */
export function createLuks(file: string, length: number, choices: readonly string[]): void {
  const options = ['encrypt.format=luks', 'encrypt.key-secret=key', 'encrypt.iter-time=10', ...choices].join(',');
  qemuImg('create', '-q', '-f', 'qcow2', ...secret, '-o', options, file, String(length));
}

function imageOptions(file: string): string {
  return `driver=qcow2,encrypt.key-secret=key,file.driver=file,file.filename=${file}`;
}

export function readWords(file: string, raw: string): readonly string[] {
  return ['convert', ...secret, '--image-opts', imageOptions(file), '-O', 'raw', raw];
}

export function writeWords(raw: string, file: string): readonly string[] {
  return ['convert', ...secret, '-n', '-f', 'raw', '--target-image-opts', raw, imageOptions(file)];
}
