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
/** The reduction of GF(2^128): x^7 + x^2 + x + 1. */
const polynomial = 0x87;

export class XtsCipher implements SectorCipher {
  readonly #data: BlockCipher;
  readonly #tweak: BlockCipher;
  readonly #numbers: SectorTweak;

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

  #apply(sectors: Uint8Array, firstSector: number, work: (blocks: Uint8Array) => Uint8Array): void {
    const count = sectorsIn(sectors);
    if (count === 0) return;
    const tweaks = expand(wordsOf(this.#tweak.encrypt(this.#numbers(firstSector, count))));
    const masked = mixed(wordsOf(sectors), tweaks);
    const worked = wordsOf(work(bytesOfWords(masked)));
    sectors.set(bytesOfWords(mixed(worked, tweaks)));
  }
}

function mixed(words: Int32Array, mask: Int32Array): Int32Array<ArrayBuffer> {
  const result = new Int32Array(words.length);
  for (let index = 0; index < words.length; index += 1) result[index] = (words[index] ?? 0) ^ (mask[index] ?? 0);
  return result;
}

/** From one tweak a sector to one a block. Tweaks are little-endian numbers, as are the words of every machine we run on. */
function expand(first: Int32Array): Int32Array {
  const count = first.length / wordsPerBlock;
  const tweaks = new Int32Array(count * blocksPerSector * wordsPerBlock);
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
  return tweaks;
}
