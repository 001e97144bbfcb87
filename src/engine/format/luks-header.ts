// The LUKS1 header as QEMU embeds it behind the "full disk encryption header pointer" (EXT-04, ENC-02; LUKS On-Disk Format 1.2.3, §2).

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { sectorSize } from '../../base/units.ts';
import { viewOf } from './big-endian.ts';
import { bytesOf, textOf } from './header-extensions.ts';

/** `LUKS\xba\xbe`. */
const luksMagic = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);
const luksVersion = 1;
/** Eight key slots behind 208 fixed bytes. */
export const luksHeaderLength = 592;
export const keySlotCount = 8;
const keySlotsAt = 208;
const keySlotLength = 48;
const keySlotActive = 0x00ac_71f3;
const keySlotInactive = 0x0000_dead;
/** Pieces into which key material is split; every writer uses this number, and QEMU takes no other. */
export const stripesPerSlot = 4000;
export const digestLength = 20;
export const saltLength = 32;
const textLength = 32;
const uuidAt = 168;
const uuidLength = 40;
/** AES-256 in XTS mode: two keys of 32 bytes; no cipher of LUKS1 in QEMU has a longer one. */
const luksKeyLengthMax = 64;
/**
 * What one PBKDF2 may cost: some seconds. QEMU asks for as many rounds as its machine does in two seconds, which is far
 * below; a count is the file's, and a hostile one would compute for an hour.
 */
export const luksIterationsMax = 20_000_000;
/** Nobody reads a larger area: eight slots of the longest key fill 2 MiB (ENC-04). */
export const luksAreaLengthMax = 16 * 1024 * 1024;

/** One key slot: how a passphrase opens it, and where its key material lies. */
export interface LuksKeySlot {
  readonly active: boolean;
  /** Rounds of PBKDF2; at least one in an active slot. */
  readonly iterations: number;
  readonly salt: Uint8Array;
  /** In bytes from the start of the LUKS header. */
  readonly materialOffset: number;
  readonly stripes: number;
}

/** The header. Offsets and lengths in bytes, from the start of the LUKS header. */
export interface LuksHeader {
  /** Such as `aes`. */
  readonly cipherName: string;
  /** Such as `xts-plain64` or `cbc-essiv:sha256`. */
  readonly cipherMode: string;
  /** The hash of PBKDF2 and of the anti-forensic splitter, such as `sha256`. */
  readonly hash: string;
  readonly payloadOffset: number;
  readonly keyLength: number;
  readonly digest: Uint8Array;
  readonly digestSalt: Uint8Array;
  readonly digestIterations: number;
  /** Its bytes as stored: nobody reads them, so they may be anything. {@link uuidText} is for people. */
  readonly uuidField: Uint8Array;
  readonly keySlots: readonly LuksKeySlot[];
}

/** Where the entry of a key slot begins, in bytes from the start of the header: with its state, four bytes in one sector. */
export function luksKeySlotAt(index: number): number {
  return keySlotsAt + index * keySlotLength;
}

/** Bytes of one slot's key material, before it is rounded up to sectors. */
export function keyMaterialLength(keyLength: number): number {
  return keyLength * stripesPerSlot;
}

/**
 * Decodes a header from the first bytes of its area, `areaLength` bytes long in the file. Fault `luks-header-invalid`
 * {reason}: also for key material outside of the area, over the header, or over that of another slot.
 */
export function decodeLuksHeader(bytes: Uint8Array, areaLength: number): LuksHeader {
  if (bytes.length < luksHeaderLength || areaLength < luksHeaderLength) throw invalid('length');
  if (luksMagic.some((byte, at) => bytes[at] !== byte)) throw invalid('magic');
  const view = viewOf(bytes);
  if (view.getUint16(6) !== luksVersion) throw invalid('version');
  const header: LuksHeader = {
    cipherName: decodeText(bytes.subarray(8, 8 + textLength), 'cipherName'),
    cipherMode: decodeText(bytes.subarray(40, 40 + textLength), 'cipherMode'),
    hash: decodeText(bytes.subarray(72, 72 + textLength), 'hash'),
    payloadOffset: view.getUint32(104) * sectorSize,
    keyLength: view.getUint32(108),
    digest: bytes.slice(112, 112 + digestLength),
    digestSalt: bytes.slice(132, 132 + saltLength),
    digestIterations: view.getUint32(164),
    uuidField: bytes.slice(uuidAt, uuidAt + uuidLength),
    keySlots: Array.from({ length: keySlotCount }, (_, index) => decodeKeySlot(bytes, index)),
  };
  judge(header, areaLength);
  return header;
}

function decodeKeySlot(bytes: Uint8Array, index: number): LuksKeySlot {
  const at = keySlotsAt + index * keySlotLength;
  const view = viewOf(bytes);
  const state = view.getUint32(at);
  if (state !== keySlotActive && state !== keySlotInactive) throw invalid('slotState');
  return {
    active: state === keySlotActive,
    iterations: view.getUint32(at + 4),
    salt: bytes.slice(at + 8, at + 8 + saltLength),
    materialOffset: view.getUint32(at + 40) * sectorSize,
    stripes: view.getUint32(at + 44),
  };
}

/** The rules that QEMU, too, asks of a header before it touches a key slot. */
function judge(header: LuksHeader, areaLength: number): void {
  const { keyLength, digestIterations, keySlots } = header;
  if (keyLength < 1 || keyLength > luksKeyLengthMax) throw invalid('keyLength');
  if (digestIterations === 0 || digestIterations > luksIterationsMax) throw invalid('digestIterations');
  const length = keyMaterialLength(keyLength);
  const starts: number[] = [];
  for (const { active, iterations, materialOffset, stripes } of keySlots) {
    if (stripes !== stripesPerSlot) throw invalid('stripes');
    if (active && (iterations === 0 || iterations > luksIterationsMax)) throw invalid('slotIterations');
    if (materialOffset < luksHeaderLength || materialOffset + length > areaLength) throw invalid('slotPlace');
    if (starts.some((start) => Math.abs(start - materialOffset) < length)) throw invalid('slotOverlap');
    starts.push(materialOffset);
  }
}

/** Text up to its first zero byte, which must be there. ASCII only: these are names of algorithms. */
function decodeText(field: Uint8Array, name: string): string {
  const end = field.indexOf(0);
  if (end < 0) throw invalid(name);
  let text = '';
  for (const byte of field.subarray(0, end)) {
    if (byte < 0x20 || byte > 0x7e) throw invalid(name);
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Encodes the header, without the key material that follows. */
export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  assert(header.keySlots.length === keySlotCount, 'a LUKS1 header has eight key slots');
  assert(header.payloadOffset % sectorSize === 0, 'the payload starts on a sector');
  assert(header.digest.length === digestLength, 'the key digest has 20 bytes');
  assert(header.digestSalt.length === saltLength, 'a salt has 32 bytes');
  const bytes = new Uint8Array(luksHeaderLength);
  const view = viewOf(bytes);
  bytes.set(luksMagic);
  view.setUint16(6, luksVersion);
  bytes.set(encodeText(header.cipherName, textLength), 8);
  bytes.set(encodeText(header.cipherMode, textLength), 40);
  bytes.set(encodeText(header.hash, textLength), 72);
  view.setUint32(104, header.payloadOffset / sectorSize);
  view.setUint32(108, header.keyLength);
  bytes.set(header.digest, 112);
  bytes.set(header.digestSalt, 132);
  view.setUint32(164, header.digestIterations);
  assert(header.uuidField.length === uuidLength, 'a UUID has a field of 40 bytes');
  bytes.set(header.uuidField, uuidAt);
  header.keySlots.forEach((slot, index) => {
    const at = keySlotsAt + index * keySlotLength;
    assert(slot.salt.length === saltLength, 'a salt has 32 bytes');
    assert(slot.materialOffset % sectorSize === 0, 'key material starts on a sector');
    view.setUint32(at, slot.active ? keySlotActive : keySlotInactive);
    view.setUint32(at + 4, slot.iterations);
    bytes.set(slot.salt, at + 8);
    view.setUint32(at + 40, slot.materialOffset / sectorSize);
    view.setUint32(at + 44, slot.stripes);
  });
  return bytes;
}

/** The UUID as it can be shown: up to its first zero byte, and with marks for what is no UTF-8. */
export function uuidText({ uuidField }: LuksHeader): string {
  const end = uuidField.indexOf(0);
  return textOf(end < 0 ? uuidField : uuidField.subarray(0, end));
}

/** The field of a UUID in its text form. */
export function encodeUuid(uuid: string): Uint8Array {
  const field = new Uint8Array(uuidLength);
  field.set(encodeText(uuid, uuidLength));
  return field;
}

function encodeText(text: string, length: number): Uint8Array {
  const bytes = bytesOf(text);
  assert(bytes.length < length, 'a name leaves room for its zero byte');
  return bytes;
}

function invalid(reason: string): Fault {
  return new Fault('luks-header-invalid', { reason });
}
