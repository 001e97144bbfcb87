// Random lives of an image, lived by our engine and by QEMU: afterwards QEMU finds the same image.
// SEED=n replays one stream, STREAMS=n runs so many; the first seed of a run is printed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { checkImage, compareImages, mapJson, qemuImg } from '../../support/qemu-img.ts';
import type { MapRun } from '../../support/qemu-img.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { dataPathOf, liveOurs, liveTwin, makeBacking, openImage } from './lives.ts';
import { makeStream } from './stream.ts';
import type { Stream, StreamOptions } from './stream.ts';

const streamsInCi = 200;
const seedsPerTest = 20;

const only = process.env['SEED'];
const count = Number(process.env['STREAMS'] ?? streamsInCi);
const firstSeed = only === undefined ? Number(process.env['FIRST_SEED'] ?? 1) : Number(only);
const seeds = Array.from({ length: only === undefined ? count : 1 }, (_, index) => firstSeed + index);

describe('lives of an image', () => {
  for (let start = 0; start < seeds.length; start += seedsPerTest) {
    const some = seeds.slice(start, start + seedsPerTest);
    test(`seeds ${String(some[0])} to ${String(some.at(-1))} end as QEMU's do`, { timeout: 600_000 }, () => {
      for (const seed of some) liveBoth(makeStream(seed));
    });
  }
});

function liveBoth(stream: Stream): void {
  using folder = tempFolder();
  try {
    makeBacking(folder.path, stream.options);
    const ours = liveOurs(folder.path, stream);
    const twin = liveTwin(folder.path, stream);
    judge(folder.path, { ours, twin, options: stream.options });
    if (stream.options.dataFile === 'raw') judgeRaw(ours);
  } catch (error) {
    throw new Error(`seed ${String(stream.seed)}: ${describeStream(stream)}`, { cause: error });
  }
}

interface LivedFiles {
  readonly ours: string;
  readonly twin: string;
  readonly options: StreamOptions;
}

function judge(folder: string, files: LivedFiles): void {
  const { ours, twin } = files;
  const checked = checkImage(ours, 'none');
  assert.equal(checked.exit, 0, `qemu-img check: ${JSON.stringify(checked)}`);
  assert.ok(
    compareImages({ path: ours, format: 'qcow2' }, { path: twin, format: 'qcow2' }),
    'qemu-img compare finds the same bytes',
  );
  assert.deepEqual(withoutPlaces(mapJson(ours)), withoutPlaces(mapJson(twin)), 'qemu-img map');
  compareSnapshots(folder, files);
}

/** DAT-04: a raw data file is the disk, to whoever reads it by itself. */
function judgeRaw(ours: string): void {
  const raw = { path: dataPathOf(ours), format: 'raw' } as const;
  assert.ok(compareImages({ path: ours, format: 'qcow2' }, raw), 'the raw data file reads as the image');
}

/** What QEMU reads of our snapshots is what we read of QEMU's. */
function compareSnapshots(folder: string, { ours, twin, options }: LivedFiles): void {
  const image = openImage(folder, { path: twin, writable: false, options });
  try {
    const theirs = image.snapshots({ from: 0, limit: snapshotsMax });
    const names = theirs.map(({ id, name }) => ({ id, name }));
    assert.deepEqual(snapshotNames(ours), names, 'the names of the snapshots');
    for (const { id, name, virtualSize } of theirs) {
      const raw = join(folder, 'snapshot.raw');
      qemuImg('convert', '-f', 'qcow2', '-l', `snapshot.name=${name}`, '-O', 'raw', ours, raw);
      const oursByQemu = readFileSync(raw);
      // T71: QEMU reads a snapshot as far as the disk reaches now.
      const twinByUs = new Uint8Array(Math.min(virtualSize, oursByQemu.length));
      image.readSnapshot(id, guestOffset(0), twinByUs);
      assert.ok(oursByQemu.subarray(0, twinByUs.length).equals(twinByUs), `snapshot ${name}`);
    }
  } finally {
    image.close();
  }
}

/** More than a stream takes. */
const snapshotsMax = 100;

/**
 * The runs without what depends on the host file, merged again where only that differed: where data lies, and whether
 * the file has a hole there, which QEMU looks for in images with many of them.
 */
function withoutPlaces(runs: readonly MapRun[]): readonly Omit<MapRun, 'offset'>[] {
  const merged: Omit<MapRun, 'offset'>[] = [];
  for (const { start, length, depth, present, data, ...run } of runs) {
    const zero = run.zero && !data;
    const last = merged.at(-1);
    const same = last?.depth === depth && last.present === present && last.zero === zero && last.data === data;
    if (last !== undefined && same) merged[merged.length - 1] = { ...last, length: last.length + length };
    else merged.push({ start, length, depth, present, zero, data });
  }
  return merged;
}

function snapshotNames(path: string): readonly { readonly id: string; readonly name: string }[] {
  const info = JSON.parse(qemuImg('info', '-f', 'qcow2', '--output=json', path)) as {
    readonly snapshots?: readonly { readonly id: string; readonly name: string }[];
  };
  return (info.snapshots ?? []).map(({ id, name }) => ({ id, name }));
}

function describeStream(stream: Stream): string {
  return JSON.stringify({ options: stream.options, operations: stream.operations });
}
