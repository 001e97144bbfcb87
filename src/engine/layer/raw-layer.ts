// A raw file as a layer: every byte is present, holes of the file are present and zero.

import { assert } from '../../base/assert.ts';
import { alignUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { FileSpan } from '../file/file-span.ts';
import type { GuestOffset } from '../format/offsets.ts';
import { hostOffset } from '../format/offsets.ts';
import type { Layer, LayerExtent } from './layer.ts';

/**
 * A file that nobody changes while it is a layer. Its size is the file's, rounded up to a whole sector whose rest reads
 * as zeroes, as QEMU has it (T13).
 */
export class RawLayer implements Layer {
  readonly #file: ByteFile;
  readonly size: number;
  /** The answer of the file system that was asked for last: zeroes from `start`, then data from `dataStart` to `end`. */
  #known = { start: 0, dataStart: 0, end: 0 };

  /** The layer closes the file. */
  constructor(file: ByteFile) {
    this.#file = file;
    this.size = alignUp(file.size, sectorSize);
  }

  read(offset: GuestOffset, target: Uint8Array): void {
    assert(offset + target.length <= this.size, 'a read lies inside the layer');
    this.#file.readAt(hostOffset(offset), target);
  }

  extentAt(offset: GuestOffset, lengthMax: number): LayerExtent {
    assert(lengthMax > 0 && offset + lengthMax <= this.size, 'an extent is asked for inside the layer');
    const isKnown = offset >= this.#known.start && offset < this.#known.end;
    if (!isKnown) this.#known = this.#ask(offset);
    const isData = offset >= this.#known.dataStart;
    const end = isData ? this.#known.end : this.#known.dataStart;
    return {
      kind: isData ? 'data' : 'zero',
      length: Math.min(end - offset, lengthMax),
      depth: 0,
      compressed: false,
      host: offset,
    };
  }

  /** Holes of the file are copied as holes. */
  spanAt(offset: GuestOffset, lengthMax: number): FileSpan {
    assert(offset + lengthMax <= this.size, 'a span lies inside the layer');
    return new FileSpan(this.#file, { offset, length: lengthMax });
  }

  close(): void {
    this.#file.close();
  }

  #ask(offset: number): { readonly start: number; readonly dataStart: number; readonly end: number } {
    const data = this.#file.nextData(hostOffset(offset));
    if (data === undefined) return { start: offset, dataStart: this.size, end: this.size };
    return { start: offset, dataStart: data.offset, end: data.offset + data.length };
  }
}
