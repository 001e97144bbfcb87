// Rebase, flatten, key slots and external data files, on a disk that fails at every single step of them: the failure is
// told, and whatever of it a crash leaves, the disk reads as before or as after.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import type { ByteFile } from '../../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../../src/engine/file/tracked-file.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import { chanceLength, Image } from '../../../src/engine/image.ts';
import type { Layer } from '../../../src/engine/layer/layer.ts';
import { HeaderArea } from '../../../src/engine/metadata/header-area.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import { rebase } from '../../../src/engine/operations/rebase.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { useVolumeKey } from '../../../src/engine/operations/unlock.ts';
import { deriveHere } from '../../../src/engine/transform/key-derivation.ts';
import { contentOf, judgeReport, openOver } from '../../simulation/crash-judge.ts';
import { contentAfterCrash, FaultyFile, prefixSurvival } from '../../support/faulty-file.ts';
import type { PlannedFailure } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { passphrase, quickLuks, usualLuks } from '../../support/luks-image.ts';
import { layerOf, luksOf } from '../../support/memory-chain.ts';
import { fillGuest, newFile, partsOver } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { Prng } from '../../support/prng.ts';

const failures = [
  { call: 'write', code: 'insufficient-storage' },
  { call: 'flush', code: 'io-error' },
] as const;
const clusterSize = 512;
const size = 200 * clusterSize;

function faulty(content: MemoryFile, copyBlock?: number): FaultyFile {
  return new FaultyFile(content, { observer: undefined, ignoresFlush: () => false, copyBlock });
}

/** The oldest and the newest of what a crash may leave. */
function crashesOf(file: FaultyFile): readonly MemoryFile[] {
  const { epoch } = file;
  return [0, epoch.changes.length].map((count) => contentAfterCrash(epoch, prefixSurvival(count)));
}

/** Lets each such call fail in turn, until the change gets through without the failure. */
function failEach(trial: (failure: PlannedFailure) => boolean): void {
  for (const { call, code } of failures) {
    let after = 0;
    while (trial({ call, after, fault: new Fault(code, {}) })) after += 1;
    assert.ok(after > 0, `a ${call} has failed`);
  }
}

/** Does it; whether the failure came true, which is told then. */
function fails(file: FaultyFile, failure: PlannedFailure, change: () => void): boolean {
  file.failLater(failure);
  const told = faultCodeOf(change);
  if (!file.takeFailureBack()) {
    assert.equal(told, undefined);
    return false;
  }
  assert.ok(told === failure.fault.code || told === 'image-read-only', `told ${String(told)}`);
  return true;
}

describe('a disk that fails at any step', () => {
  const old = new Prng(1).bytes(size);
  const next = old.map((byte, at) => (at % 4096 < 1024 ? byte ^ 1 : byte));

  for (const [name, target, key, copyBlock] of [
    ['a rebase', 'next', undefined, undefined],
    ['a flattening', undefined, undefined, undefined],
    ['a rebase of an encrypted image from an encrypted one to another', 'next', luksOf(1), undefined],
    ['a flattening of an encrypted image over another', undefined, luksOf(1), undefined],
    ['a rebase that leaves copying to the file system', 'next', undefined, clusterSize],
    ['a flattening that leaves copying to the file system', undefined, undefined, clusterSize],
  ] as const) {
    it(`of ${name} leaves the disk as it was`, () => {
      const layers: Readonly<Record<string, Layer>> = {
        old: layerOf(old, key && luksOf(2)),
        next: layerOf(next, key && luksOf(3)),
      };
      const open = (file: ByteFile, below: string | undefined): Image => {
        const image = openOver(file, below === undefined ? undefined : layers[below]);
        if (key !== undefined) image.unlock(key.volumeKey);
        return image;
      };
      const oldBase = { fileName: 'old', format: 'raw' } as const;
      const start = newFile({ clusterSize, virtualSize: size, backing: oldBase, encryption: key });
      const first = open(start, 'old');
      fillGuest(first, 20 * clusterSize, 10 * clusterSize + 7, 5);
      const content = contentOf(first);
      first.close();
      failEach((failure) => {
        const file = faulty(start, copyBlock);
        const parts = partsOver(file, layers['old']);
        if (key !== undefined) useVolumeKey(parts, key.volumeKey);
        const layer = target === undefined ? undefined : layers[target];
        const backing = target === undefined ? undefined : { fileName: target, format: 'raw' };
        const shared = { old: 1, new: 1 };
        const wish = { backing, layer, mode: 'safe', shared, switched: () => undefined } as const;
        const isOver = !fails(file, failure, () => {
          runToEnd(rebase(parts, wish));
        });
        for (const crashed of crashesOf(file)) {
          const below = HeaderArea.read(new TrackedFile(crashed), { forCheck: false }).backingName;
          const image = open(crashed, below);
          assert.equal(judgeReport(runToEnd(image.check()), { mayLeak: true }), undefined);
          assert.equal(Buffer.compare(contentOf(image), content), 0, `after ${failure.call} ${String(failure.after)}`);
          if (isOver) assert.equal(below, target);
          image.abandon();
        }
        if (isOver) assert.equal(file.copiedLength > 0, copyBlock !== undefined);
        return !isOver;
      });
    });
  }

  it('of a change of key slots leaves every other passphrase', () => {
    const start = MemoryFile.empty();
    const encryption = { format: 'luks', ...quickLuks(usualLuks) } as const;
    runToEnd(createImage(start, { ...smallSpec, virtualSize: 4096, encryption }));
    const planned = openOver(start.fork(), undefined);
    const plan = deriveHere(
      planned.planKeySlots({
        ...{ state: 'active', slot: 1, passphrase: undefined, volumeKey: encryption.volumeKey },
        ...{ newPassphrase: Buffer.from('second'), iterations: 1000, chance: new Prng(3).bytes(chanceLength) },
      }),
    );
    planned.abandon();
    failEach((failure) => {
      const file = faulty(start);
      const image = openOver(file, undefined);
      const isOver = !fails(file, failure, () => {
        image.changeKeySlots(plan);
      });
      for (const crashed of crashesOf(file)) {
        const again = openOver(crashed, undefined);
        deriveHere(again.findVolumeKey(Buffer.from(passphrase)));
        if (isOver) deriveHere(again.findVolumeKey(Buffer.from('second')));
        assert.equal(judgeReport(runToEnd(again.check()), { mayLeak: false }), undefined);
        again.abandon();
      }
      return !isOver;
    });
  });

  for (const [which, raw] of [
    ['image', false],
    ['data', false],
    ['data', true],
  ] as const) {
    it(`below the ${which} file of a pair${raw ? ', a raw one,' : ''} leaves old bytes or new ones`, () => {
      const start = { image: MemoryFile.empty(), data: MemoryFile.empty() };
      const dataFile = { fileName: 'd', path: '/nowhere', raw };
      runToEnd(createImage(start.image, { ...smallSpec, clusterSize, virtualSize: size, dataFile }, start.data));
      // What nothing names yet shows when an entry comes before its data.
      if (!raw) start.data.writeAt(hostOffset(0), new Uint8Array(size).fill(9));
      const before = new Uint8Array(size).fill(1, 0, 9000);
      const first = Image.openFile(start.image, { writable: true, backing: undefined, dataFile: start.data });
      first.write(guestOffset(0), before.subarray(0, 9000), { detectZeroes: false });
      first.close();
      const after = before
        .slice()
        .fill(2, 1000, 40_000)
        .fill(0, 4 * clusterSize, 12 * clusterSize);
      failEach((failure) => {
        const pair = { image: faulty(start.image), data: faulty(start.data) };
        const image = Image.openFile(pair.image, { writable: true, backing: undefined, dataFile: pair.data });
        const isOver = !fails(pair[which], failure, () => {
          fillGuest(image, 1000, 39_000, 2);
          runToEnd(image.zero(guestOffset(4 * clusterSize), 8 * clusterSize, { unmap: true }));
          image.flush();
        });
        for (const crashed of crashesOf(pair.image)) {
          for (const data of crashesOf(pair.data)) {
            const again = Image.openFile(crashed.fork(), { writable: true, backing: undefined, dataFile: data });
            assert.equal(judgeReport(runToEnd(again.check()), { mayLeak: true }), undefined);
            const found = contentOf(again);
            const strange = found.findIndex(
              (byte, at) => ![before[at], after[at], isOver ? after[at] : 2].includes(byte),
            );
            assert.equal(strange, -1, `after ${failure.call} ${String(failure.after)}`);
            if (isOver) assert.equal(Buffer.compare(found, after), 0);
            again.abandon();
          }
        }
        return !isOver;
      });
    });
  }
});
