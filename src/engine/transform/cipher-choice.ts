// Which cipher a name means: the AES ones of LUKS and the old scheme (ENC-01, ENC-03, ENC-04).

import { createHash } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { highHalf, lowHalf } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import { blockLength, BlockCipher } from './block-cipher.ts';
import { CbcCipher } from './cbc-cipher.ts';
import { CtrCipher } from './ctr-cipher.ts';
import { EcbCipher } from './ecb-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';
import { XtsCipher } from './xts-cipher.ts';

/** Names as in a LUKS header. */
export interface CipherName {
  readonly cipherName: string;
  readonly cipherMode: string;
}

/** The old scheme: AES-128 in CBC mode; the key is the passphrase, cut or filled with zeroes (ENC-01, T74). */
export const oldAes: CipherName & { readonly keyLength: number } = {
  cipherName: 'aes',
  cipherMode: 'cbc-plain64',
  keyLength: 16,
};

/** Fault `encryption-unsupported` {cipher, keyLength} for what this engine does not do. */
export function chooseCipher(name: CipherName, key: Uint8Array): SectorCipher {
  const { mode, generator, generatorHash } = parseCipherMode(name.cipherMode);
  const halves = mode === 'xts' ? 2 : 1;
  const isKnownLength = [16, 24, 32].some((length) => key.length === length * halves);
  if (name.cipherName !== 'aes' || !isKnownLength) throw unsupported(name, key.length);
  const tweak = tweakOf({ generator, generatorHash, key });
  if (tweak === undefined) throw unsupported(name, key.length);
  switch (mode) {
    case 'xts':
      return new XtsCipher(key, tweak);
    case 'cbc':
      return new CbcCipher(key, tweak);
    case 'ctr':
      return new CtrCipher(new BlockCipher(key), tweak);
    case 'ecb':
      return new EcbCipher(new BlockCipher(key));
    default:
      throw unsupported(name, key.length);
  }
}

/** `xts-plain64`, `cbc-essiv:sha256`: mode, IV generator, and the hash of that. */
export function parseCipherMode(cipherMode: string): {
  readonly mode: string;
  readonly generator: string;
  readonly generatorHash: string | undefined;
} {
  const dash = cipherMode.indexOf('-');
  const mode = dash < 0 ? cipherMode : cipherMode.slice(0, dash);
  const rest = dash < 0 ? '' : cipherMode.slice(dash + 1);
  const colon = rest.indexOf(':');
  if (colon < 0) return { mode, generator: rest, generatorHash: undefined };
  return { mode, generator: rest.slice(0, colon), generatorHash: rest.slice(colon + 1) };
}

function tweakOf(use: {
  readonly generator: string;
  readonly generatorHash: string | undefined;
  readonly key: Uint8Array;
}): SectorTweak | undefined {
  switch (use.generator) {
    case 'plain64':
      return plain64;
    case 'plain':
      return plain32;
    case 'essiv':
      return essiv(use.key, use.generatorHash);
    default:
      return undefined;
  }
}

/** The sector number as a 64-bit little-endian number, then zeroes. */
function plain64(firstSector: number, count: number): Uint8Array {
  assert(Number.isSafeInteger(firstSector + count), 'sector numbers are safe numbers');
  const blocks = new Uint8Array(count * blockLength);
  const view = viewOf(blocks);
  for (let step = 0; step < count; step += 1) {
    const sector = firstSector + step;
    view.setUint32(step * blockLength, lowHalf(sector), true);
    view.setUint32(step * blockLength + 4, highHalf(sector), true);
  }
  return blocks;
}

/** The lower 32 bits of the sector number only: it repeats after 2 TiB. */
function plain32(firstSector: number, count: number): Uint8Array {
  const blocks = plain64(firstSector, count);
  for (let at = 0; at < blocks.length; at += blockLength) blocks.fill(0, at + 4, at + 8);
  return blocks;
}

/** The sector number encrypted under the hash of the key; only hashes as long as an AES key are possible. */
function essiv(key: Uint8Array, hash: string | undefined): SectorTweak | undefined {
  if (hash !== 'sha256') return undefined;
  const hashed = createHash(hash).update(key).digest();
  const cipher = new BlockCipher(hashed);
  hashed.fill(0);
  return (firstSector, count) => cipher.encrypt(plain64(firstSector, count));
}

function unsupported(name: CipherName, keyLength: number): Fault {
  return new Fault('encryption-unsupported', { cipher: `${name.cipherName}-${name.cipherMode}`, keyLength });
}
