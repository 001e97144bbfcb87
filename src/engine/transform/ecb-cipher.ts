// ECB mode: every block by itself, so that equal blocks look equal.

import type { BlockCipher } from './block-cipher.ts';
import type { SectorCipher } from './sector-cipher.ts';

export class EcbCipher implements SectorCipher {
  readonly #cipher: BlockCipher;

  constructor(cipher: BlockCipher) {
    this.#cipher = cipher;
  }

  encrypt(sectors: Uint8Array): void {
    sectors.set(this.#cipher.encrypt(sectors));
  }

  decrypt(sectors: Uint8Array): void {
    sectors.set(this.#cipher.decrypt(sectors));
  }
}
