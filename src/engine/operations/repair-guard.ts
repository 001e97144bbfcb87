// Marks a file "dirty" from the first change of a repair to its end: a repair that is cut off is repeated at the next open.

import type { ByteSpan } from '../../base/byte-span.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { viewOf, writeMask64 } from '../format/big-endian.ts';
import { incompatibleBits, withBit } from '../format/features.ts';
import type { Mask64 } from '../format/features.ts';
import type { Header } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';

/** `incompatible_features` in the header of version 3. */
const incompatibleAt = 72;

/**
 * The file under repair, seen through the mark (BIT-I0). Version 2 has no mark; there the order of the writes alone
 * keeps a crash from making things worse.
 */
export class RepairGuard implements ByteFile {
  readonly #file: ByteFile;
  readonly #header: Header;
  #isMarked = false;

  constructor(file: ByteFile, header: Header) {
    this.#file = file;
    this.#header = header;
  }

  /** The end of the repair: writes the marks as they shall be from now on. */
  release(marks: Mask64): void {
    if (this.#header.version === 2) return;
    const standing = this.#isMarked ? this.#dirty : this.#header.incompatible;
    if (marks.low === standing.low && marks.high === standing.high) return;
    this.#file.flush();
    this.#write(marks);
    this.#isMarked = false;
  }

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#mark();
    this.#file.writeAt(offset, source);
  }

  punch(offset: HostOffset, length: number): void {
    this.#mark();
    this.#file.punch(offset, length);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#mark();
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.#mark();
    this.#file.resize(size);
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#file.startWriteBack(offset, length);
  }

  flush(): void {
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }

  get #dirty(): Mask64 {
    return withBit(this.#header.incompatible, incompatibleBits.dirty, true);
  }

  #mark(): void {
    if (this.#isMarked || this.#header.version === 2) return;
    this.#isMarked = true;
    this.#write(this.#dirty);
  }

  #write(marks: Mask64): void {
    const bytes = new Uint8Array(8);
    writeMask64(viewOf(bytes), 0, marks);
    this.#file.writeAt(hostOffset(incompatibleAt), bytes);
    this.#file.flush();
  }
}
