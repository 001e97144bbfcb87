// Disks as somebody else's tool leaves them: partitions, text, random bytes and holes, made into cloud images by qemu-img.

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';

import { KiB, MiB } from '../../../src/base/units.ts';
import { Prng } from '../../support/prng.ts';
import { qemuImg } from '../../support/qemu-img.ts';

/** What `qemu-img convert` is told, by the name of the image. */
const convertOptions = {
  'deflate': { compat: '1.1', convert: ['-c', '-o', 'compat=1.1,compression_type=zlib'] },
  'zstd': { compat: '1.1', convert: ['-c', '-o', 'compat=1.1,compression_type=zstd,cluster_size=32k'] },
  'version-2': { compat: '0.10', convert: ['-o', 'compat=0.10,cluster_size=16k'] },
} as const;

type CloudImageName = keyof typeof convertOptions;

/** Each journey takes half a minute: one is made in every run, all with `JOURNEYS=all`. */
const chosen: readonly CloudImageName[] =
  process.env['JOURNEYS'] === 'all' ? ['deflate', 'zstd', 'version-2'] : ['deflate'];

export const cloudImages = chosen.map((name) => ({ name, ...convertOptions[name] }));

/** Whole sectors, but no whole cluster of any size. */
export const diskSize = 12 * MiB + 3 * 512;
const sector = 512;

/** Writes a raw disk with a protective MBR and a GPT at both ends, as partitioning tools do. */
export function makeRawDisk(path: string, seed: number): void {
  const prng = new Prng(seed);
  const file = openSync(path, 'w');
  const put = (offset: number, bytes: Uint8Array): void => void writeSync(file, bytes, 0, bytes.length, offset);
  try {
    ftruncateSync(file, diskSize);
    put(0, bootSector(diskSize));
    put(sector, Buffer.concat([Buffer.from('EFI PART\0\0\u0001\0', 'latin1'), prng.bytes(80)]));
    put(2 * sector, prng.bytes(128 * 3));
    put(diskSize - sector, Buffer.from('EFI PART\0\0\u0001\0', 'latin1'));
    const text = 'GRUB_CMDLINE_LINUX="console=ttyS0"\nPRETTY_NAME="Somebody else\'s Linux"\n';
    put(MiB, Buffer.from(text.repeat(20_000)));
    put(4 * MiB + 37, prng.bytes(MiB));
    put(7 * MiB - 100, Buffer.concat([prng.bytes(40 * KiB), Buffer.alloc(200 * KiB, 0xa5)]));
    put(diskSize - 70 * KiB, Buffer.from(text.repeat(500)));
  } finally {
    closeSync(file);
  }
}

/** Makes the cloud image of a name from a raw disk. */
export function makeCloudImage(name: CloudImageName, paths: { readonly raw: string; readonly target: string }): void {
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...convertOptions[name].convert, paths.raw, paths.target);
}

/** One protective partition over the whole disk, and the signature. */
function bootSector(size: number): Buffer {
  const boot = Buffer.alloc(sector);
  boot.writeUInt8(0xee, 450);
  boot.writeUInt32LE(1, 454);
  boot.writeUInt32LE(size / sector - 1, 458);
  boot.writeUInt16LE(0xaa55, 510);
  return boot;
}
