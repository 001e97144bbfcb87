// An image seen as a layer: the one beneath another, or the top of a chain that is listed or exported.

import { assert, unreachable } from '../../base/assert.ts';
import type { FileSpan } from '../file/file-span.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import type { ReadParts } from '../image-parts.ts';
import { askBelow } from '../layer/below.ts';
import type { Layer, LayerExtent, StoredCluster } from '../layer/layer.ts';
import type { Extent } from '../mapping/extent.ts';
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
        return this.#dataAt(found.host, length);
      case 'zero':
        return { kind: 'zero', length, depth: 0, compressed: false, host: this.#shown(found.host) };
      case 'compressed':
        return { kind: 'data', length, depth: 0, compressed: true, host: undefined };
      case 'absent':
        return this.#extentBelow(offset, found);
      default:
        return unreachable(found);
    }
  }

  storedAt(offset: GuestOffset): StoredCluster | undefined {
    const { unpacked, backing, geometry } = this.#parts;
    const found = lookup(this.#parts, offset, { lengthMax: Math.min(geometry.clusterSize, this.size - offset) });
    if (found.kind === 'absent') {
      return backing === undefined || offset >= backing.size ? undefined : askBelow(() => backing.storedAt?.(offset));
    }
    const isWhole = offset % geometry.clusterSize === 0 && found.length === geometry.clusterSize;
    return found.kind === 'compressed' && isWhole ? unpacked.stored(found) : undefined;
  }

  spanAt(offset: GuestOffset, lengthMax: number): FileSpan | undefined {
    const { backing, data } = this.#parts;
    const found = lookup(this.#parts, offset, { lengthMax: Math.min(lengthMax, this.size - offset) });
    if (found.kind === 'data') {
      const { preallocated, length } = this.#dataAt(found.host, found.length);
      return preallocated === true ? undefined : data.spanAt(found.host, length);
    }
    if (found.kind !== 'absent' || backing === undefined || offset >= backing.size) return undefined;
    const inside = Math.min(found.length, backing.size - offset);
    return askBelow(() => backing.spanAt?.(offset, inside));
  }

  close(): void {
    this.#close();
  }

  /** The file system knows what of it was never written (OPS-08a). */
  #dataAt(host: HostOffset, lengthMax: number): Extract<LayerExtent, { readonly kind: 'data' | 'zero' }> {
    const { holes } = this.#parts;
    const { isHole, length } = holes?.look(host, lengthMax) ?? { isHole: false, length: lengthMax };
    const extent = { kind: 'data', length, depth: 0, compressed: false, host: this.#shown(host) } as const;
    return isHole ? { ...extent, preallocated: true } : extent;
  }

  /** Where encrypted bytes lie tells nobody anything (OPS-08). */
  #shown(host: HostOffset | undefined): HostOffset | undefined {
    return this.#parts.holes === undefined ? undefined : host;
  }

  /** What the layers below have; where the next one ends, this layer is the last that was asked (OPS-08). */
  #extentBelow(offset: GuestOffset, absent: Extract<Extent, { readonly kind: 'absent' }>): LayerExtent {
    const { backing } = this.#parts;
    const { length, host } = absent;
    if (backing === undefined || offset >= backing.size) {
      return { kind: 'absent', length, depth: 0, host: this.#shown(host) };
    }
    const inside = Math.min(length, backing.size - offset);
    const found = askBelow(() => backing.extentAt(offset, inside));
    return { ...found, depth: found.depth + 1 };
  }
}

/** A view of an image, or of a snapshot, that closes nothing. */
export function layerOver(parts: ReadParts, size: number): Layer {
  return new ImageLayer(parts, { size, close: () => undefined });
}
