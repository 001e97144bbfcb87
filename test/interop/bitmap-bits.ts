// What QEMU says that is dirty: qemu-nbd gives a bitmap out as a context of its own, and qemu-img map lists it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { qemuImg } from '../support/qemu-img.ts';
import type { MapRun } from '../support/qemu-img.ts';

export interface Stretch {
  readonly offset: number;
  readonly length: number;
}

/** The dirty stretches of the bitmap `name`, as QEMU reads them; neighbours are one. */
export async function dirtyByQemu(path: string, name: string): Promise<readonly Stretch[]> {
  const socket = `${path}.${String(process.pid)}.nbd`;
  const server = spawn('qemu-nbd', ['-r', '-t', '-f', 'qcow2', '-B', name, '-k', socket, path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const complaints: string[] = [];
  server.stderr.on('data', (bytes: Buffer) => complaints.push(bytes.toString()));
  const ended = once(server, 'exit');
  try {
    for (let waited = 0; !existsSync(socket); waited += 1) {
      if (server.exitCode !== null || waited > startChecksMax) throw new Error(`qemu-nbd: ${complaints.join('')}`);
      await sleep(10);
    }
    const context = `x-dirty-bitmap=qemu:dirty-bitmap:${name}`;
    const options = `driver=nbd,server.type=unix,server.path=${socket},${context}`;
    const runs = JSON.parse(qemuImg('map', '--output=json', '--image-opts', options)) as readonly MapRun[];
    return merged(runs.filter(({ data }) => !data).map(({ start, length }) => ({ offset: start, length })));
  } finally {
    server.kill('SIGTERM');
    await ended;
  }
}

/** 30 s of waiting for a server that starts in milliseconds. */
const startChecksMax = 3000;

function merged(stretches: readonly Stretch[]): readonly Stretch[] {
  const result: Stretch[] = [];
  for (const stretch of stretches) {
    const last = result.at(-1);
    if (last !== undefined && last.offset + last.length === stretch.offset) {
      result[result.length - 1] = { offset: last.offset, length: last.length + stretch.length };
    } else result.push(stretch);
  }
  return result;
}
