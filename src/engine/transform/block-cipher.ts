// AES on independent blocks, many a call: what the sector modes are made of. A call costs far more than a block.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Cipheriv, Decipheriv } from 'node:crypto';

import { assert } from '../../base/assert.ts';

/** Bytes of an AES block. */
export const blockLength = 16;

/** One AES key (16, 24 or 32 bytes). */
export class BlockCipher {
  readonly #encrypting: Cipheriv;
  readonly #decrypting: Decipheriv;

  constructor(key: Uint8Array) {
    const name = `aes-${String(key.length * 8)}-ecb`;
    // Blocks do not depend on each other, so one object serves all calls and is never finished.
    this.#encrypting = createCipheriv(name, key, null).setAutoPadding(false);
    this.#decrypting = createDecipheriv(name, key, null).setAutoPadding(false);
  }

  /** New bytes, every block encrypted on its own. */
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

/** The bytes as 32-bit words, or a copy of them where they do not start on a word. Order within a word does not matter to XOR. */
export function wordsOf(bytes: Uint8Array): Int32Array {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Int32Array(buffer, byteOffset, length / 4);
}

export function bytesOfWords(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
