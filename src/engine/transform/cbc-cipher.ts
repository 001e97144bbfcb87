// CBC mode, each sector a chain of its own.
//
//   encrypting   block n of all sectors goes through AES in one call, since each waits for the one before it
//   decrypting   one chain over all sectors, whose first block in each sector is then corrected

import { createDecipheriv } from 'node:crypto';
import type { Decipheriv } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import { sectorSize } from '../../base/units.ts';
import { blockLength, BlockCipher, bytesOfWords, wordsOf } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

const wordsPerBlock = blockLength / 4;
const wordsPerSector = sectorSize / 4;
/** So many sectors, and a block of each, stay in the processor's cache. */
const sectorsPerPiece = 256;

export class CbcCipher implements SectorCipher {
  readonly #cipher: BlockCipher;
  readonly #vectors: SectorTweak;
  readonly #column = new Int32Array(sectorsPerPiece * wordsPerBlock);
  /** Never finished: it takes the last block of one call for the one before the first block of the next. */
  readonly #chain: Decipheriv;
  readonly #chainedLast = new Uint8Array(blockLength);

  constructor(key: Uint8Array, vectors: SectorTweak) {
    this.#cipher = new BlockCipher(key);
    this.#chain = createDecipheriv(`aes-${String(key.length * 8)}-cbc`, key, this.#chainedLast).setAutoPadding(false);
    this.#vectors = vectors;
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    const count = sectorsIn(sectors);
    for (let done = 0; done < count; done += sectorsPerPiece) {
      const pieceCount = Math.min(sectorsPerPiece, count - done);
      const piece = sectors.subarray(done * sectorSize, (done + pieceCount) * sectorSize);
      const words = wordsOf(piece);
      this.#encryptWords(words, wordsOf(this.#vectors(firstSector + done, pieceCount)));
      if (words.buffer !== piece.buffer) piece.set(bytesOfWords(words));
    }
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    if (sectors.length === 0) return;
    const vectors = this.#vectors(firstSector, sectorsIn(sectors));
    const clear = this.#chain.update(sectors);
    assert(clear.length === sectors.length, 'whole blocks come out at once');
    for (let at = 0; at < blockLength; at += 1) {
      let chained = this.#chainedLast[at] ?? 0;
      for (let sector = 0; sector < clear.length; sector += sectorSize) {
        const vector = vectors[(sector / sectorSize) * blockLength + at] ?? 0;
        clear[sector + at] = (clear[sector + at] ?? 0) ^ chained ^ vector;
        chained = sectors[sector + sectorSize - blockLength + at] ?? 0;
      }
    }
    this.#chainedLast.set(sectors.subarray(-blockLength));
    sectors.set(clear);
  }

  /** `vectors`: what the first block of each sector is mixed with. */
  #encryptWords(words: Int32Array, vectors: Int32Array): void {
    const column = this.#column.subarray(0, vectors.length);
    let chained = vectors;
    for (let inSector = 0; inSector < wordsPerSector; inSector += wordsPerBlock) {
      mixColumn(words, inSector, { chained, column });
      chained = wordsOf(this.#cipher.encrypt(bytesOfWords(column)));
      putColumn(words, inSector, chained);
    }
  }
}

/** Fills `column` with the blocks that start at word `inSector` of each sector, mixed with what comes before them. */
function mixColumn(
  words: Int32Array,
  inSector: number,
  { chained, column }: { readonly chained: Int32Array; readonly column: Int32Array },
): void {
  const { length } = column;
  for (let to = 0, from = inSector; to < length; to += wordsPerBlock, from += wordsPerSector) {
    column[to] = (words[from] ?? 0) ^ (chained[to] ?? 0);
    column[to + 1] = (words[from + 1] ?? 0) ^ (chained[to + 1] ?? 0);
    column[to + 2] = (words[from + 2] ?? 0) ^ (chained[to + 2] ?? 0);
    column[to + 3] = (words[from + 3] ?? 0) ^ (chained[to + 3] ?? 0);
  }
}

function putColumn(words: Int32Array, inSector: number, column: Int32Array): void {
  const { length } = column;
  for (let from = 0, to = inSector; from < length; from += wordsPerBlock, to += wordsPerSector) {
    words[to] = column[from] ?? 0;
    words[to + 1] = column[from + 1] ?? 0;
    words[to + 2] = column[from + 2] ?? 0;
    words[to + 3] = column[from + 3] ?? 0;
  }
}
