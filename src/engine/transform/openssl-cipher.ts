// Block ciphers that Node's OpenSSL has: AES with the processor's own instructions, and SM4.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Cipheriv, Decipheriv } from 'node:crypto';

import { assert } from '../../base/assert.ts';
import type { BlockCipher } from './block-cipher.ts';

/** One key of `aes-128`, `aes-192`, `aes-256` or `sm4`. */
export class OpensslCipher implements BlockCipher {
  readonly blockLength = 16;
  readonly #encrypting: Cipheriv;
  readonly #decrypting: Decipheriv;

  constructor(name: string, key: Uint8Array) {
    // Blocks do not depend on each other, so one object serves all calls and is never finished.
    this.#encrypting = createCipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
    this.#decrypting = createDecipheriv(`${name}-ecb`, key, null).setAutoPadding(false);
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
