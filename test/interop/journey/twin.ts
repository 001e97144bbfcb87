// An image of a running service and its twin, which QEMU's tools made, and what QEMU says of the two.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { qemuImg, qemuIo, runTool } from '../../support/qemu-img.ts';
import type { CheckJson, MapRun } from '../../support/qemu-img.ts';
import { mergedMap } from '../../support/qemu-verdicts.ts';

/** A file that the service left, and one that QEMU made by the same operations. */
export interface Twins {
  readonly ours: string;
  readonly theirs: string;
}

/** One stretch of bytes, all of one value. */
export interface Fill {
  readonly offset: number;
  readonly length: number;
  readonly value: number;
}

/** What `qemu-img info` tells, as far as it is looked at. */
export interface Info {
  readonly 'virtual-size': number;
  readonly 'backing-filename'?: string;
  readonly 'snapshots'?: readonly { readonly id: string; readonly name: string }[];
}

/** The commands of qemu-io on a file, in one process. */
export function doWithQemu(path: string, commands: readonly string[]): void {
  qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
}

/** The service holds QEMU's locks on what it has open; with `-U` a tool looks all the same. */
export function infoOf(path: string): Info {
  return JSON.parse(qemuImg('info', '-U', '-f', 'qcow2', '--output=json', path)) as Info;
}

/** `qemu-img check` says nothing at all against the file; its counters. */
export function assertSilent(path: string, note: string): CheckJson {
  const { exit, stdout, stderr } = runTool('qemu-img', ['check', '-U', '-f', 'qcow2', '--output=json', path], '');
  assert.deepEqual({ exit, stderr }, { exit: 0, stderr: '' }, `${note}: ${stdout}`);
  return JSON.parse(stdout) as CheckJson;
}

/** An open file may have leaks: clusters are given back only after what pointed to them is durable, with the next flush. */
export function assertSoundWhileOpen(path: string, note: string): void {
  const { exit, stdout, stderr } = runTool('qemu-img', ['check', '-U', '-f', 'qcow2', '--output=json', path], '');
  const json = JSON.parse(stdout) as CheckJson;
  const complaints = [json['check-errors'], json.corruptions ?? 0];
  assert.deepEqual(complaints, [0, 0], `${note}, while open: ${stdout}${stderr}`);
  assert.equal(exit, json.leaks === undefined ? 0 : 3, note);
}

/** The two hold the same bytes, at the same places in the same layers, and the same snapshots. */
export function assertTwins(folder: string, twins: Twins, note: string): void {
  const { ours, theirs } = twins;
  assertSame(ours, theirs, note);
  assert.deepEqual(mapOf(ours), mapOf(theirs), `${note}: qemu-img map`);
  const [own, other] = [infoOf(ours), infoOf(theirs)];
  assert.equal(own['virtual-size'], other['virtual-size'], note);
  const names = (other.snapshots ?? []).map(({ name }) => name);
  assert.deepEqual(
    (own.snapshots ?? []).map(({ name }) => name),
    names,
    note,
  );
  for (const name of names) {
    const [kept, expected] = [ours, theirs].map((path) => snapshotBytes(folder, path, name));
    assert.ok(kept !== undefined && expected !== undefined && kept.equals(expected), `${note}: snapshot ${name}`);
  }
}

/** `qemu-img compare` finds no difference. */
export function assertSame(ours: string, theirs: string, note: string): void {
  const { exit, stdout, stderr } = runTool(
    'qemu-img',
    ['compare', '-U', '-f', 'qcow2', '-F', 'qcow2', ours, theirs],
    '',
  );
  assert.equal(exit, 0, `${note}: ${stdout}${stderr}`);
}

/** The content of a snapshot as QEMU reads it. */
export function snapshotBytes(folder: string, path: string, name: string): Buffer {
  const target = join(folder, 'snapshot.raw');
  qemuImg('convert', '-U', '-f', 'qcow2', '-l', `snapshot.name=${name}`, '-O', 'raw', path, target);
  return readFileSync(target);
}

/** The map without host offsets. */
function mapOf(path: string) {
  const runs = JSON.parse(qemuImg('map', '-U', '-f', 'qcow2', '--output=json', path)) as readonly MapRun[];
  return mergedMap(runs, ({ depth, present, zero, data }) => ({ depth, present, zero: zero && !data, data }));
}
