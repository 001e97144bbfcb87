// Which images of a chain are encrypted, and which of those have their key: one record of an open chain.

import { Fault } from '../../base/fault.ts';
import type { ImageParts } from '../image-parts.ts';

/** Volume keys, each by the path of the file that it opens. */
export type VolumeKeys = ReadonlyMap<string, Uint8Array>;

/** An encrypted file of a chain. */
export interface EncryptedLayer {
  readonly parts: ImageParts;
  unlock(volumeKey: Uint8Array): void;
  lock(): void;
}

/** Where a layer lies: how far below the open image (1 is the one next to it), and in which file. */
export interface LayerPlace {
  readonly depth: number;
  readonly path: string;
}

/** The keys of the layers below an open image; the image's own key is its session's. */
export class ChainKeys {
  readonly #layers: (LayerPlace & { readonly layer: EncryptedLayer })[] = [];

  /** An encrypted layer was opened. */
  join(place: LayerPlace, layer: EncryptedLayer): void {
    this.#layers.push({ ...place, layer });
  }

  /** Gives the layers their keys; a layer without one is locked. */
  use(keys: VolumeKeys): void {
    for (const { path, layer } of this.#layers) {
      const key = keys.get(path);
      if (key === undefined) layer.lock();
      else layer.unlock(key);
    }
  }

  lock(): void {
    this.use(new Map());
  }

  /** What is known of an encrypted layer. Fault `unsupported-option` for any other file. */
  partsOf(path: string): ImageParts {
    const found = this.#layers.find((one) => one.path === path);
    if (found !== undefined) return found.layer.parts;
    throw new Fault('unsupported-option', { option: 'passphrase', reason: 'the image is not encrypted' });
  }

  /** Whether a layer is locked. */
  get areMissing(): boolean {
    return this.#layers.some(({ layer }) => layer.parts.encryption?.isUnlocked === false);
  }

  /** Fault `passphrase-required` {layersBelow} when a layer is locked: reading through it would fail half-way. */
  admit(): void {
    for (const { depth, layer } of this.#layers) {
      if (layer.parts.encryption?.isUnlocked === false) throw new Fault('passphrase-required', { layersBelow: depth });
    }
  }
}
