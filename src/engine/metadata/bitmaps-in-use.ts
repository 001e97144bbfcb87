// Persistent bitmaps while the image is changed by somebody who does not keep them: marked as not to be trusted.

import type { TrackedFile } from '../file/tracked-file.ts';
import { viewOf } from '../format/big-endian.ts';
import { bitmapFlagsAt, bitmapInUseFlag, decodeBitmapDirectory } from '../format/bitmap-directory.ts';
import type { BitmapRecord } from '../format/bitmap-directory.ts';
import { bitmapDirectoryLengthMax } from '../format/header-extensions.ts';
import { hostOffset } from '../format/offsets.ts';
import { Fault } from '../../base/fault.ts';
import type { HeaderArea } from './header-area.ts';

/** The bitmaps of the header's extension; none when the autoclear bit says that they are stale (BIT-A0). */
export function readBitmaps(file: TrackedFile, header: HeaderArea): readonly BitmapRecord[] {
  const extension = header.extensions.bitmaps;
  if (extension === undefined || !header.hasBitmaps) return [];
  const { count, directoryLength, directoryOffset } = extension;
  if (directoryLength > bitmapDirectoryLengthMax || directoryOffset + directoryLength > file.size) {
    throw new Fault('bitmap-directory-invalid', { directoryOffset, directoryLength });
  }
  const directory = new Uint8Array(directoryLength);
  file.readAt(directoryOffset, directory);
  return decodeBitmapDirectory(directory, count);
}

/** Brings autoclear bits and bitmaps into the state that a writer owes, once, before the first change. */
export class BitmapsInUse {
  readonly #file: TrackedFile;
  readonly #header: HeaderArea;
  #done = false;

  constructor(file: TrackedFile, header: HeaderArea) {
    this.#file = file;
    this.#header = header;
  }

  /**
   * Clears autoclear bits that are unknown here (BIT-A2), and marks every bitmap as in use, so that it is inconsistent
   * from now on (BMP-06). Each mark is a few bytes in place, and until all of them are durable nothing else changes: a
   * crash between leaves some bitmaps "lost" and the others true, never "wrong" (ORD-14), so one flush is enough.
   */
  beforeChange(): void {
    if (this.#done) return;
    const records = readBitmaps(this.#file, this.#header).filter((record) => (record.flags & bitmapInUseFlag) === 0);
    for (const record of records) this.#markInUse(record);
    if (this.#header.hasUnknownAutoclear) this.#header.setAutoclear({ bitmaps: this.#header.hasBitmaps });
    this.#file.flush();
    this.#done = true;
  }

  #markInUse(record: BitmapRecord): void {
    const directory = this.#header.extensions.bitmaps;
    if (directory === undefined) return;
    const flags = new Uint8Array(4);
    viewOf(flags).setUint32(0, record.flags | bitmapInUseFlag);
    this.#file.writeAt(hostOffset(directory.directoryOffset + record.entryAt + bitmapFlagsAt), flags);
  }
}
