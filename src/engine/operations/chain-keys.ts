// Which images of a chain are encrypted, and which of those have their key: one record an open image.

import { Fault } from '../../base/fault.ts';
import type { ImageParts } from '../image-parts.ts';
import { useVolumeKey } from './unlock.ts';

/** By how far below the open image a layer lies; 1 is the one next to it. The image's own key is its session's. */
export class ChainKeys {
  readonly #layers = new Map<number, ImageParts>();

  /** A layer was opened; one that is not encrypted needs no key. */
  join(depth: number, parts: ImageParts): void {
    if (parts.encryption !== undefined) this.#layers.set(depth, parts);
  }

  /** Gives the layers their keys, `keys[0]` to the next one below; a layer without one is locked. */
  use(keys: readonly (Uint8Array | undefined)[]): void {
    for (const [depth, parts] of this.#layers) {
      const key = keys[depth - 1];
      if (key === undefined) parts.encryption?.lock();
      else useVolumeKey(parts, key);
    }
  }

  /** Whether any of the layers is encrypted. */
  get hasEncrypted(): boolean {
    return this.#layers.size > 0;
  }

  lock(): void {
    this.use([]);
  }

  /** Whether a layer is locked. */
  get areMissing(): boolean {
    return this.#layers.values().some(({ encryption }) => encryption?.isUnlocked === false);
  }

  /** Fault `passphrase-required` {layersBelow} when a layer is locked: reading through it would fail half-way. */
  admit(): void {
    for (const [depth, { encryption }] of this.#layers) {
      if (encryption?.isUnlocked === false) throw new Fault('passphrase-required', { layersBelow: depth });
    }
  }
}
