// The volume key of a LUKS1 area: opened with a passphrase, or made together with its area (LUKS On-Disk Format 1.2.3, §3 and §4).

import { timingSafeEqual } from 'node:crypto';

import { assert, present } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { digestLength, keyMaterialLength, luksHeaderLength } from '../format/luks-header.ts';
import type { LuksHeader, LuksKeySlot } from '../format/luks-header.ts';
import { isKnownHash, mergeStripes } from './anti-forensic.ts';
import { chooseCipher } from './cipher-choice.ts';
import type { WithKeys } from './key-derivation.ts';

/**
 * The volume key, which the caller wipes. `area`: the LUKS header, whose cipher and hash are known here, and all key
 * material. Every active slot is tried; the key's own digest tells which one fits. Fault `wrong-passphrase`.
 */
export function* openVolumeKey(
  luks: { readonly header: LuksHeader; readonly area: Uint8Array },
  passphrase: Uint8Array,
): WithKeys<Uint8Array> {
  for (const [index, { active }] of luks.header.keySlots.entries()) {
    const key = active ? yield* openSlotWith(luks, index, passphrase) : undefined;
    if (key !== undefined) return key;
  }
  throw new Fault('wrong-passphrase', {});
}

/** The volume key that the passphrase opens in one active slot, or undefined. */
export function* openSlotWith(
  luks: { readonly header: LuksHeader; readonly area: Uint8Array },
  index: number,
  passphrase: Uint8Array,
): WithKeys<Uint8Array | undefined> {
  const { header } = luks;
  assert(isKnownHash(header.hash), 'the hash of the header is known');
  const slot = present(header.keySlots[index], 'a slot has a place in the header');
  const key = yield* openSlot(luks, slot, passphrase);
  const digest = yield* deriveFor(header, {
    passphrase: key,
    salt: header.digestSalt,
    iterations: header.digestIterations,
    length: digestLength,
  });
  if (timingSafeEqual(digest, header.digest)) return key;
  key.fill(0);
  return undefined;
}

function* openSlot(
  luks: { readonly header: LuksHeader; readonly area: Uint8Array },
  slot: LuksKeySlot,
  passphrase: Uint8Array,
): WithKeys<Uint8Array> {
  const { header, area } = luks;
  const { keyLength } = header;
  const slotKey = yield* deriveFor(header, {
    passphrase,
    salt: slot.salt,
    iterations: slot.iterations,
    length: keyLength,
  });
  const length = keyMaterialLength(keyLength);
  const { materialOffset } = slot;
  assert(materialOffset >= luksHeaderLength && materialOffset + length <= area.length, 'key material lies in its area');
  const material = new Uint8Array(alignUp(length, sectorSize));
  material.set(area.subarray(materialOffset, materialOffset + material.length));
  chooseCipher(header, slotKey).decrypt(material, 0);
  const key = mergeStripes(material.subarray(0, length), keyLength, header.hash);
  material.fill(0);
  slotKey.fill(0);
  return key;
}

/** One PBKDF2 with the hash of the header. */
export function* deriveFor(
  header: LuksHeader,
  work: {
    readonly passphrase: Uint8Array;
    readonly salt: Uint8Array;
    readonly iterations: number;
    readonly length: number;
  },
): WithKeys<Uint8Array> {
  const key = yield { need: 'key', hash: header.hash, ...work };
  assert(key !== undefined, 'a need is answered with its key');
  assert(key.length === work.length, 'a key is as long as it was wanted');
  return Uint8Array.from(key);
}
