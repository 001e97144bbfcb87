// Encrypted images for tests that know no QEMU: made with ours, which test/interop/new-luks.test.ts holds against it.

import { randomBytes } from 'node:crypto';

import { chanceLength, Image, makeLuks } from '../../src/engine/image.ts';
import type { CreateSpec, LuksWish, NewLuks } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { plainSpec } from './plain-spec.ts';

export const passphrase = 'correct horse';

/** What a request says of it. */
export const passphraseHeader = { 'Image-Passphrase': `:${Buffer.from(passphrase).toString('base64')}:` };

export const usualLuks: LuksWish = {
  cipher: { algorithm: 'aes-256', mode: 'xts' },
  ivgenAlg: 'plain64',
  ivgenHashAlg: undefined,
  hashAlg: 'sha256',
};

/** An area with so few rounds that nobody waits for them. */
export function quickLuks(wish: LuksWish): NewLuks {
  return deriveHere(
    makeLuks(wish, {
      passphrase: Buffer.from(passphrase),
      cost: { slotIterations: 1000, digestIterations: 1000 },
      chance: randomBytes(chanceLength),
    }),
  );
}

/** Makes an encrypted image; returns its volume key. */
export function makeLuksImage(path: string, change: Partial<CreateSpec>): Uint8Array {
  const luks = quickLuks(usualLuks);
  runToEnd(Image.create(path, { ...plainSpec, encryption: { format: 'luks', ...luks }, ...change }));
  return luks.volumeKey;
}
