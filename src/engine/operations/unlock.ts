// The key of an encrypted image: found with a passphrase, and put to use.

import { Fault } from '../../base/fault.ts';
import { decodeLuksHeader, luksAreaLengthMax } from '../format/luks-header.ts';
import type { LuksHeader } from '../format/luks-header.ts';
import type { ImageParts } from '../image-parts.ts';
import { chooseCipher, oldAes } from '../transform/cipher-choice.ts';
import type { CipherName } from '../transform/cipher-choice.ts';
import type { WithKeys } from '../transform/key-derivation.ts';
import { openVolumeKey } from '../transform/luks-key.ts';

/**
 * The volume key that the passphrase opens; the caller wipes it. The file is only read. Faults `wrong-passphrase`,
 * `encryption-unsupported` {cipher or hash}, `luks-header-invalid`, `unsupported-option` for an image without
 * encryption. The old AES scheme cannot tell a wrong passphrase: its guest reads noise (ENC-01).
 */
export function* findVolumeKey(parts: ImageParts, passphrase: Uint8Array): WithKeys<Uint8Array> {
  if (parts.header.header.encryptionMethod !== 2) {
    cipherNameOf(parts);
    const key = new Uint8Array(oldAes.keyLength);
    key.set(passphrase.subarray(0, key.length));
    return key;
  }
  const luks = readLuks(parts);
  // Before a second of computing is spent on a cipher that is not there.
  chooseCipher(luks.header, new Uint8Array(luks.header.keyLength));
  return yield* openVolumeKey(luks, passphrase);
}

/** Unlocks the guest data of an open image with the key that {@link findVolumeKey} found for it. */
export function useVolumeKey(parts: ImageParts, volumeKey: Uint8Array): void {
  const { encryption } = parts;
  if (encryption === undefined) return;
  encryption.unlock(chooseCipher(cipherNameOf(parts), volumeKey));
}

function cipherNameOf(parts: ImageParts): CipherName {
  switch (parts.header.header.encryptionMethod) {
    case 0:
      throw new Fault('unsupported-option', { option: 'passphrase', reason: 'the image is not encrypted' });
    case 1:
      return oldAes;
    default:
      return readLuks(parts).header;
  }
}

function readLuks(parts: ImageParts): { readonly header: LuksHeader; readonly area: Uint8Array } {
  const place = parts.header.extensions.encryption;
  if (place === undefined) throw new Fault('luks-header-invalid', { reason: 'place' });
  const areaEnd = place.offset + place.length;
  if (place.length > luksAreaLengthMax || areaEnd > parts.file.size) {
    throw new Fault('luks-header-invalid', { reason: 'length' });
  }
  const area = new Uint8Array(place.length);
  parts.file.readAt(place.offset, area);
  return { header: decodeLuksHeader(area, area.length), area };
}
