// XTS mode by hand (IEEE 1619): the tweaks of many sectors in one AES call, their data in a second.
//
//   tweak of block 0 = AES(second key, sector number), of block n + 1 = that of block n times x in GF(2^128)
//   cipher block     = AES(first key, plain block ^ tweak) ^ tweak

import { sectorSize } from '../../base/units.ts';
import { blockLength, BlockCipher, bytesOfWords, wordsOf } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

const wordsPerBlock = blockLength / 4;
const blocksPerSector = sectorSize / blockLength;
const wordsPerSector = blocksPerSector * wordsPerBlock;
const sectorsPerPiece = 64;
/** The reduction of GF(2^128): x^7 + x^2 + x + 1. */
const polynomial = 0x87;

export class XtsCipher implements SectorCipher {
  readonly #data: BlockCipher;
  readonly #tweak: BlockCipher;
  readonly #numbers: SectorTweak;
  readonly #tweaks = new Int32Array(sectorsPerPiece * wordsPerSector);
  readonly #masked = new Int32Array(sectorsPerPiece * wordsPerSector);

  /** `key`: the key of the data, then the one of the tweaks, equally long. */
  constructor(key: Uint8Array, numbers: SectorTweak) {
    this.#data = new BlockCipher(key.subarray(0, key.length / 2));
    this.#tweak = new BlockCipher(key.subarray(key.length / 2));
    this.#numbers = numbers;
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (blocks) => this.#data.encrypt(blocks));
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (blocks) => this.#data.decrypt(blocks));
  }

  /** Piece by piece, so that tweaks, masked and worked words stay in the processor's cache. */
  #apply(sectors: Uint8Array, firstSector: number, work: (blocks: Uint8Array) => Uint8Array): void {
    const count = sectorsIn(sectors);
    for (let done = 0; done < count; done += sectorsPerPiece) {
      const pieceCount = Math.min(sectorsPerPiece, count - done);
      const piece = sectors.subarray(done * sectorSize, (done + pieceCount) * sectorSize);
      const words = pieceCount * wordsPerSector;
      expand(wordsOf(this.#tweak.encrypt(this.#numbers(firstSector + done, pieceCount))), this.#tweaks);
      const target = piece.byteOffset % 4 === 0 ? new Int32Array(piece.buffer, piece.byteOffset, words) : undefined;
      const masked = this.#masked.subarray(0, words);
      mix(target ?? wordsOf(piece), this.#tweaks, masked);
      const worked = wordsOf(work(bytesOfWords(masked)));
      mix(worked, this.#tweaks, target ?? masked);
      if (target === undefined) piece.set(bytesOfWords(masked));
    }
  }
}

/** `target` may be `words`; the mask may be longer. */
function mix(words: Int32Array, mask: Int32Array, target: Int32Array): void {
  const { length } = words;
  for (let index = 0; index < length; index += 1) target[index] = (words[index] ?? 0) ^ (mask[index] ?? 0);
}

/** From one tweak a sector to one a block. Tweaks are little-endian numbers, as are the words of every machine we run on. */
function expand(first: Int32Array, tweaks: Int32Array): void {
  const count = first.length / wordsPerBlock;
  let at = 0;
  for (let sector = 0; sector < count; sector += 1) {
    let a = first[sector * wordsPerBlock] ?? 0;
    let b = first[sector * wordsPerBlock + 1] ?? 0;
    let c = first[sector * wordsPerBlock + 2] ?? 0;
    let d = first[sector * wordsPerBlock + 3] ?? 0;
    for (let block = 0; block < blocksPerSector; block += 1) {
      tweaks[at] = a;
      tweaks[at + 1] = b;
      tweaks[at + 2] = c;
      tweaks[at + 3] = d;
      at += wordsPerBlock;
      const carry = (d >> 31) & polynomial;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
}
