// Claim: a check of a 1 TiB image with all its metadata is no slower than `qemu-img check`.
//
//   node bench/check.ts [folder]        needs qemu-img and about 160 MiB in the folder (default: the system's)

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { NodeFile } from '../src/engine/file/node-file.ts';
import { check } from '../src/engine/operations/check.ts';
import { runToEnd } from '../src/engine/operations/steps.ts';

const rounds = 5;

const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'bench-check-'));
try {
  const path = join(folder, 'image.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, '1T');
  // Taken in turns, so that both meet the same noise; the best of each counts.
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    ours.push(milliseconds(() => checkOnce(path)));
    theirs.push(milliseconds(() => qemuImg('check', '-f', 'qcow2', path)));
  }
  console.log(`check of 1 TiB, metadata preallocated, best of ${rounds}:`);
  console.log(`  ours          ${Math.min(...ours).toFixed(0)} ms`);
  console.log(`  qemu-img      ${Math.min(...theirs).toFixed(0)} ms`);
} finally {
  rmSync(folder, { recursive: true });
}

function checkOnce(path: string): void {
  const file = NodeFile.open(path, { writable: false, locks: 'qemu' });
  try {
    if (!runToEnd(check(file)).clean) throw new Error('the image is not clean');
  } finally {
    file.close();
  }
}

function qemuImg(...args: readonly string[]): void {
  const answer = spawnSync('qemu-img', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (answer.status !== 0) throw new Error(`qemu-img ${args.join(' ')} failed`);
}

function milliseconds(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}
