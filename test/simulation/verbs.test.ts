// Every verb of the engine that changes a file has its crashes: a new one fails here until it has its place.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Image } from '../../src/engine/image.ts';

/** By verb: the file of this folder that simulates it, and the words that do it there. */
const simulated: Readonly<Record<string, readonly [string, string]>> = {
  create: ['creation.ts', 'createImage('],
  admit: ['mending.ts', 'admit('],
  recover: ['crash-judge.ts', 'image.recover()'],
  repair: ['crash-judge.ts', "image.repair('all')"],
  changeKeySlots: ['key-slots.ts', 'image.changeKeySlots('],
  write: ['life.ts', 'image.write('],
  writeCompressed: ['life.ts', 'image.writeCompressed('],
  zero: ['life.ts', 'image.zero('],
  discard: ['life.ts', 'image.discard('],
  flush: ['life.ts', 'image.flush()'],
  close: ['life.ts', 'image.close()'],
  settle: ['life.ts', 'image.settle()'],
  setRuntime: ['life.ts', 'image.setRuntime('],
  resize: ['life.ts', 'image.resize('],
  amend: ['amendment.ts', 'image.amend('],
  createSnapshot: ['life.ts', 'image.createSnapshot('],
  writeVmState: ['life.ts', 'image.writeVmState('],
  deleteSnapshot: ['life.ts', 'image.deleteSnapshot('],
  revertSnapshot: ['life.ts', 'image.revertSnapshot('],
  compact: ['life.ts', 'image.compact('],
  createBitmap: ['bitmap-model.ts', 'image.createBitmap('],
  deleteBitmap: ['bitmap-model.ts', 'image.deleteBitmap('],
  clearBitmap: ['bitmap-model.ts', 'image.clearBitmap('],
  setBitmapEnabled: ['bitmap-model.ts', 'image.setBitmapEnabled('],
  mergeBitmaps: ['bitmap-model.ts', 'image.mergeBitmaps('],
  empty: ['chain-changes.ts', 'image.empty()'],
  rebase: ['chain-changes.ts', 'rebase(parts'],
  commit: ['committing.ts', 'copyDown('],
};

/** They change no file; `copyTo` changes one that nobody knows before it is whole. */
const others =
  'open openFile virtualSize writable needsRecovery findVolumeKey unlock lock unlockBelow planKeySlots luksHash read ' +
  'overwrites extents describe inspect check snapshots findSnapshot readSnapshot snapshotExtents ' +
  'readVmState measure digest copyTo planExport abandon bitmaps bitmap dirtyExtents compareWith';

test('every verb that changes a file has its crashes', () => {
  const faces: object[] = [Image];
  let face: object = Image.prototype;
  while (face !== Object.prototype) {
    faces.push(face);
    face = Object.getPrototypeOf(face) as object;
  }
  const builtIn = new Set(['constructor', 'prototype', 'length', 'name']);
  const verbs = faces.flatMap((one) => Object.getOwnPropertyNames(one)).filter((name) => !builtIn.has(name));
  assert.deepEqual(new Set(verbs), new Set([...Object.keys(simulated), ...others.split(' ')]));
  for (const [verb, [file, words]] of Object.entries(simulated)) {
    const text = readFileSync(new URL(file, import.meta.url), 'utf8');
    assert.ok(text.includes(words), `${verb}: "${words}" in ${file}`);
  }
});
