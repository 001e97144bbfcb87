// Encryption of images on the wire.

import { z } from 'zod';

import type { ImageDescription } from '../../src/services/services.ts';
import { Size } from './common.ts';

/** More than anybody types or generates. */
const passphraseLengthMax = 4096;

export const Passphrase = z
  .string()
  .min(1)
  .max(passphraseLengthMax)
  .meta({ description: 'Its bytes are those of its UTF-8; never stored, never logged', examples: ['correct horse'] });

export const UnlockImage = z.strictObject({ passphrase: Passphrase }).meta({ id: 'UnlockImage' });

export const EncryptionInfo = z
  .object({
    format: z.enum(['luks', 'aes']),
    cipherAlg: z
      .string()
      .optional()
      .meta({ examples: ['aes-256'] }),
    cipherMode: z
      .string()
      .optional()
      .meta({ examples: ['xts'] }),
    ivgenAlg: z
      .string()
      .optional()
      .meta({ examples: ['plain64'] }),
    ivgenHashAlg: z.string().optional(),
    hashAlg: z
      .string()
      .optional()
      .meta({ examples: ['sha256'] }),
    payloadOffset: Size.optional(),
    masterKeyIters: Size.optional(),
    uuid: z.string().optional(),
    slots: z
      .array(z.object({ active: z.boolean(), keyOffset: Size, iters: Size.optional(), stripes: Size.optional() }))
      .optional(),
  })
  .meta({ id: 'EncryptionInfo', description: 'The members after `format` are those of a sound LUKS header' });

/** How an image is encrypted, as the wire has it. */
export function printEncryption(
  encryption: NonNullable<ImageDescription['encryption']>,
): z.input<typeof EncryptionInfo> {
  if (encryption.format === 'aes') return { format: 'aes' };
  const { slots, ...facts } = encryption;
  return { ...facts, ...(slots === undefined ? {} : { slots: slots.map((slot) => ({ ...slot })) }) };
}
