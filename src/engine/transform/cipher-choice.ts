// Which cipher a name means: those of LUKS as QEMU has it, and the old scheme (ENC-01, ENC-03, ENC-04).

import { createHash } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { highHalf, lowHalf } from '../../base/integers.ts';
import { viewOf } from '../format/big-endian.ts';
import { digestLengthOf, isKnownHash } from './anti-forensic.ts';
import type { BlockCipher } from './block-cipher.ts';
import { Cast5Cipher } from './cast5-cipher.ts';
import { CbcCipher } from './cbc-cipher.ts';
import { CtrCipher } from './ctr-cipher.ts';
import { EcbCipher } from './ecb-cipher.ts';
import { OpensslCipher } from './openssl-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';
import { SerpentCipher } from './serpent-cipher.ts';
import { TwofishCipher } from './twofish-cipher.ts';
import { xtsBlockLength, XtsCipher } from './xts-cipher.ts';

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

/** A block cipher by its name in a LUKS header: lengths in bytes. */
interface BlockCipherKind {
  readonly keyLengths: readonly number[];
  readonly blockLength: number;
  readonly underKey: (key: Uint8Array) => BlockCipher;
}

const blockCipherKinds: ReadonlyMap<string, BlockCipherKind> = new Map([
  ['aes', { keyLengths: [16, 24, 32], blockLength: 16, underKey: aes }],
  ['serpent', { keyLengths: [16, 24, 32], blockLength: 16, underKey: (key) => new SerpentCipher(key) }],
  ['twofish', { keyLengths: [16, 24, 32], blockLength: 16, underKey: (key) => new TwofishCipher(key) }],
  ['cast5', { keyLengths: [16], blockLength: 8, underKey: (key) => new Cast5Cipher(key) }],
  ['sm4', { keyLengths: [16], blockLength: 16, underKey: (key) => new OpensslCipher('sm4', key) }],
]);

function aes(key: Uint8Array): BlockCipher {
  return new OpensslCipher(`aes-${key.length * 8}`, key);
}

/** Fault `encryption-unsupported` {cipher, keyLength} for what neither this engine nor QEMU does. */
export function chooseCipher(name: CipherName, key: Uint8Array): SectorCipher {
  const { mode, generator, generatorHash } = parseCipherMode(name.cipherMode);
  const kind = blockCipherKinds.get(name.cipherName);
  const halves = mode === 'xts' ? 2 : 1;
  if (kind?.keyLengths.includes(key.length / halves) !== true) throw unsupported(name, key.length);
  const tweak = tweakOf({ generator, generatorHash, key, kind });
  if (tweak === undefined || !isModeFor(name.cipherName, mode)) throw unsupported(name, key.length);
  switch (mode) {
    case 'xts': {
      const half = key.length / 2;
      return new XtsCipher(
        { data: kind.underKey(key.subarray(0, half)), tweak: kind.underKey(key.subarray(half)) },
        tweak,
      );
    }
    case 'cbc':
      return new CbcCipher(kind.underKey(key), tweak);
    case 'ctr':
      return new CtrCipher(kind.underKey(key), tweak);
    case 'ecb':
      return new EcbCipher(kind.underKey(key));
    default:
      throw unsupported(name, key.length);
  }
}

/** Whether the mode can work on blocks of this cipher's length. */
export function isModeFor(cipherName: string, mode: string): boolean {
  return mode !== 'xts' || blockCipherKinds.get(cipherName)?.blockLength === xtsBlockLength;
}

/** Whether a digest of this hash is as long as a key of the cipher, as ESSIV wants it. */
export function isEssivHashFor(cipherName: string, hash: string): boolean {
  const lengths = blockCipherKinds.get(cipherName)?.keyLengths ?? [];
  return isKnownHash(hash) && lengths.includes(digestLengthOf(hash));
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

interface TweakUse {
  readonly generator: string;
  readonly generatorHash: string | undefined;
  readonly key: Uint8Array;
  readonly kind: BlockCipherKind;
}

/** Of other generators than ESSIV a hash may be named, and means nothing. */
function tweakOf(use: TweakUse): SectorTweak | undefined {
  const { blockLength } = use.kind;
  switch (use.generator) {
    case 'plain64':
      return (firstSector, count) => plain64(firstSector, count, blockLength);
    case 'plain':
      return (firstSector, count) => plain32(firstSector, count, blockLength);
    case 'essiv':
      return essiv(use);
    default:
      return undefined;
  }
}

/** The sector number as a 64-bit little-endian number, then zeroes. */
function plain64(firstSector: number, count: number, blockLength: number): Uint8Array {
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
function plain32(firstSector: number, count: number, blockLength: number): Uint8Array {
  const blocks = plain64(firstSector, count, blockLength);
  for (let at = 0; at < blocks.length; at += blockLength) blocks.fill(0, at + 4, at + 8);
  return blocks;
}

/** The sector number encrypted under the hash of the key, by the same cipher. */
function essiv({ key, generatorHash, kind }: TweakUse): SectorTweak | undefined {
  if (generatorHash === undefined || !isKnownHash(generatorHash)) return undefined;
  if (!kind.keyLengths.includes(digestLengthOf(generatorHash))) return undefined;
  const hashed = createHash(generatorHash).update(key).digest();
  const cipher = kind.underKey(hashed);
  hashed.fill(0);
  return (firstSector, count) => cipher.encrypt(plain64(firstSector, count, kind.blockLength));
}

function unsupported(name: CipherName, keyLength: number): Fault {
  return new Fault('encryption-unsupported', { cipher: `${name.cipherName}-${name.cipherMode}`, keyLength });
}
