// The pace of bulk writing: what the file grew by goes to the disk in between, and the tables with it now and then.

import { MiB } from '../../base/units.ts';
import { hostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';

/** What was written goes to the disk while the writing goes on, so that the last flush stays short. */
const writeBackInterval = 8 * MiB;
const flushInterval = 256 * MiB;

export class BulkPace {
  readonly #parts: WriteParts;
  #writtenBack: number;
  #flushed: number;

  constructor(parts: WriteParts) {
    this.#parts = parts;
    this.#writtenBack = parts.file.size;
    this.#flushed = parts.file.size;
  }

  /** To be called between pieces. */
  keep(): void {
    const { file, order } = this.#parts;
    const { size } = file;
    if (size - this.#writtenBack < writeBackInterval) return;
    if (size - this.#flushed >= flushInterval) {
      order.flush();
      this.#flushed = size;
    } else {
      file.startWriteBack(hostOffset(this.#writtenBack), size - this.#writtenBack);
    }
    this.#writtenBack = size;
  }
}
