// The life of a stream by our engine over real files.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { chanceLength, Image, oldAesKeyOf } from '../../../src/engine/image.ts';
import type { AmendWish, NewEncryption, RuntimeOptions } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { deriveHere } from '../../../src/engine/transform/key-derivation.ts';
import { passphrase, quickLuks, usualLuks } from '../../support/luks-image.ts';
import { Prng } from '../../support/prng.ts';
import { chainBelow, dataFileOf, imageName } from './layers.ts';
import { leavesCopies } from './stream.ts';
import type { Amendment, BitmapChange, LayerName, Operation, Stream, StreamOptions } from './stream.ts';

/** Of the key slots that are filled during a life. */
export const secondPassphrase = 'another horse';

/** What an image of a life needs to be opened. */
export interface Standing {
  readonly below: LayerName | undefined;
  readonly encryption: StreamOptions['encryption'];
}

/** Opens the image of a life with our engine. */
export function openImage(
  folder: string,
  standing: Standing,
  use: { readonly writable: boolean; readonly hostCopies?: boolean },
): Image {
  const backing = chainBelow(folder, standing.below);
  const path = join(folder, imageName);
  const image = Image.open({ path, ...use, locks: 'qemu', backing, dataFile: dataFileOf(folder) });
  if (standing.encryption !== 'none') image.unlock(deriveHere(image.findVolumeKey(Buffer.from(passphrase))));
  return image;
}

/** Makes the image of a life. */
export function createOurs(folder: string, options: StreamOptions): void {
  const { below, dataFile, encryption, ...form } = options;
  const format = below === 'base.raw' ? 'raw' : 'qcow2';
  runToEnd(
    Image.create(join(folder, imageName), {
      ...form,
      backing: below === undefined ? undefined : { fileName: below, format },
      dataFile: dataFile === 'none' ? undefined : { ...dataFileOf(folder), raw: dataFile === 'raw' },
      encryption: encryptionOf(encryption),
    }),
  );
}

function encryptionOf(encryption: StreamOptions['encryption']): NewEncryption | undefined {
  if (encryption === 'none') return undefined;
  if (encryption === 'luks') return { format: 'luks', ...quickLuks(usualLuks) };
  return { format: 'aes', volumeKey: oldAesKeyOf(Buffer.from(passphrase)) };
}

/** Lives the stream and leaves the closed file. */
export function liveOurs(folder: string, stream: Stream): Standing {
  const life = new OurLife(folder, stream);
  for (const operation of stream.operations) life.act(operation);
  return life.end();
}

class OurLife {
  readonly #folder: string;
  readonly #hostCopies: boolean;
  readonly #chance: Prng;
  #standing: Standing;
  #image: Image;

  constructor(folder: string, stream: Stream) {
    const { below, encryption } = stream.options;
    this.#folder = folder;
    this.#hostCopies = leavesCopies(stream);
    this.#chance = new Prng(stream.seed);
    this.#standing = { below, encryption };
    this.#image = this.#open();
    if (stream.seed % 4 === 0) this.#runOtherwise();
  }

  act(operation: Operation): void {
    const image = this.#image;
    switch (operation.kind) {
      case 'write': {
        const bytes = new Uint8Array(operation.length).fill(operation.pattern);
        image.write(guestOffset(operation.offset), bytes, { detectZeroes: false });
        return;
      }
      case 'blank':
        image.write(guestOffset(operation.offset), new Uint8Array(operation.length), { detectZeroes: true });
        return;
      case 'pack': {
        const bytes = new Uint8Array(operation.length).fill(operation.pattern);
        runToEnd(image.writeCompressed(guestOffset(operation.offset), bytes, { detectZeroes: false }));
        return;
      }
      case 'zero':
        runToEnd(image.zero(guestOffset(operation.offset), operation.length, { unmap: operation.unmap }));
        return;
      case 'discard':
        runToEnd(image.discard(guestOffset(operation.offset), operation.length));
        return;
      case 'flush':
        image.flush();
        return;
      case 'reopen':
        this.#reopen();
        return;
      case 'check':
        this.#check();
        return;
      case 'compact':
        runToEnd(image.compact({ detectZeroes: false }));
        return;
      case 'resize': {
        const { virtualSize, preallocation } = operation;
        runToEnd(image.resize({ virtualSize, allowShrink: true, preallocation }));
        return;
      }
      case 'snapshot':
        this.#takeSnapshot(operation);
        return;
      case 'delete':
        runToEnd(image.deleteSnapshot(operation.name));
        return;
      case 'revert':
        runToEnd(image.revertSnapshot(operation.name));
        return;
      case 'bitmap':
        changeBitmap(image, operation.name, operation.change);
        return;
      case 'amend':
        runToEnd(image.amend(wishOf(operation.amendment)));
        return;
      case 'rebase':
        runToEnd(image.rebase({ chain: chainBelow(this.#folder, operation.below), mode: operation.mode }));
        this.#standing = { ...this.#standing, below: operation.below };
        return;
      case 'commit':
        runToEnd(image.commit({ depth: 1, mend: false }));
        runToEnd(image.empty());
        return;
      case 'empty':
        runToEnd(image.empty());
        return;
      case 'copy':
        this.#moveToCopy(operation);
        return;
      case 'key':
        this.#changeKey(operation.state, operation.slot);
        return;
    }
  }

  end(): Standing {
    this.#image.close();
    return this.#standing;
  }

  #open(): Image {
    return openImage(this.#folder, this.#standing, { writable: true, hostCopies: this.#hostCopies });
  }

  #reopen(): void {
    this.#image.close();
    this.#image = this.#open();
    this.#runOtherwise();
  }

  /** OPT-15: how it is run is no business of the format, and QEMU's life knows nothing of it. */
  #runOtherwise(): void {
    this.#image.setRuntime(someRuntime(this.#chance, this.#image));
  }

  #check(): void {
    this.#image.flush();
    const report = runToEnd(this.#image.check());
    assert.deepEqual(
      [report.corruptions, report.leaks, report.checkErrors],
      [0, 0, 0],
      JSON.stringify(report.findings),
    );
  }

  #takeSnapshot({ name, vmState }: Extract<Operation, { readonly kind: 'snapshot' }>): void {
    runToEnd(this.#image.createSnapshot({ name, seconds: 0, nanoseconds: 0, idFloor: 0 }));
    if (vmState === undefined) return;
    const bytes = new Uint8Array(vmState.length).fill(vmState.pattern);
    runToEnd(this.#image.writeVmState(name, MemoryFile.of(bytes)));
  }

  #moveToCopy({ form, compress }: Extract<Operation, { readonly kind: 'copy' }>): void {
    const [path, copy] = [join(this.#folder, imageName), join(this.#folder, 'copy.qcow2')];
    const { virtualSize } = this.#image;
    const spec = { ...form, virtualSize, preallocation: 'off', backing: undefined } as const;
    runToEnd(this.#image.copyTo({ path: copy, spec, compress, snapshot: undefined, layer: 'all' }));
    this.#image.close();
    moveOver(copy, path, dataFileOf(this.#folder).path);
    this.#standing = { below: undefined, encryption: 'none' };
    this.#image = this.#open();
  }

  #changeKey(state: 'active' | 'inactive', slot: number): void {
    const image = this.#image;
    const [old, next] = [Buffer.from(passphrase), Buffer.from(secondPassphrase)];
    const plan =
      state === 'inactive'
        ? image.planKeySlots({ state, slot, passphrase: undefined })
        : image.planKeySlots({
            ...{ state, slot, passphrase: old, volumeKey: undefined, newPassphrase: next },
            ...{ iterations: 1000, chance: randomBytes(chanceLength) },
          });
    image.changeKeySlots(deriveHere(plan));
  }
}

/** Caches of any size, refcounts that lag behind or do not, and every rule but the one that QEMU 7.2 has not (OPT-10). */
function someRuntime(chance: Prng, image: Image): RuntimeOptions {
  const { clusterSize, compat } = image.describe();
  const l2CacheEntryBytes = 2 ** chance.pick([9, 9 + chance.below(Math.log2(clusterSize) - 8)]);
  return {
    l2CacheEntryBytes,
    l2CacheBytes: l2CacheEntryBytes * chance.pick([16, 64]),
    refcountCacheBytes: undefined,
    lazyRefcounts: compat === '1.1' && chance.chance(65) ? chance.chance(50) : undefined,
    passDiscard: chance.chance(50),
    overlapCheck: chance.pick(['none', 'constant', 'cached', 'all']),
    overlapAreas: chance.chance(25) ? { activeL2: false, inactiveL2: true } : {},
  };
}

/** A copy takes the place of the image, whose data file goes. */
export function moveOver(copy: string, path: string, dataPath: string): void {
  renameSync(copy, path);
  rmSync(dataPath, { force: true });
}

function wishOf({ compat, refcountBits, lazyRefcounts, dataFileRaw }: Amendment): AmendWish {
  return { compat, refcountBits, lazyRefcounts, dataFileRaw };
}

function changeBitmap(image: Image, name: string, change: BitmapChange): void {
  switch (change.verb) {
    case 'add':
      image.createBitmap({ name, granularity: change.granularity, enabled: change.enabled });
      return;
    case 'clear':
      image.clearBitmap(name);
      return;
    case 'enable':
    case 'disable':
      image.setBitmapEnabled(name, change.verb === 'enable');
      return;
    case 'delete':
      image.deleteBitmap(name);
      return;
    case 'merge':
      runToEnd(image.mergeBitmaps(name, [change.from]));
      return;
  }
}
