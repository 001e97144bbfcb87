// Encryption of images on the wire.

import { z } from 'zod';

import type { CreateOptions, ImageDescription, KeySlotChange as SlotChange } from '../../src/services/services.ts';
import { queryNumber, Size } from './common.ts';

/** More than anybody types or generates. */
const passphraseLengthMax = 4096;

export const Passphrase = z
  .string()
  .min(1)
  .max(passphraseLengthMax)
  .meta({ description: 'Its bytes are those of its UTF-8; never stored, never logged', examples: ['correct horse'] });

export const UnlockImage = z.strictObject({ passphrase: Passphrase }).meta({ id: 'UnlockImage' });

export const aesHasNone = 'the old AES scheme has no options beside its passphrase';

/** A slot may cost as much as QEMU lets it, and somewhat more. */
const iterTimeMsMax = 10_000;

const EncryptionFormat = z.enum(['luks', 'aes']);

export const CipherAlg = z.enum([
  'aes-128',
  'aes-192',
  'aes-256',
  'cast5-128',
  'serpent-128',
  'serpent-192',
  'serpent-256',
  'twofish-128',
  'twofish-192',
  'twofish-256',
  'sm4',
]);

export const CipherMode = z.enum(['cbc', 'xts', 'ctr', 'ecb']);

/** qemu-img's options for LUKS. */
export const luksOptions = {
  cipherAlg: CipherAlg.optional().meta({
    description:
      'aes-256 when left out, which is by far the fastest here; the others are for images that need them. QEMU knows sm4 from 9.0 on',
  }),
  cipherMode: CipherMode.optional().meta({
    description:
      'xts when left out; not with cast5-128. Whoever sees the file sees in ecb which blocks are equal, and in ctr what was changed: for programs that need them',
  }),
  ivgenAlg: z.enum(['plain', 'plain64', 'essiv']).optional().meta({ description: 'plain64 when left out' }),
  ivgenHashAlg: z.enum(['sha256', 'md5', 'sm3']).optional().meta({
    description: 'With `essiv`: sha256 when left out; with cast5-128 and sm4 it must be md5',
  }),
  hashAlg: z
    .enum(['sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160', 'md5', 'sm3'])
    .optional()
    .meta({ description: 'sha256 when left out; sm3 is known to QEMU from 9.2 on' }),
};

const iterTimeText = 'What trying a passphrase is to take on this machine; 2000 when left out';

export const NewEncryption = z
  .strictObject({
    format: EncryptionFormat,
    passphrase: Passphrase,
    ...luksOptions,
    iterTimeMs: z.int().min(1).max(iterTimeMsMax).optional().meta({ description: iterTimeText }),
  })
  .refine((body) => body.format === 'luks' || Object.keys(body).every((key) => aesMembers.includes(key)), {
    path: ['format'],
    error: aesHasNone,
  })
  .meta({ id: 'NewEncryption', description: "The members after `passphrase` are qemu-img's options for LUKS" });

/** The same in the query of an import, whose passphrase comes in a header. */
export const encryptionQuery = {
  encryption: EncryptionFormat.optional().meta({
    description: 'raw: the new image is encrypted, with the passphrase of `Image-Passphrase`',
  }),
  ...luksOptions,
  iterTimeMs: queryNumber({ min: 1, max: iterTimeMsMax }).optional().meta({ description: iterTimeText }),
};

export const luksMembers = [...(Object.keys(luksOptions) as (keyof typeof luksOptions)[]), 'iterTimeMs'] as const;

const keySlotMax = 7;

export const KeySlotChange = z
  .strictObject({
    state: z.enum(['active', 'inactive']).meta({ description: 'A passphrase more, or one less' }),
    slot: z.int().min(0).max(keySlotMax).optional().meta({
      description: 'When left out: the first that is free, or those that `passphrase` opens',
    }),
    passphrase: Passphrase.optional().meta({
      description:
        'One that opens the image, not needed while it is unlocked; `inactive`: that of the slot, not needed where `slot` says which',
    }),
    newPassphrase: Passphrase.optional(),
    iterTimeMs: z.int().min(1).max(iterTimeMsMax).optional().meta({ description: '2000 when left out' }),
  })
  .refine((body) => (body.newPassphrase !== undefined) === (body.state === 'active'), {
    path: ['newPassphrase'],
    error: 'a key slot becomes active with `newPassphrase`, and inactive without',
  })
  .meta({ id: 'KeySlotChange', description: 'Of an image that is encrypted with LUKS' });

/** A change of key slots, with qemu-img's defaults. */
export function toSlotChange(asked: z.output<typeof KeySlotChange>): SlotChange {
  const { state, slot, passphrase, newPassphrase, iterTimeMs } = asked;
  return {
    state,
    slot,
    passphrase: passphrase === undefined ? undefined : Buffer.from(passphrase),
    newPassphrase: newPassphrase === undefined ? undefined : Buffer.from(newPassphrase),
    iterTimeMs: iterTimeMs ?? iterTimeMsDefault,
  };
}

const aesMembers = ['format', 'passphrase'];
const iterTimeMsDefault = 2000;

/** What a body says of the encryption of a new image; undefined for a plain one. */
export function newEncryptionOf(body: Encrypting): CreateOptions['encryption'] {
  const { encryption } = body;
  return encryption && toEncryption(encryption, Buffer.from(encryption.passphrase));
}

/** No trace of a passphrase is kept: a repeated request may bring another one, and gets the first answer. */
export function withoutPassphrase(body: Encrypting): object {
  if (body.encryption === undefined) return body;
  const { passphrase: _passphrase, ...encryption } = body.encryption;
  return { ...body, encryption };
}

interface Encrypting {
  readonly encryption?: z.output<typeof NewEncryption> | undefined;
}

/** The encryption of a new image, with qemu-img's defaults. */
export function toEncryption(
  asked: Omit<z.output<typeof NewEncryption>, 'passphrase'>,
  passphrase: Uint8Array,
): NonNullable<CreateOptions['encryption']> {
  if (asked.format === 'aes') return { format: 'aes', passphrase };
  const ivgenAlg = asked.ivgenAlg ?? 'plain64';
  const wish = {
    cipher: { algorithm: asked.cipherAlg ?? 'aes-256', mode: asked.cipherMode ?? 'xts' },
    ivgenAlg,
    ivgenHashAlg: asked.ivgenHashAlg ?? (ivgenAlg === 'essiv' ? 'sha256' : undefined),
    hashAlg: asked.hashAlg ?? 'sha256',
  } as const;
  return { format: 'luks', wish, iterTimeMs: asked.iterTimeMs ?? iterTimeMsDefault, passphrase };
}

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
