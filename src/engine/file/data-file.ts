// The external data file of an image: the bytes of the disk at their guest offsets, in a file of their own (DAT).

import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { TrackedFile } from './tracked-file.ts';

/**
 * As long as the disk (DAT-06). A flush of it is no flush of the image file, nor the other way round: see `WriteOrder`
 * for which comes first.
 */
export class DataFile extends TrackedFile {
  /**
   * A place is its guest offset for good, so nothing is kept behind the end of the disk: zeroes that would only make the
   * file longer are left out.
   */
  override writeAt(offset: HostOffset, source: Uint8Array): void {
    const inside = Math.max(0, Math.min(source.length, this.size - offset));
    let end = source.length;
    while (end > inside && source[end - 1] === 0) end -= 1;
    if (end > 0) super.writeAt(offset, source.subarray(0, end));
  }

  /** Makes a span read as zeroes; with `keep` the space that it occupies stays its own. Durable after the next flush. */
  clear(span: ByteSpan, options: { readonly keep: boolean }): void {
    const end = Math.min(endOf(span), this.size);
    let at = span.offset;
    while (at < end) {
      const data = this.nextData(hostOffset(at));
      if (data === undefined || data.offset >= end) return;
      const length = Math.min(endOf(data), end) - data.offset;
      this.erase(hostOffset(data.offset), length);
      if (options.keep) this.preallocate(hostOffset(data.offset), length);
      at = data.offset + length;
    }
  }
}
