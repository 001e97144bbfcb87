// An image seen as a layer: the one beneath another, or the top of a chain that is listed or exported.

import { assert, unreachable } from '../../base/assert.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { ReadParts } from '../image-parts.ts';
import { askBelow } from '../layer/below.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import { lookup } from '../mapping/lookup.ts';
import { read } from './reader.ts';

export interface ImageLayerOptions {
  /** Guest-visible bytes: the image's size, or a snapshot's own (T71). */
  readonly size: number;
  /** What closing the layer closes. */
  readonly close: () => void;
}

export class ImageLayer implements Layer {
  readonly #parts: ReadParts;
  readonly #close: () => void;
  readonly size: number;

  constructor(parts: ReadParts, options: ImageLayerOptions) {
    this.#parts = parts;
    this.size = options.size;
    this.#close = options.close;
  }

  read(offset: GuestOffset, target: Uint8Array): void {
    assert(offset + target.length <= this.size, 'a layer is read inside its size');
    read(this.#parts, offset, target);
  }

  extentAt(offset: GuestOffset, lengthMax: number): LayerExtent {
    assert(offset < this.size, 'a layer is asked inside its size');
    const found = lookup(this.#parts, offset, { lengthMax: Math.min(lengthMax, this.size - offset) });
    const { length } = found;
    switch (found.kind) {
      case 'data':
        return { kind: 'data', length, depth: 0, compressed: false, host: found.host };
      case 'zero':
        return { kind: 'zero', length, depth: 0, compressed: false, host: found.host };
      case 'compressed':
        return { kind: 'data', length, depth: 0, compressed: true, host: undefined };
      case 'absent':
        return this.#extentBelow(offset, length);
      default:
        return unreachable(found);
    }
  }

  close(): void {
    this.#close();
  }

  /** What the layers below have; where the next one ends, this layer is the last that was asked (OPS-08). */
  #extentBelow(offset: GuestOffset, lengthMax: number): LayerExtent {
    const { backing } = this.#parts;
    if (backing === undefined || offset >= backing.size) return { kind: 'absent', length: lengthMax, depth: 0 };
    const inside = Math.min(lengthMax, backing.size - offset);
    const found = askBelow(() => backing.extentAt(offset, inside));
    return { ...found, depth: found.depth + 1 };
  }
}

/** A view of an image, or of a snapshot, that closes nothing. */
export function layerOver(parts: ReadParts, size: number): Layer {
  return new ImageLayer(parts, { size, close: () => undefined });
}
