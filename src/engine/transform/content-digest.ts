// The SHA-256 of bytes that come in pieces.

import { createHash } from 'node:crypto';

export class ContentDigest {
  readonly #hash = createHash('sha256');

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** In lower-case hexadecimal digits; nothing is added afterwards. */
  end(): string {
    return this.#hash.digest('hex');
  }
}
