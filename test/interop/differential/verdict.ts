// What is compared when both lives have ended: by QEMU, what ours is beside its twin, and by us, what QEMU's is.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { Image, SnapshotDescription } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { passphrase } from '../../support/encrypted-image.ts';
import { compareImages } from '../../support/qemu-img.ts';
import type { MapRun } from '../../support/qemu-img.ts';
import { dirtyByQemu } from '../bitmap-bits.ts';
import { dataFileOf, imageName } from './layers.ts';
import { openImage, secondPassphrase } from './our-life.ts';
import type { Standing } from './our-life.ts';
import { QemuFile } from './qemu-file.ts';
import { layerNames, leavesCopies } from './stream.ts';
import type { Stream } from './stream.ts';
import { opens } from './twin-life.ts';

/** Two lives that have ended. */
export interface Lived {
  readonly stream: Stream;
  readonly folders: { readonly ours: string; readonly twin: string };
  readonly twin: QemuFile;
  readonly standing: Standing;
}

export async function judge(lived: Lived): Promise<void> {
  const { stream, folders, twin, standing } = lived;
  const ours = new QemuFile(join(folders.ours, imageName), { isEncrypted: standing.encryption !== 'none' });
  ours.assertSound();
  assert.ok(ours.readsAs(twin), 'qemu-img compare finds the same bytes');
  const [info, twinInfo] = [ours.info(), twin.info()];
  assert.deepEqual(factsOf(info), factsOf(twinInfo), 'qemu-img info');
  compareMaps(stream, ours, twin);
  compareLayers(lived);
  judgeKeys(lived);
  const image = openImage(folders.twin, standing, { writable: false });
  try {
    const report = runToEnd(image.check());
    assert.deepEqual([report.corruptions, report.checkErrors], [0, 0], `our check of QEMU's: ${told(report.findings)}`);
    compareSnapshots(lived, ours, image);
    await compareBitmaps(lived, image);
  } finally {
    image.close();
  }
  if (isRaw(info)) {
    // DAT-04: a raw data file is the disk, to whoever reads it by itself.
    const raw = { path: dataFileOf(folders.ours).path, format: 'raw' } as const;
    assert.ok(compareImages({ path: ours.path, format: 'qcow2' }, raw), 'the raw data file reads as the image');
  }
}

type Info = Readonly<Record<string, unknown>>;

interface SnapshotInfo {
  readonly 'id': string;
  readonly 'name': string;
  readonly 'vm-state-size': number;
}

/** What does not depend on the moment, on the host, and on chance. */
function factsOf(info: Info): unknown {
  const { 'format-specific': specific, 'virtual-size': virtualSize, 'backing-filename': below } = info;
  const { data } = specific as { readonly data: Info };
  const { encrypt, 'data-file': dataFile, ...rest } = data;
  const snapshots = ((info['snapshots'] ?? []) as readonly SnapshotInfo[]).map(
    ({ id, name, 'vm-state-size': vmStateSize }) => ({ id, name, vmStateSize }),
  );
  const keys = encrypt === undefined ? undefined : activeSlots(encrypt as Info);
  return { virtualSize, below, rest, snapshots, keys, hasDataFile: dataFile !== undefined };
}

function activeSlots({ format, slots }: Info): unknown {
  return { format, active: ((slots ?? []) as readonly { readonly active: boolean }[]).map(({ active }) => active) };
}

function isRaw(info: Info): boolean {
  const { data } = info['format-specific'] as { readonly data: Info };
  return data['data-file-raw'] === true;
}

function compareMaps({ seed, operations }: Stream, ours: QemuFile, twin: QemuFile): void {
  // Another granularity of copying is no other content: what is stored then differs from 64 KiB on and below.
  if (operations.some(({ kind }) => kind === 'commit' || kind === 'copy')) return;
  // What one side has found to be zeroes the other has stored.
  if (operations.some(({ kind }) => kind === 'blank')) return;
  const isRebased = operations.some((one) => one.kind === 'rebase' && one.mode === 'safe');
  // OPS-25: what was copied unread may be zeroes.
  if (isRebased && leavesCopies({ seed })) return;
  const facts = isRebased ? placesOnly : withoutPlaces;
  assert.deepEqual(facts(ours.map()), facts(twin.map()), 'qemu-img map');
}

/**
 * The runs without what depends on the host file, merged again where only that differed: where data lies, and whether
 * the file has a hole there, which QEMU looks for in images with many of them.
 */
function withoutPlaces(runs: readonly MapRun[]): readonly unknown[] {
  return merged(
    runs.map(({ start, length, depth, present, zero, data }) => {
      return { start, length, facts: JSON.stringify({ depth, present, zero: zero && !data, data }) };
    }),
  );
}

/** OPS-35: what reads as zeroes below becomes bytes with QEMU, and zero clusters here. */
function placesOnly(runs: readonly MapRun[]): readonly unknown[] {
  return merged(
    runs.map(({ start, length, depth, present }) => ({ start, length, facts: present ? String(depth) : '' })),
  );
}

interface Run {
  readonly start: number;
  readonly length: number;
  readonly facts: string;
}

function merged(runs: readonly Run[]): readonly Run[] {
  const result: Run[] = [];
  for (const run of runs.filter(({ length }) => length > 0)) {
    const last = result.at(-1);
    if (last?.facts === run.facts) result[result.length - 1] = { ...last, length: last.length + run.length };
    else result.push(run);
  }
  return result;
}

/** What was committed into. */
function compareLayers({ stream, folders }: Lived): void {
  if (!stream.operations.some(({ kind }) => kind === 'commit')) return;
  for (const name of layerNames.filter((one) => one !== 'base.raw')) {
    const [ours, twin] = [folders.ours, folders.twin].map(
      (folder) => new QemuFile(join(folder, name), { isEncrypted: false }),
    );
    assert.ok(ours !== undefined && twin !== undefined);
    ours.assertSound();
    assert.ok(ours.readsAs(twin), `${name} has the same bytes`);
    assert.equal(ours.info()['virtual-size'], twin.info()['virtual-size'], name);
  }
}

/** Both passphrases open what they should in ours; in QEMU's too, by what its header says. */
function judgeKeys({ stream, folders, standing }: Lived): void {
  const slots = new Set<number>();
  for (const one of stream.operations) {
    if (one.kind !== 'key') continue;
    if (one.state === 'active') slots.add(one.slot);
    else slots.delete(one.slot);
  }
  if (standing.encryption !== 'luks' || !stream.operations.some(({ kind }) => kind === 'key')) return;
  const path = join(folders.ours, imageName);
  assert.deepEqual([opens(path, passphrase), opens(path, secondPassphrase)], [true, slots.size > 0]);
}

/** What QEMU reads of our snapshots is what we read of QEMU's. */
function compareSnapshots({ folders, stream }: Lived, ours: QemuFile, image: Image): void {
  const raw = join(folders.ours, 'snapshot.raw');
  const snapshots = image.snapshots({ from: 0, limit: snapshotsMax });
  for (const { id, name, virtualSize } of snapshots) {
    ours.img('convert', ['-l', `snapshot.name=${name}`, '-O', 'raw'], [raw]);
    const oursByQemu = readFileSync(raw);
    // T71: QEMU reads a snapshot as far as the disk reaches now.
    const twinByUs = new Uint8Array(Math.min(virtualSize, oursByQemu.length));
    image.readSnapshot(id, guestOffset(0), twinByUs);
    assert.ok(oursByQemu.subarray(0, twinByUs.length).equals(twinByUs), `snapshot ${name}`);
  }
  compareVmStates({ stream, ours, image, snapshots });
}

function compareVmStates(states: {
  readonly stream: Stream;
  readonly ours: QemuFile;
  readonly image: Image;
  readonly snapshots: readonly SnapshotDescription[];
}): void {
  const { stream, ours, image, snapshots } = states;
  const saved = stream.operations
    .filter((one) => one.kind === 'snapshot')
    .filter(({ vmState }) => vmState !== undefined);
  for (const { name, vmState } of saved) {
    const snapshot = snapshots.find((one) => one.name === name);
    if (snapshot === undefined || vmState === undefined) continue;
    assert.equal(snapshot.vmStateSize, vmState.length, name);
    const theirs = new Uint8Array(vmState.length);
    image.readVmState(snapshot.id, 0, theirs);
    assert.ok(
      theirs.every((byte) => byte === vmState.pattern),
      `the VM state of QEMU's ${name}`,
    );
    // BMP-10.
    if (namesOf(image).length === 0) loadVmState(ours, name, vmState);
  }
}

/** QEMU shows the VM state of a snapshot after a revert, here of a copy. */
function loadVmState(ours: QemuFile, name: string, state: { readonly length: number; readonly pattern: number }): void {
  const copy = ours.beside('loaded.qcow2');
  copyFileSync(ours.path, copy.path);
  copy.img('snapshot', ['-a', name]);
  copy.io([`read -b -P ${String(state.pattern)} 0 ${String(state.length)}`], { readOnly: true });
  rmSync(copy.path);
}

/** More than a stream takes. */
const snapshotsMax = 100;

/** Ours and QEMU's as this engine reads them, and one of ours as QEMU does. */
async function compareBitmaps({ folders, standing }: Lived, twin: Image): Promise<void> {
  const names = namesOf(twin);
  if (names.length === 0) return;
  const image = openImage(folders.ours, standing, { writable: false });
  try {
    for (const name of names) assert.deepEqual(dirtyOf(image, name), dirtyOf(twin, name), `bitmap ${name}`);
    const [name] = names;
    if (name === undefined || standing.encryption !== 'none') return;
    assert.deepEqual(await dirtyByQemu(join(folders.ours, imageName), name), dirtyOf(twin, name), `${name}, by QEMU`);
  } finally {
    image.close();
  }
}

function namesOf(image: Image): readonly string[] {
  return runToEnd(image.bitmaps({ start: 0, limit: 100 })).items.map(({ name }) => name);
}

function dirtyOf(image: Image, name: string): readonly { readonly offset: number; readonly length: number }[] {
  const page = image.dirtyExtents(name, { offset: 0, length: image.virtualSize, limit: 100_000 });
  assert.equal(page.nextOffset, undefined);
  return page.items.filter(({ dirty }) => dirty).map(({ offset, length }) => ({ offset, length }));
}

function told(findings: readonly { readonly message: string }[]): string {
  return findings.map(({ message }) => message).join('; ');
}
