// XTS mode by hand (IEEE 1619): the tweaks of many sectors in one call of the cipher, their data in a second.
//
//   tweak of block 0 = cipher(second key, sector number), of block n + 1 = that of block n times x in GF(2^128)
//   cipher block     = cipher(first key, plain block ^ tweak) ^ tweak

import { assert } from '../../base/assert.ts';
import { sectorSize } from '../../base/units.ts';
import { bytesOfWords, wordsOf } from './block-cipher.ts';
import type { BlockCipher } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

/** The mode is defined for blocks of this length only. */
export const xtsBlockLength = 16;
const wordsPerBlock = xtsBlockLength / 4;
const blocksPerSector = sectorSize / xtsBlockLength;
const wordsPerSector = blocksPerSector * wordsPerBlock;
const sectorsPerPiece = 64;
/** The reduction of GF(2^128): x^7 + x^2 + x + 1. */
const polynomial = 0x87;

export class XtsCipher implements SectorCipher {
  readonly #data: BlockCipher;
  readonly #tweak: BlockCipher;
  readonly #numbers: SectorTweak;
  readonly #masked = new Int32Array(sectorsPerPiece * wordsPerSector);

  /** `ciphers`: under the key of the data, and under the one of the tweaks. */
  constructor(ciphers: { readonly data: BlockCipher; readonly tweak: BlockCipher }, numbers: SectorTweak) {
    assert(ciphers.data.blockLength === xtsBlockLength, 'XTS is for blocks of 16 bytes');
    this.#data = ciphers.data;
    this.#tweak = ciphers.tweak;
    this.#numbers = numbers;
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (blocks) => this.#data.encrypt(blocks));
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (blocks) => this.#data.decrypt(blocks));
  }

  /** Piece by piece, so that masked and worked words stay in the processor's cache. */
  #apply(sectors: Uint8Array, firstSector: number, work: (blocks: Uint8Array) => Uint8Array): void {
    const count = sectorsIn(sectors);
    for (let done = 0; done < count; done += sectorsPerPiece) {
      const pieceCount = Math.min(sectorsPerPiece, count - done);
      const piece = sectors.subarray(done * sectorSize, (done + pieceCount) * sectorSize);
      const words = pieceCount * wordsPerSector;
      const tweaks = wordsOf(this.#tweak.encrypt(this.#numbers(firstSector + done, pieceCount)));
      const target = piece.byteOffset % 4 === 0 ? new Int32Array(piece.buffer, piece.byteOffset, words) : undefined;
      const masked = this.#masked.subarray(0, words);
      mask(target ?? wordsOf(piece), tweaks, masked);
      const worked = wordsOf(work(bytesOfWords(masked)));
      mask(worked, tweaks, target ?? masked);
      if (target === undefined) piece.set(bytesOfWords(masked));
    }
  }
}

/**
 * Mixes each block with its tweak, from the one tweak of each sector on. To go through them anew costs less than to keep
 * them. Tweaks are little-endian numbers, as are the words of every machine we run on. `target` may be `words`.
 */
function mask(words: Int32Array, tweaks: Int32Array, target: Int32Array): void {
  const { length } = tweaks;
  let at = 0;
  for (let sector = 0; sector < length; sector += wordsPerBlock) {
    let a = tweaks[sector] ?? 0;
    let b = tweaks[sector + 1] ?? 0;
    let c = tweaks[sector + 2] ?? 0;
    let d = tweaks[sector + 3] ?? 0;
    for (let block = 0; block < blocksPerSector; block += 1) {
      target[at] = (words[at] ?? 0) ^ a;
      target[at + 1] = (words[at + 1] ?? 0) ^ b;
      target[at + 2] = (words[at + 2] ?? 0) ^ c;
      target[at + 3] = (words[at + 3] ?? 0) ^ d;
      at += wordsPerBlock;
      const carry = (d >> 31) & polynomial;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
}
