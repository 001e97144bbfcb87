// The sound images that the check tests damage, made with QEMU's own tools.

import { join } from 'node:path';

import { keyObject, keyOption, qemuImg, qemuIo, runTool, unlocking } from '../../support/qemu-img.ts';

/** A sound image: the create options, the size of the disk, and what is done to it. */
export interface BaseImage {
  readonly name: string;
  readonly options: string;
  readonly size: number;
  readonly work: 'full' | 'no-snapshot' | 'bitmaps' | 'plain' | 'data-file' | 'encrypted';
}

const KiB = 1024;
const MiB = 1024 * KiB;

export const baseImages = {
  v3: { name: 'v3', options: '', size: 4 * MiB, work: 'full' },
  v2: { name: 'v2', options: 'compat=0.10', size: 4 * MiB, work: 'full' },
  small: { name: 'small', options: 'cluster_size=512', size: 32 * KiB, work: 'full' },
  bits1: { name: 'bits1', options: 'cluster_size=4k,refcount_bits=1', size: 256 * KiB, work: 'no-snapshot' },
  bits2: { name: 'bits2', options: 'cluster_size=4k,refcount_bits=2', size: 256 * KiB, work: 'full' },
  bits4: { name: 'bits4', options: 'cluster_size=256k,refcount_bits=4', size: 16 * MiB, work: 'full' },
  bits8: { name: 'bits8', options: 'cluster_size=4k,refcount_bits=8', size: 256 * KiB, work: 'full' },
  bits32: { name: 'bits32', options: 'cluster_size=16k,refcount_bits=32', size: MiB, work: 'full' },
  bits64: { name: 'bits64', options: 'cluster_size=512,refcount_bits=64', size: 32 * KiB, work: 'full' },
  extended: { name: 'extended', options: 'extended_l2=on', size: 4 * MiB, work: 'full' },
  bitmaps: { name: 'bitmaps', options: '', size: 4 * MiB, work: 'bitmaps' },
  lazy: { name: 'lazy', options: 'lazy_refcounts=on', size: 4 * MiB, work: 'no-snapshot' },
  allocated: { name: 'allocated', options: 'preallocation=metadata', size: 4 * MiB, work: 'plain' },
  zstd: { name: 'zstd', options: 'compression_type=zstd,cluster_size=4k', size: 256 * KiB, work: 'full' },
  data: { name: 'data', options: '', size: 4 * MiB, work: 'data-file' },
  raw: { name: 'raw', options: 'data_file_raw=on', size: 4 * MiB, work: 'data-file' },
  luks: { name: 'luks', options: 'encrypt.format=luks,encrypt.iter-time=10', size: 4 * MiB, work: 'encrypted' },
  aes: { name: 'aes', options: 'encrypt.format=aes', size: 4 * MiB, work: 'encrypted' },
} as const satisfies Record<string, BaseImage>;

export type BaseName = keyof typeof baseImages;

/**
 * Makes an image in `folder`. With `full`, guest clusters are afterwards: 0–3 data shared with snapshot "one", 4 data
 * written after it, 5 zero with a place, 6 zero without, 7 discarded, 8 and 9 compressed, 12 data; the rest is absent.
 */
export function makeBase(folder: string, base: BaseImage): string {
  const path = join(folder, `${base.name}.qcow2`);
  const options = [
    ...(base.options === '' ? [] : [base.options]),
    ...(base.work === 'data-file' ? [`data_file=${path}.data`] : []),
    ...(base.work === 'encrypted' ? [keyOption] : []),
  ];
  const key = base.work === 'encrypted' ? keyObject : [];
  qemuImg('create', '-q', '-f', 'qcow2', ...key, ...options.flatMap((o) => ['-o', o]), path, String(base.size));
  work(path, base);
  return path;
}

function work(path: string, base: BaseImage): void {
  const cluster = clusterSizeOf(path);
  const io = (...commands: readonly string[]): void => {
    qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
  };
  const at = (index: number, count: number): string => `${index * cluster} ${count * cluster}`;
  const zero = base.options.includes('0.10') ? '0xee' : '-z';
  const writeZero = zero === '-z' ? `write -z` : `write -P ${zero}`;
  switch (base.work) {
    case 'plain':
      return;
    case 'no-snapshot':
    case 'full':
      io(`write -P 0x11 ${at(0, 8)}`);
      if (base.work === 'full') qemuImg('snapshot', '-c', 'one', path);
      io(
        `write -P 0x22 ${at(4, 1)}`,
        `${writeZero} ${at(5, 1)}`,
        zero === '-z' ? `write -z -u ${at(6, 1)}` : `discard ${at(6, 1)}`,
        `discard ${at(7, 1)}`,
        `write -P 0x55 ${at(12, 1)}`,
      );
      io(`write -c -P 0x33 ${at(8, 1)}`, `write -c -P 0x44 ${at(9, 1)}`);
      if (zero === '-z') io(`write -P 0x66 ${at(5, 1)}`, `write -z ${at(5, 1)}`);
      return;
    case 'data-file':
      io(`write -P 0x11 ${at(0, 4)}`, `write -P 0x55 ${at(12, 1)}`, `write -z ${at(5, 1)}`);
      return;
    case 'encrypted':
      encryptedIo(path, [`write -P 0x11 ${at(0, 4)}`]);
      qemuImg('snapshot', ...keyObject, '-c', 'one', '--image-opts', unlocking(path));
      encryptedIo(path, [`write -P 0x22 ${at(1, 1)}`, `write -P 0x55 ${at(12, 1)}`]);
      return;
    case 'bitmaps':
      io(`write -P 0x11 ${at(0, 4)}`);
      qemuImg('bitmap', '--add', path, 'first');
      qemuImg('bitmap', '--add', path, 'second');
      io(`write -P 0x22 ${at(8, 4)}`);
      return;
  }
}

function clusterSizeOf(path: string): number {
  const info = JSON.parse(qemuImg('info', '-f', 'qcow2', '--output=json', path)) as { readonly 'cluster-size': number };
  return info['cluster-size'];
}

function encryptedIo(path: string, commands: readonly string[]): void {
  const args = [...keyObject, '--image-opts', unlocking(path)];
  const { stdout } = runTool('qemu-io', args, `${commands.join('\n')}\nquit\n`);
  if (stdout.includes('failed')) throw new Error(`qemu-io ${path}: ${stdout}`);
}
