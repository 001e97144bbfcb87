// CBC mode, each sector a chain of its own.
//
//   encrypting   block n of all sectors goes through the cipher in one call, since each waits for the one before it
//   decrypting   all blocks go through the cipher in one call, and are then mixed with those before them

import { assert } from '../../base/assert.ts';
import { sectorSize } from '../../base/units.ts';
import { bytesOfWords, wordsOf } from './block-cipher.ts';
import type { BlockCipher } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

const wordsPerSector = sectorSize / 4;
/** So many sectors, and a block of each, stay in the processor's cache. */
const sectorsPerPiece = 256;

export class CbcCipher implements SectorCipher {
  readonly #cipher: BlockCipher;
  readonly #vectors: SectorTweak;
  readonly #wordsPerBlock: number;
  readonly #column: Int32Array;

  constructor(cipher: BlockCipher, vectors: SectorTweak) {
    assert(cipher.blockLength === 8 || cipher.blockLength === 16, 'blocks have two or four words');
    this.#cipher = cipher;
    this.#vectors = vectors;
    this.#wordsPerBlock = cipher.blockLength / 4;
    this.#column = new Int32Array(sectorsPerPiece * this.#wordsPerBlock);
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (words, vectors) => {
      this.#encryptWords(words, vectors);
    });
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    this.#apply(sectors, firstSector, (words, vectors) => {
      const clear = wordsOf(this.#cipher.decrypt(bytesOfWords(words)));
      unchain(words, { clear, vectors, wordsPerBlock: this.#wordsPerBlock });
    });
  }

  /** Piece by piece; `vectors` are what the first block of each sector is mixed with. */
  #apply(sectors: Uint8Array, firstSector: number, work: (words: Int32Array, vectors: Int32Array) => void): void {
    const count = sectorsIn(sectors);
    for (let done = 0; done < count; done += sectorsPerPiece) {
      const pieceCount = Math.min(sectorsPerPiece, count - done);
      const piece = sectors.subarray(done * sectorSize, (done + pieceCount) * sectorSize);
      const words = wordsOf(piece);
      work(words, wordsOf(this.#vectors(firstSector + done, pieceCount)));
      if (words.buffer !== piece.buffer) piece.set(bytesOfWords(words));
    }
  }

  #encryptWords(words: Int32Array, vectors: Int32Array): void {
    const wordsPerBlock = this.#wordsPerBlock;
    const column = this.#column.subarray(0, vectors.length);
    let chained = vectors;
    for (let inSector = 0; inSector < wordsPerSector; inSector += wordsPerBlock) {
      mixColumn(words, inSector, { chained, column, wordsPerBlock });
      chained = wordsOf(this.#cipher.encrypt(bytesOfWords(column)));
      putColumn(words, inSector, { column: chained, wordsPerBlock });
    }
  }
}

/**
 * Fills `column` with the blocks that start at word `inSector` of each sector, mixed with what comes before them. Blocks
 * have two words or four: written out, this takes half the time of a loop.
 */
function mixColumn(
  words: Int32Array,
  inSector: number,
  use: { readonly chained: Int32Array; readonly column: Int32Array; readonly wordsPerBlock: number },
): void {
  const { chained, column, wordsPerBlock } = use;
  const { length } = column;
  for (let to = 0, from = inSector; to < length; to += wordsPerBlock, from += wordsPerSector) {
    column[to] = (words[from] ?? 0) ^ (chained[to] ?? 0);
    column[to + 1] = (words[from + 1] ?? 0) ^ (chained[to + 1] ?? 0);
    if (wordsPerBlock === 2) continue;
    column[to + 2] = (words[from + 2] ?? 0) ^ (chained[to + 2] ?? 0);
    column[to + 3] = (words[from + 3] ?? 0) ^ (chained[to + 3] ?? 0);
  }
}

function putColumn(
  words: Int32Array,
  inSector: number,
  { column, wordsPerBlock }: { readonly column: Int32Array; readonly wordsPerBlock: number },
): void {
  const { length } = column;
  for (let from = 0, to = inSector; from < length; from += wordsPerBlock, to += wordsPerSector) {
    words[to] = column[from] ?? 0;
    words[to + 1] = column[from + 1] ?? 0;
    if (wordsPerBlock === 2) continue;
    words[to + 2] = column[from + 2] ?? 0;
    words[to + 3] = column[from + 3] ?? 0;
  }
}

/** Mixes each block with the encrypted one before it: from the end of a sector on, so that this one is still there. */
function unchain(
  words: Int32Array,
  use: { readonly clear: Int32Array; readonly vectors: Int32Array; readonly wordsPerBlock: number },
): void {
  const { clear, vectors, wordsPerBlock } = use;
  for (let start = 0, vector = 0; start < words.length; start += wordsPerSector, vector += wordsPerBlock) {
    for (let at = start + wordsPerSector - 1; at >= start + wordsPerBlock; at -= 1) {
      words[at] = (clear[at] ?? 0) ^ (words[at - wordsPerBlock] ?? 0);
    }
    for (let word = 0; word < wordsPerBlock; word += 1) {
      words[start + word] = (clear[start + word] ?? 0) ^ (vectors[vector + word] ?? 0);
    }
  }
}
