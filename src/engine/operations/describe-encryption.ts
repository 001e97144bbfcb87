// How an image is encrypted, told without its passphrase.

import { Fault } from '../../base/fault.ts';
import { uuidText } from '../format/luks-header.ts';
import type { LuksHeader } from '../format/luks-header.ts';
import type { EncryptionDescription, LuksDescription } from './image-description.ts';
import { parseCipherMode } from '../transform/cipher-choice.ts';
import { readLuksHeader } from './unlock.ts';
import type { LockedParts } from './unlock.ts';

/** Undefined for an image that is not. A LUKS header that breaks its rules tells nothing but that it is there. */
export function describeEncryption(parts: LockedParts): EncryptionDescription | undefined {
  switch (parts.header.header.encryptionMethod) {
    case 0:
      return undefined;
    case 1:
      return { format: 'aes' };
    default:
      return { format: 'luks', ...describeLuks(parts) };
  }
}

function describeLuks(parts: LockedParts): Partial<LuksDescription> {
  try {
    return toDescription(readLuksHeader(parts));
  } catch (error) {
    if (error instanceof Fault && error.code === 'luks-header-invalid') return {};
    throw error;
  }
}

function toDescription(header: LuksHeader): LuksDescription {
  const { mode, generator, generatorHash } = parseCipherMode(header.cipherMode);
  const keyBits = (header.keyLength * 8) / (mode === 'xts' ? 2 : 1);
  return {
    // SM4 has keys of one length, and QEMU calls it by its name alone.
    cipherAlg: header.cipherName === 'sm4' ? header.cipherName : `${header.cipherName}-${keyBits}`,
    cipherMode: mode,
    ivgenAlg: generator,
    // Of other generators it means nothing, and QEMU does not tell it.
    ...(generator === 'essiv' && generatorHash !== undefined ? { ivgenHashAlg: generatorHash } : {}),
    hashAlg: header.hash,
    payloadOffset: header.payloadOffset,
    masterKeyIters: header.digestIterations,
    uuid: uuidText(header),
    slots: header.keySlots.map(({ active, materialOffset, iterations, stripes }) => ({
      active,
      keyOffset: materialOffset,
      ...(active ? { iters: iterations, stripes } : {}),
    })),
  };
}
