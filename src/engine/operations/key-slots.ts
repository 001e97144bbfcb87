// Key slots of a LUKS area: a passphrase more, or one less (ENC-05, AMD-09). First what is to be written is computed, then
// it is written in an order in which a crash at any moment leaves every passphrase but the one that changes.

import { assert, present } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { encodeLuksHeader, keyMaterialLength, luksKeySlotAt } from '../format/luks-header.ts';
import type { LuksHeader, LuksKeySlot } from '../format/luks-header.ts';
import { hostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { WithKeys } from '../transform/key-derivation.ts';
import { openSlotWith, openVolumeKey } from '../transform/luks-key.ts';
import { ChanceReader, fillSlot } from '../transform/new-luks.ts';
import type { Chance } from '../transform/new-luks.ts';
import { areaOf, readLuks, readLuksHeader } from './unlock.ts';
import type { LockedParts } from './unlock.ts';

/** What is to become of the key slots. */
export type KeySlotWish =
  | {
      readonly state: 'active';
      /** The first free one when it is left out. */
      readonly slot: number | undefined;
      /** Opens the volume key; not needed with `volumeKey`. */
      readonly passphrase: Uint8Array | undefined;
      readonly volumeKey: Uint8Array | undefined;
      readonly newPassphrase: Uint8Array;
      readonly iterations: number;
      readonly chance: Chance;
    }
  | {
      readonly state: 'inactive';
      /** Without it, all slots that the passphrase opens. */
      readonly slot: number | undefined;
      /** Beside a slot, what has to open it, as for QEMU. */
      readonly passphrase: Uint8Array | undefined;
    };

/** What is to be written. Nothing in it is secret: all of it will stand in the file. */
export type KeySlotPlan =
  | { readonly kind: 'fill'; readonly index: number; readonly slot: LuksKeySlot; readonly material: Uint8Array }
  | { readonly kind: 'clear'; readonly indexes: readonly number[] };

/** What a slot's key is hashed with, and how long it is. Faults `luks-header-invalid`, `unsupported-option`. */
export function luksHash(parts: LockedParts): Pick<LuksHeader, 'hash' | 'keyLength'> {
  requireLuks(parts);
  return readLuksHeader(parts);
}

/**
 * Computes the change; the file is only read. Faults `wrong-passphrase`, `passphrase-required`, and `unsupported-option`
 * for a slot that is in use, when none is free, and when no active slot would be left.
 */
export function* planKeySlots(parts: LockedParts, wish: KeySlotWish): WithKeys<KeySlotPlan> {
  requireLuks(parts);
  const luks = readLuks(parts);
  if (wish.state === 'inactive') {
    const plan = { kind: 'clear', indexes: yield* chosenOf(luks, wish) } as const;
    requireOneLeft(luks.header, plan.indexes);
    return plan;
  }
  const index = wish.slot ?? luks.header.keySlots.findIndex(({ active }) => !active);
  if (index < 0) throw refused('encryption.slot', 'all eight key slots are in use: make one inactive first');
  requireFree(luks.header, index);
  const volumeKey = yield* volumeKeyOf(luks, wish);
  const { slot, material } = yield* fillSlot(luks.header, {
    index,
    passphrase: wish.newPassphrase,
    volumeKey,
    iterations: wish.iterations,
    chance: new ChanceReader(wish.chance),
  });
  volumeKey.fill(0);
  return { kind: 'fill', index, slot, material };
}

/** Writes it, durable at the end; the header may have changed since, and is judged once more. Faults as {@link planKeySlots}. */
export function changeKeySlots(parts: WriteParts, plan: KeySlotPlan): void {
  const { header } = readLuks(parts);
  if (plan.kind === 'fill') fill(parts, header, plan);
  else clear(parts, header, plan.indexes);
}

/** The slot becomes active by its last write, which lies in one sector and is whole or not there. */
function fill(parts: WriteParts, header: LuksHeader, plan: Extract<KeySlotPlan, { readonly kind: 'fill' }>): void {
  const { index, slot, material } = plan;
  requireFree(header, index);
  assert(slot.materialOffset === header.keySlots[index]?.materialOffset, 'a slot stays in its place');
  const start = areaOf(parts).offset;
  parts.file.writeAt(hostOffset(start + slot.materialOffset), material);
  writeSlots(parts, header, header.keySlots.with(index, { ...slot, active: false }));
  parts.file.flush();
  writeState(parts, header, index, slot);
  parts.file.flush();
}

/** The slot is out of use before its key material goes; what a crash leaves of it is overwritten by the next try. */
function clear(parts: WriteParts, header: LuksHeader, indexes: readonly number[]): void {
  requireOneLeft(header, indexes);
  const cleared = indexes.map((index) => {
    const before = present(header.keySlots[index], 'a slot has a place in the header');
    return { index, slot: { ...before, active: false, iterations: 0, salt: new Uint8Array(before.salt.length) } };
  });
  for (const { index, slot } of cleared) writeState(parts, header, index, slot);
  parts.file.flush();
  const nothing = new Uint8Array(keyMaterialLength(header.keyLength));
  const start = areaOf(parts).offset;
  for (const { slot } of cleared) parts.file.writeAt(hostOffset(start + slot.materialOffset), nothing);
  writeSlots(
    parts,
    header,
    cleared.reduce((slots, { index, slot }) => slots.with(index, slot), header.keySlots),
  );
  parts.file.flush();
}

function writeSlots(parts: WriteParts, header: LuksHeader, keySlots: readonly LuksKeySlot[]): void {
  parts.file.writeAt(hostOffset(areaOf(parts).offset), encodeLuksHeader({ ...header, keySlots }));
}

/** Its four bytes alone. */
function writeState(parts: WriteParts, header: LuksHeader, index: number, slot: LuksKeySlot): void {
  const bytes = encodeLuksHeader({ ...header, keySlots: header.keySlots.with(index, slot) });
  const at = luksKeySlotAt(index);
  parts.file.writeAt(hostOffset(areaOf(parts).offset + at), bytes.subarray(at, at + 4));
}

type Luks = ReturnType<typeof readLuks>;

function* volumeKeyOf(luks: Luks, wish: Extract<KeySlotWish, { readonly state: 'active' }>): WithKeys<Uint8Array> {
  if (wish.passphrase !== undefined) return yield* openVolumeKey(luks, wish.passphrase);
  if (wish.volumeKey === undefined) throw new Fault('passphrase-required', {});
  return Uint8Array.from(wish.volumeKey);
}

/** The slots to clear. A passphrase that opens none of those that are meant faults `wrong-passphrase`. */
function* chosenOf(
  luks: Luks,
  { slot, passphrase }: Extract<KeySlotWish, { readonly state: 'inactive' }>,
): WithKeys<readonly number[]> {
  if (passphrase === undefined) {
    // One that is out of use already may hold what a crash left of its key material.
    if (slot !== undefined) return [slot];
    throw refused('encryption', 'needs `slot` or `passphrase` to know which key slot is meant');
  }
  const indexes: number[] = [];
  for (const [index, { active }] of luks.header.keySlots.entries()) {
    if (!active || index !== (slot ?? index)) continue;
    const key = yield* openSlotWith(luks, index, passphrase);
    if (key !== undefined) indexes.push(index);
    key?.fill(0);
  }
  if (indexes.length === 0) throw new Fault('wrong-passphrase', {});
  return indexes;
}

function requireLuks(parts: LockedParts): void {
  if (parts.header.header.encryptionMethod === 2) return;
  throw refused('encryption', 'the image has no key slots: it is not encrypted with LUKS');
}

function requireFree({ keySlots }: LuksHeader, index: number): void {
  if (keySlots[index]?.active === true)
    throw refused('encryption.slot', 'the key slot is in use: make it inactive first');
}

function requireOneLeft({ keySlots }: LuksHeader, indexes: readonly number[]): void {
  if (keySlots.some(({ active }, index) => active && !indexes.includes(index))) return;
  throw refused('encryption.state', 'the last active key slot would go, and with it every way to the data');
}

function refused(option: string, reason: string): Fault {
  return new Fault('unsupported-option', { option, reason });
}
