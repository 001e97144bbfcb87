// AES, by Node's own: with the processor's instructions for it, and in constant time.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Cipheriv, Decipheriv } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import type { BlockCipher } from './block-cipher.ts';

/** One AES key (16, 24 or 32 bytes). */
export class AesCipher implements BlockCipher {
  readonly blockLength = 16;
  readonly #encrypting: Cipheriv;
  readonly #decrypting: Decipheriv;

  constructor(key: Uint8Array) {
    const name = `aes-${String(key.length * 8)}-ecb`;
    // Blocks do not depend on each other, so one object serves all calls and is never finished.
    this.#encrypting = createCipheriv(name, key, null).setAutoPadding(false);
    this.#decrypting = createDecipheriv(name, key, null).setAutoPadding(false);
  }

  encrypt(blocks: Uint8Array): Uint8Array {
    const done = this.#encrypting.update(blocks);
    assert(done.length === blocks.length, 'whole blocks come out at once');
    return done;
  }

  decrypt(blocks: Uint8Array): Uint8Array {
    const done = this.#decrypting.update(blocks);
    assert(done.length === blocks.length, 'whole blocks come out at once');
    return done;
  }
}
