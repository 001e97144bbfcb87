// How much memory a process of the tests holds, as the kernel counts it.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { KiB } from '../../src/base/units.ts';

/** Bytes in memory now. */
export function residentBytes(child: ChildProcess): number {
  return figure(child, 'VmRSS');
}

/** The most bytes that it ever had in memory. */
export function peakBytes(child: ChildProcess): number {
  return figure(child, 'VmHWM');
}

function figure({ pid }: ChildProcess, name: string): number {
  assert.ok(pid !== undefined, 'the process runs');
  const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  assert.ok(kibibytes !== undefined, `the kernel tells ${name}`);
  return Number(kibibytes) * KiB;
}
