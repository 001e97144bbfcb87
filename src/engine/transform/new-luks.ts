// A LUKS1 area as QEMU lays it out, with one active key slot; and key material for a slot (LUKS On-Disk Format 1.2.3, §4).

import { createCipheriv } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp, divideUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { viewOf } from '../format/big-endian.ts';
import {
  digestLength,
  encodeLuksHeader,
  encodeUuid,
  keyMaterialLength,
  keySlotCount,
  luksIterationsMax,
  saltLength,
  stripesPerSlot,
} from '../format/luks-header.ts';
import type { LuksHeader, LuksKeySlot } from '../format/luks-header.ts';
import { digestLengthOf, isKnownHash, knownHashes, splitIntoStripes } from './anti-forensic.ts';
import { chooseCipher, isEssivHashFor, isModeFor } from './cipher-choice.ts';
import type { WithKeys } from './key-derivation.ts';
import { deriveFor } from './luks-key.ts';

/** A cipher of LUKS, by QEMU's names. */
export interface LuksCipher {
  readonly algorithm:
    | 'aes-128'
    | 'aes-192'
    | 'aes-256'
    | 'cast5-128'
    | 'serpent-128'
    | 'serpent-192'
    | 'serpent-256'
    | 'sm4'
    | 'twofish-128'
    | 'twofish-192'
    | 'twofish-256';
  readonly mode: 'cbc' | 'ctr' | 'ecb' | 'xts';
}

/** How a new image is to be encrypted, by QEMU's names. */
export interface LuksWish {
  readonly cipher: LuksCipher;
  readonly ivgenAlg: 'plain' | 'plain64' | 'essiv';
  /** Only with `essiv`. */
  readonly ivgenHashAlg: string | undefined;
  readonly hashAlg: string;
}

/** Rounds of PBKDF2 for a key slot, and for the digest that tells the right key. */
export interface KeyCost {
  readonly slotIterations: number;
  readonly digestIterations: number;
}

/** How fast a machine is, and how long one try may take. */
export interface Machine {
  /** Rounds of PBKDF2 for one digest. */
  readonly roundsPerSecond: number;
  readonly iterTimeMs: number;
}

/** Random bytes of the caller, for one use: {@link chanceLength} of them. */
export type Chance = Uint8Array;

export interface NewLuks {
  /** Header and key material, as long as QEMU makes it. */
  readonly area: Uint8Array;
  /** The caller wipes it. */
  readonly volumeKey: Uint8Array;
}

/** QEMU's own floor for slots and digest. */
const iterationsMin = 1000;
/** Header and slots start on such a boundary. */
const alignment = 4096;
const volumeKeyLengthMax = 64;
const uuidLength = 16;
/** A key and a counter that fill the stripes of a slot. */
const streamKeyLength = 32;
const streamStartLength = 16;
export const chanceLength = volumeKeyLengthMax + 2 * saltLength + uuidLength + streamKeyLength + streamStartLength;

/** Bytes of the area, before they are rounded up to clusters. */
export function luksAreaLengthOf(cipher: LuksCipher): number {
  return alignment + keySlotCount * slotLengthOf(volumeKeyLengthOf(cipher));
}

/** Bytes of the volume key: XTS has two keys. */
function volumeKeyLengthOf({ algorithm, mode }: LuksCipher): number {
  const length = algorithm === 'sm4' ? 16 : Number(algorithm.slice(algorithm.indexOf('-') + 1)) / 8;
  return mode === 'xts' ? 2 * length : length;
}

/** As a LUKS header has it. */
function cipherNameOf({ algorithm }: LuksCipher): string {
  return algorithm === 'sm4' ? algorithm : algorithm.slice(0, algorithm.indexOf('-'));
}

/** Fault `unsupported-option` {option, reason} for what this engine does not make. */
export function judgeLuksWish(wish: LuksWish): void {
  const { cipher, ivgenAlg, ivgenHashAlg, hashAlg } = wish;
  const cipherName = cipherNameOf(cipher);
  if (!isModeFor(cipherName, cipher.mode)) {
    throw refused('encryption.cipherMode', 'must be cbc, ctr or ecb with cast5-128: xts needs blocks of 16 bytes');
  }
  judgeKeyMaterial(volumeKeyLengthOf(cipher), 'encryption.cipherAlg');
  if (!isKnownHash(hashAlg)) {
    throw refused('encryption.hashAlg', `must be one of ${knownHashes.join(', ')}`);
  }
  if (ivgenAlg !== 'essiv') {
    if (ivgenHashAlg !== undefined) throw refused('encryption.ivgenHashAlg', 'needs ivgenAlg essiv');
    return;
  }
  if (!isEssivHashFor(cipherName, ivgenHashAlg ?? '')) {
    const fitting = knownHashes.filter((hash) => isEssivHashFor(cipherName, hash)).join(' or ');
    throw refused('encryption.ivgenHashAlg', `must be ${fitting}: as long as a key of ${cipherName}`);
  }
}

/** A key of 24 bytes fills no whole sectors with its 4000 stripes: QEMU ends by an assertion where it meets one. */
function judgeKeyMaterial(keyLength: number, option: string): void {
  if (keyMaterialLength(keyLength) % sectorSize === 0) return;
  throw refused(
    option,
    'QEMU cannot open key slots of a key of 192 bits in this mode: take 128 or 256 bits, or cipherMode xts',
  );
}

/**
 * What a passphrase is to cost, as QEMU reckons it: so many milliseconds for a key slot, an eighth of that for the digest.
 */
export function keyCostFor({ cipher, hashAlg }: LuksWish, machine: Machine): KeyCost {
  const slotIterations = slotIterationsFor({ hash: hashAlg, keyLength: volumeKeyLengthOf(cipher) }, machine);
  return { slotIterations, digestIterations: bounded((machine.roundsPerSecond * machine.iterTimeMs) / 8000) };
}

/** Rounds for one more key slot. */
export function slotIterationsFor(luks: Pick<LuksHeader, 'hash' | 'keyLength'>, machine: Machine): number {
  const digests = divideUp(luks.keyLength, digestLengthOf(luks.hash));
  return bounded((machine.roundsPerSecond * machine.iterTimeMs) / 1000 / digests);
}

function bounded(iterations: number): number {
  return Math.min(luksIterationsMax, Math.max(iterationsMin, Math.floor(iterations)));
}

/** Key and area, with the passphrase in slot 0. The wish is judged already. */
export function* makeLuks(
  wish: LuksWish,
  options: { readonly passphrase: Uint8Array; readonly cost: KeyCost; readonly chance: Chance },
): WithKeys<NewLuks> {
  const { passphrase, cost } = options;
  const chance = new ChanceReader(options.chance);
  const keyLength = volumeKeyLengthOf(wish.cipher);
  const volumeKey = chance.take(keyLength);
  const empty: LuksHeader = {
    cipherName: cipherNameOf(wish.cipher),
    cipherMode: `${wish.cipher.mode}-${wish.ivgenAlg}${wish.ivgenHashAlg === undefined ? '' : `:${wish.ivgenHashAlg}`}`,
    hash: wish.hashAlg,
    payloadOffset: luksAreaLengthOf(wish.cipher),
    keyLength,
    digest: new Uint8Array(digestLength),
    digestSalt: chance.take(saltLength),
    digestIterations: cost.digestIterations,
    uuidField: encodeUuid(uuidOf(chance.take(uuidLength))),
    keySlots: Array.from({ length: keySlotCount }, (_, index) =>
      emptySlot(alignment + index * slotLengthOf(keyLength)),
    ),
  };
  const digest = yield* deriveFor(empty, {
    passphrase: volumeKey,
    salt: empty.digestSalt,
    iterations: empty.digestIterations,
    length: digestLength,
  });
  const { slot, material } = yield* fillSlot(empty, {
    index: 0,
    passphrase,
    volumeKey,
    iterations: cost.slotIterations,
    chance,
  });
  const area = new Uint8Array(luksAreaLengthOf(wish.cipher));
  area.set(encodeLuksHeader({ ...empty, digest, keySlots: empty.keySlots.with(0, slot) }));
  area.set(material, slot.materialOffset);
  return { area, volumeKey };
}

/**
 * What a key slot becomes: its entry in the header, and its key material, which lies at `materialOffset`. Fault
 * `unsupported-option` for a key whose material is not in whole sectors.
 */
export function* fillSlot(
  header: LuksHeader,
  options: {
    readonly index: number;
    readonly passphrase: Uint8Array;
    readonly volumeKey: Uint8Array;
    readonly iterations: number;
    readonly chance: ChanceReader;
  },
): WithKeys<{ readonly slot: LuksKeySlot; readonly material: Uint8Array }> {
  const { index, passphrase, volumeKey, iterations, chance } = options;
  judgeKeyMaterial(header.keyLength, 'encryption');
  const before = header.keySlots[index];
  assert(before !== undefined, 'a slot has a place in the header');
  const slot: LuksKeySlot = { ...before, active: true, iterations, salt: chance.take(saltLength) };
  const material = chance.fill(keyMaterialLength(header.keyLength));
  splitIntoStripes(volumeKey, material, header.hash);
  const slotKey = yield* deriveFor(header, { passphrase, salt: slot.salt, iterations, length: header.keyLength });
  chooseCipher(header, slotKey).encrypt(material, 0);
  slotKey.fill(0);
  return { slot, material };
}

/** Hands random bytes out, each once. */
export class ChanceReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(chance: Chance) {
    assert(chance.length >= chanceLength, 'there are random bytes enough');
    this.#bytes = chance;
  }

  take(length: number): Uint8Array {
    assert(this.#at + length <= this.#bytes.length, 'random bytes are used once');
    this.#at += length;
    return Uint8Array.from(this.#bytes.subarray(this.#at - length, this.#at));
  }

  /** So many bytes of a cipher's stream: as good, and as many as anybody wants. */
  fill(length: number): Uint8Array {
    const stream = createCipheriv('aes-256-ctr', this.take(streamKeyLength), this.take(streamStartLength));
    return Uint8Array.from(stream.update(new Uint8Array(length)));
  }
}

function slotLengthOf(keyLength: number): number {
  return alignUp(keyMaterialLength(keyLength), alignment);
}

function emptySlot(materialOffset: number): LuksKeySlot {
  return { active: false, iterations: 0, salt: new Uint8Array(saltLength), materialOffset, stripes: stripesPerSlot };
}

/** A random UUID (RFC 9562, version 4) from its bytes. */
function uuidOf(bytes: Uint8Array): string {
  const view = viewOf(bytes);
  view.setUint8(6, (view.getUint8(6) & 0x0f) | 0x40);
  view.setUint8(8, (view.getUint8(8) & 0x3f) | 0x80);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function refused(option: string, reason: string): Fault {
  return new Fault('unsupported-option', { option, reason });
}
