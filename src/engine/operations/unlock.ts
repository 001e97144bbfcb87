// The key of an encrypted image: judged when the image comes in, found with a passphrase, and put to use.

import { Fault } from '../../base/fault.ts';
import type { EncryptionExtension } from '../format/header-extensions.ts';
import { decodeLuksHeader, luksAreaLengthMax, luksHeaderLength } from '../format/luks-header.ts';
import type { LuksHeader } from '../format/luks-header.ts';
import type { ImageParts } from '../image-parts.ts';
import { isKnownHash } from '../transform/anti-forensic.ts';
import { chooseCipher, oldAes } from '../transform/cipher-choice.ts';
import type { CipherName } from '../transform/cipher-choice.ts';
import type { WithKeys } from '../transform/key-derivation.ts';
import { openVolumeKey } from '../transform/luks-key.ts';
import type { SectorCipher } from '../transform/sector-cipher.ts';
import type { NewEncryption } from './create-spec.ts';

/** What finding the key needs of an image. */
export type LockedParts = Pick<ImageParts, 'file' | 'header'>;

/**
 * Judges how a foreign image is encrypted, without its passphrase. Faults `luks-header-invalid`, `encryption-unsupported`
 * {cipher or hash}.
 */
export function judgeEncryption(parts: LockedParts): void {
  if (parts.header.header.encryptionMethod !== 2) return;
  requireKnown(readLuksHeader(parts));
}

/** Before a second of computing is spent on a cipher that is not there. */
function requireKnown(header: LuksHeader): void {
  chooseCipher(header, new Uint8Array(header.keyLength));
  if (!isKnownHash(header.hash)) throw new Fault('encryption-unsupported', { hash: header.hash });
}

/**
 * The volume key that the passphrase opens; the caller wipes it. The file is only read. Faults `wrong-passphrase`,
 * `encryption-unsupported` {cipher or hash}, `luks-header-invalid`, `unsupported-option` for an image without
 * encryption. The old AES scheme cannot tell a wrong passphrase: its guest reads noise (ENC-01).
 */
export function* findVolumeKey(parts: LockedParts, passphrase: Uint8Array): WithKeys<Uint8Array> {
  if (parts.header.header.encryptionMethod !== 2) {
    cipherNameOf(parts);
    return oldAesKeyOf(passphrase);
  }
  const luks = readLuks(parts);
  requireKnown(luks.header);
  return yield* openVolumeKey(luks, passphrase);
}

/** The cipher of an image that is only being made. */
export function cipherOf(encryption: NewEncryption): SectorCipher {
  const { format, volumeKey } = encryption;
  const name = format === 'aes' ? oldAes : decodeLuksHeader(encryption.area, encryption.area.length);
  return chooseCipher(name, volumeKey);
}

/** The key of the old scheme: the passphrase, cut or filled with zeroes (ENC-01). */
export function oldAesKeyOf(passphrase: Uint8Array): Uint8Array {
  const key = new Uint8Array(oldAes.keyLength);
  key.set(passphrase.subarray(0, key.length));
  return key;
}

/** Unlocks the guest data of an open image with the key that {@link findVolumeKey} found for it. */
export function useVolumeKey(parts: ImageParts, volumeKey: Uint8Array): void {
  const { encryption } = parts;
  if (encryption === undefined) return;
  encryption.unlock(chooseCipher(cipherNameOf(parts), volumeKey));
}

function cipherNameOf(parts: LockedParts): CipherName {
  switch (parts.header.header.encryptionMethod) {
    case 0:
      throw new Fault('unsupported-option', { option: 'passphrase', reason: 'the image is not encrypted' });
    case 1:
      return oldAes;
    default:
      return readLuksHeader(parts);
  }
}

/** Faults `luks-header-invalid`. */
export function readLuksHeader(parts: LockedParts): LuksHeader {
  const { offset, length } = areaOf(parts);
  const bytes = new Uint8Array(Math.min(length, luksHeaderLength));
  parts.file.readAt(offset, bytes);
  return decodeLuksHeader(bytes, length);
}

/** The header, and the whole area with it. Fault `luks-header-invalid`. */
export function readLuks(parts: LockedParts): { readonly header: LuksHeader; readonly area: Uint8Array } {
  const { offset, length } = areaOf(parts);
  const area = new Uint8Array(length);
  parts.file.readAt(offset, area);
  return { header: decodeLuksHeader(area, length), area };
}

/** Where header and key material lie: inside the file. */
export function areaOf(parts: LockedParts): EncryptionExtension {
  const place = parts.header.extensions.encryption;
  if (place === undefined) throw new Fault('luks-header-invalid', { reason: 'place' });
  if (place.length > luksAreaLengthMax || place.offset + place.length > parts.file.size) {
    throw new Fault('luks-header-invalid', { reason: 'length' });
  }
  return place;
}
