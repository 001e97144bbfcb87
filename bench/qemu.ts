// QEMU as a peer: how fast `qemu-img bench` reads and writes, by its own clock.

import { runCommand } from './processes.ts';

/** One run of `qemu-img bench`. */
export interface QemuLoad {
  readonly path: string;
  readonly writes: boolean;
  /** Requests under way at a time. */
  readonly depth: number;
  readonly rangeLength: number;
  /** From one request to the next, in bytes; it wraps at the end of the disk. */
  readonly stride: number;
  readonly requests: number;
}

export function qemuWords({ path, writes, depth, rangeLength, stride, requests }: QemuLoad): readonly string[] {
  const words = [
    'bench',
    '-f',
    'qcow2',
    '-t',
    'writeback',
    '-c',
    requests,
    '-d',
    depth,
    '-s',
    rangeLength,
    '-S',
    stride,
  ];
  return [...words.map(String), ...(writes ? ['-w'] : []), path];
}

/** Requests a second, without the start of the process. */
export function runQemuLoad(load: QemuLoad): number {
  const printed = runCommand('qemu-img', qemuWords(load));
  const seconds = Number(/Run completed in ([\d.]+) seconds/.exec(printed)?.[1]);
  if (!(seconds > 0)) throw new Error(`qemu-img bench has told no time:\n${printed}`);
  return load.requests / seconds;
}
