// The keys of encrypted images: in memory alone, until they are forgotten. Nothing of them is ever stored, logged or told.

import { createHmac } from 'node:crypto';

import type { VolumeKeys } from '../pool/protocol.ts';
import type { ServiceParts } from './service-parts.ts';

/** How many passphrases of requests are known to be right, the longest unused forgotten first. */
const provenMax = 64;
const saltLength = 32;

interface Proven {
  readonly imageId: string;
  readonly key: Uint8Array;
}

/**
 * An image is unlocked for everybody while its key is here. A passphrase that came with a request opens nothing for
 * others; its key is kept so that the next request does not compute for seconds again.
 */
export class ImageKeys {
  readonly #unlocked = new Map<string, Uint8Array>();
  /** By what {@link ImageKeys.#markOf} makes of image and passphrase. */
  readonly #proven = new Map<string, Proven>();
  readonly #salt: Uint8Array;
  readonly #pathOf: (imageId: string) => string;

  constructor(parts: Pick<ServiceParts, 'entropy' | 'directory'>) {
    this.#salt = parts.entropy(saltLength);
    this.#pathOf = (imageId) => parts.directory.imagePath(imageId);
  }

  /** Of the file that a key opens. */
  pathOf(imageId: string): string {
    return this.#pathOf(imageId);
  }

  /** Copies of the keys of those images that are unlocked. */
  ofImages(imageIds: readonly string[]): VolumeKeys {
    const found = new Map<string, Uint8Array>();
    for (const id of imageIds) {
      const key = this.#unlocked.get(id);
      if (key !== undefined) found.set(this.#pathOf(id), Uint8Array.from(key));
    }
    return found;
  }

  /** The key is kept from now on. */
  unlock(imageId: string, key: Uint8Array): void {
    this.#unlocked.get(imageId)?.fill(0);
    this.#unlocked.set(imageId, key);
  }

  /** A copy of the key that this passphrase is known to open. */
  known(imageId: string, passphrase: Uint8Array): Uint8Array | undefined {
    const mark = this.#markOf(imageId, passphrase);
    const proven = this.#proven.get(mark);
    if (proven === undefined) return undefined;
    this.#proven.delete(mark);
    this.#proven.set(mark, proven);
    return Uint8Array.from(proven.key);
  }

  /** Keeps a copy. */
  remember(imageId: string, passphrase: Uint8Array, key: Uint8Array): void {
    const [oldest] = this.#proven;
    if (oldest !== undefined && this.#proven.size >= provenMax) this.#drop(...oldest);
    this.#proven.set(this.#markOf(imageId, passphrase), { imageId, key: Uint8Array.from(key) });
  }

  /** The image is locked, and every passphrase of it is to be proven again. */
  forget(imageId: string): void {
    this.#unlocked.get(imageId)?.fill(0);
    this.#unlocked.delete(imageId);
    this.forgetProven(imageId);
  }

  /** The passphrases of the image may have changed. */
  forgetProven(imageId: string): void {
    for (const [mark, proven] of this.#proven) {
      if (proven.imageId === imageId) this.#drop(mark, proven);
    }
  }

  forgetAll(): void {
    for (const imageId of [...this.#unlocked.keys()]) this.forget(imageId);
    for (const entry of this.#proven) this.#drop(...entry);
  }

  #drop(mark: string, proven: Proven): void {
    proven.key.fill(0);
    this.#proven.delete(mark);
  }

  /** Good for this process only: from it nobody learns the passphrase. */
  #markOf(imageId: string, passphrase: Uint8Array): string {
    return `${imageId} ${createHmac('sha256', this.#salt).update(imageId).update(passphrase).digest('base64')}`;
  }
}
