// qemu-img and qemu-io as judges: run, parsed, and quoted in full when they disagree.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

/** How a run ended. */
export interface QemuResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A generous watchdog: no run here takes more than a few seconds. */
const timeoutMs = 120_000;
const outputLengthMax = 256 * 1024 * 1024;

/** Runs a tool to its end, whatever the end is. */
export function runQemu(tool: 'qemu-img' | 'qemu-io', args: readonly string[], cwd?: string): QemuResult {
  const options = { encoding: 'utf8', timeout: timeoutMs, maxBuffer: outputLengthMax, cwd } as const;
  const { status, stdout, stderr, error } = spawnSync(tool, args, options);
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

/** Runs `qemu-img`, which must succeed; its output. */
export function qemuImg(...args: readonly string[]): string {
  const result = runQemu('qemu-img', args);
  assert.equal(result.status, 0, `qemu-img ${args.join(' ')}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** Runs the commands in one `qemu-io` process, which must succeed and find every pattern that it reads. */
export function qemuIo(path: string, format: string, commands: readonly string[]): string {
  const args = ['-f', format, ...commands.flatMap((command) => ['-c', command]), path];
  const result = runQemu('qemu-io', args);
  const output = `qemu-io ${args.join(' ')}: ${result.stderr}${result.stdout}`;
  assert.equal(result.status, 0, output);
  assert.doesNotMatch(result.stdout, /failed|error/i, output);
  return result.stdout;
}

/** `qemu-img check` finds nothing: neither a corruption nor a leak. */
export function assertSound(path: string, note: string): void {
  const result = runQemu('qemu-img', ['check', '-f', 'qcow2', path]);
  assert.equal(result.status, 0, `${note}: ${result.stdout}${result.stderr}`);
  assert.match(result.stdout, /No errors were found/, note);
}

/** `qemu-img info` as data. */
export function qemuInfo(path: string, format: string): Readonly<Record<string, unknown>> {
  const info: unknown = JSON.parse(qemuImg('info', '-f', format, '--output=json', path));
  assert(typeof info === 'object' && info !== null);
  return { ...info };
}

/** One item of `qemu-img map`; offset and lengths in bytes. */
export interface MapItem {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly offset?: number;
}

export function qemuMap(path: string, format: string): readonly MapItem[] {
  const items: unknown = JSON.parse(qemuImg('map', '-f', format, '--output=json', path));
  assert(Array.isArray(items));
  return items as readonly MapItem[];
}

/** The map with only what `facts` keeps of each item, equal neighbours merged. */
export function mergedMap<Facts extends object>(
  items: readonly MapItem[],
  facts: (item: MapItem) => Facts,
): readonly (Facts & { readonly start: number; readonly length: number })[] {
  const merged: (Facts & { start: number; length: number })[] = [];
  for (const item of items) {
    const kept = facts(item);
    const last = merged.at(-1);
    if (
      last !== undefined &&
      JSON.stringify({ ...last, start: 0, length: 0 }) === JSON.stringify({ ...kept, start: 0, length: 0 })
    ) {
      last.length += item.length;
      continue;
    }
    merged.push({ ...kept, start: item.start, length: item.length });
  }
  return merged;
}
