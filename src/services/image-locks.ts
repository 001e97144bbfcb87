// Unlocking encrypted images for everybody, and locking them again.

import type { ImageAccess } from './image-access.ts';
import type { ImageKeys } from './image-keys.ts';

/** Faults everywhere: `image-not-found`, and of unlocking those of opening the image. */
export class ImageLocks {
  readonly #access: ImageAccess;
  readonly #keys: ImageKeys;

  constructor(parts: { readonly access: ImageAccess; readonly keys: ImageKeys }) {
    this.#access = parts.access;
    this.#keys = parts.keys;
  }

  /**
   * Until {@link lock}, detach or the end of the process the guest data is there for everybody, also through images
   * above. The passphrase is wiped. Faults `wrong-passphrase`, `unsupported-option` for an image that is not encrypted.
   */
  async unlock(image: string, passphrase: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    try {
      using visit = await this.#access.enter(image, { changes: false, signal, passphrase });
      this.#keys.unlock(visit.imageId, visit.takeKey());
      await this.#access.useKeys(visit.imageId);
    } finally {
      passphrase.fill(0);
    }
  }

  /** Forgets the key. Locked already is no harm. */
  async lock(image: string): Promise<void> {
    const { id } = await this.#access.find(image);
    this.#keys.forget(id);
    await this.#access.useKeys(id);
  }
}
