// A block cipher under one key: what the sector modes are made of.

/** A key schedule, made once. A call may cost far more than a block, so the modes give it many blocks at a time. */
export interface BlockCipher {
  /** Bytes of a block: a multiple of 4. */
  readonly blockLength: number;
  /** New bytes, every block encrypted on its own. Whole blocks only. */
  encrypt(blocks: Uint8Array): Uint8Array;
  decrypt(blocks: Uint8Array): Uint8Array;
}

/** The bytes as 32-bit words, or a copy of them where they do not start on a word. Order within a word does not matter to XOR. */
export function wordsOf(bytes: Uint8Array): Int32Array {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Int32Array(buffer, byteOffset, length / 4);
}

export function bytesOfWords(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
