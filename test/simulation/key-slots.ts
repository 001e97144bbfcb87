// Crashes at every moment of changing key slots: the passphrases that stay open the image, and no active slot is a ruin.

import { Fault } from '../../src/base/fault.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import type { Image } from '../../src/engine/image.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { chanceLength } from '../../src/engine/transform/new-luks.ts';
import { passphrase, quickLuks, usualLuks } from '../support/luks-image.ts';
import { plainSpec } from '../support/plain-spec.ts';
import { Prng } from '../support/prng.ts';
import { openOver } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';

/** The least key material and the fastest hash: states are judged by opening them. */
const small = { ...usualLuks, cipher: { algorithm: 'aes-128', mode: 'cbc' }, hashAlg: 'sha1' } as const;
const changes = 3;

interface Promised {
  /** Open the image in any case. */
  readonly opens: readonly string[];
  /** May open it. */
  readonly mayOpen: string | undefined;
  /** Slots whose key material is gone. */
  readonly wiped: readonly number[];
}

/** Gives the image of a seed passphrases and takes them away. */
export function liveKeySlots(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const start = MemoryFile.empty();
  const encryption = { format: 'luks', ...quickLuks(small) } as const;
  runToEnd(createImage(start, { ...plainSpec, virtualSize: 512, clusterSize: 4096, encryption }));
  let promised: Promised = { opens: [passphrase], mayOpen: undefined, wiped: [] };
  let strength = 0;
  let during = 'the start';
  const trials: CrashTrials<Promised> = new CrashTrials<Promised>(start, {
    options,
    chance: new Prng(seed + 1),
    promised: () => promised,
    strength: () => strength,
    during: () => during,
    judge,
  });
  const image = openOver(trials.file, undefined);
  const slots: (string | undefined)[] = [passphrase];
  for (let count = 0; count < changes; count += 1) {
    const used = slots.flatMap((word, slot) => (word === undefined ? [] : [slot]));
    if (count % 2 === 0) {
      const slot = chance.pick([1, 2, 6, 7].filter((one) => !used.includes(one)));
      const word = `passphrase ${String(count)}`;
      during = `slot ${String(slot)} becomes active`;
      promised = { opens: namesOf(slots), mayOpen: word, wiped: [] };
      fill(image, { slot, word, chance, volumeKey: encryption.volumeKey });
      slots[slot] = word;
      promised = { opens: namesOf(slots), mayOpen: undefined, wiped: [] };
    } else {
      const slot = chance.pick(used);
      const word = slots[slot];
      during = `slot ${String(slot)} becomes inactive`;
      slots[slot] = undefined;
      promised = { opens: namesOf(slots), mayOpen: word, wiped: [] };
      image.changeKeySlots(deriveHere(image.planKeySlots({ state: 'inactive', slot, passphrase: undefined })));
      promised = { opens: namesOf(slots), mayOpen: undefined, wiped: [slot] };
    }
    strength += 1;
    trials.mark();
  }
  trials.judgeEpoch();
  image.abandon();
  return trials.record;
}

function fill(
  image: Image,
  use: { readonly slot: number; readonly word: string; readonly chance: Prng; readonly volumeKey: Uint8Array },
): void {
  const plan = image.planKeySlots({
    state: 'active',
    slot: use.slot,
    passphrase: undefined,
    volumeKey: use.volumeKey,
    newPassphrase: Buffer.from(use.word),
    iterations: 1000,
    chance: use.chance.bytes(chanceLength),
  });
  image.changeKeySlots(deriveHere(plan));
}

function namesOf(slots: readonly (string | undefined)[]): readonly string[] {
  return slots.filter((word) => word !== undefined);
}

function judge(file: MemoryFile, { opens, mayOpen, wiped }: Promised): string | undefined {
  const image = openOver(file, undefined);
  try {
    const { encryption } = image.describe();
    if (encryption?.format !== 'luks' || encryption.slots === undefined) return 'the LUKS header is broken';
    const closed = opens.find((word) => !opensWith(image, word));
    if (closed !== undefined) return `"${closed}" opens nothing`;
    const active = encryption.slots.filter((slot) => slot.active).length;
    const others = mayOpen !== undefined && opensWith(image, mayOpen) ? 1 : 0;
    if (active !== opens.length + others) return `${String(active)} slots are active and not all can be opened`;
    const left = wiped.find((slot) => !isWiped(file, encryption.slots?.[slot]?.keyOffset ?? 0));
    return left === undefined ? undefined : `the key material of slot ${String(left)} is still there`;
  } finally {
    image.abandon();
  }
}

function opensWith(image: Image, word: string): boolean {
  try {
    deriveHere(image.findVolumeKey(Buffer.from(word)));
    return true;
  } catch (error) {
    if (error instanceof Fault && error.code === 'wrong-passphrase') return false;
    throw error;
  }
}

/** The area begins with the fourth cluster: behind header, refcount table and block. */
function isWiped(file: MemoryFile, keyOffset: number): boolean {
  const material = new Uint8Array(64_000);
  file.readAt(hostOffset(3 * 4096 + keyOffset), material);
  return material.every((byte) => byte === 0);
}
