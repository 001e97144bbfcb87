// CBC mode by hand, each sector a chain of its own: block n of all sectors goes through AES in one call.

import { sectorSize } from '../../base/units.ts';
import { blockLength, BlockCipher } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

export class CbcCipher implements SectorCipher {
  readonly #cipher: BlockCipher;
  readonly #vectors: SectorTweak;

  constructor(key: Uint8Array, vectors: SectorTweak) {
    this.#cipher = new BlockCipher(key);
    this.#vectors = vectors;
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    const count = sectorsIn(sectors);
    let chained = this.#vectors(firstSector, count);
    const column = new Uint8Array(count * blockLength);
    for (let inSector = 0; inSector < sectorSize; inSector += blockLength) {
      for (let at = 0; at < column.length; at += 1) {
        column[at] = (sectors[placeOf(at, inSector)] ?? 0) ^ (chained[at] ?? 0);
      }
      chained = this.#cipher.encrypt(column);
      for (let at = 0; at < column.length; at += 1) sectors[placeOf(at, inSector)] = chained[at] ?? 0;
    }
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    const count = sectorsIn(sectors);
    const vectors = this.#vectors(firstSector, count);
    const worked = this.#cipher.decrypt(sectors);
    // Backwards, so that the block before is still as it was stored.
    for (let at = sectors.length - 1; at >= 0; at -= 1) {
      const inSector = at % sectorSize;
      const before =
        inSector < blockLength
          ? vectors[Math.floor(at / sectorSize) * blockLength + inSector]
          : sectors[at - blockLength];
      sectors[at] = (worked[at] ?? 0) ^ (before ?? 0);
    }
  }
}

/** Where byte `at` of the blocks that start at `inSector` of each sector lies. */
function placeOf(at: number, inSector: number): number {
  return Math.floor(at / blockLength) * sectorSize + inSector + (at % blockLength);
}
