// CTR mode: the vector of a sector counts up block by block, and its cipher text is laid over the bytes. Who sees a sector
// before and after it was written sees what changed.

import { sectorSize } from '../../base/units.ts';
import type { BlockCipher } from './block-cipher.ts';
import { sectorsIn } from './sector-cipher.ts';
import type { SectorCipher, SectorTweak } from './sector-cipher.ts';

export class CtrCipher implements SectorCipher {
  readonly #cipher: BlockCipher;
  readonly #vectors: SectorTweak;

  constructor(cipher: BlockCipher, vectors: SectorTweak) {
    this.#cipher = cipher;
    this.#vectors = vectors;
  }

  encrypt(sectors: Uint8Array, firstSector: number): void {
    const stream = this.#cipher.encrypt(this.#counters(firstSector, sectorsIn(sectors)));
    for (let at = 0; at < sectors.length; at += 1) sectors[at] = (sectors[at] ?? 0) ^ (stream[at] ?? 0);
  }

  decrypt(sectors: Uint8Array, firstSector: number): void {
    this.encrypt(sectors, firstSector);
  }

  #counters(firstSector: number, count: number): Uint8Array {
    const { blockLength } = this.#cipher;
    const vectors = this.#vectors(firstSector, count);
    const counters = new Uint8Array(count * sectorSize);
    for (let sector = 0; sector < count; sector += 1) {
      const counter = vectors.slice(sector * blockLength, (sector + 1) * blockLength);
      for (let at = 0; at < sectorSize; at += blockLength) {
        counters.set(counter, sector * sectorSize + at);
        countUp(counter);
      }
    }
    return counters;
  }
}

/** The block as one big-endian number, and one more. */
function countUp(counter: Uint8Array): void {
  for (let at = counter.length - 1; at >= 0; at -= 1) {
    const next = ((counter[at] ?? 0) + 1) & 0xff;
    counter[at] = next;
    if (next !== 0) return;
  }
}
