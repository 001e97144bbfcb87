// A file without a name: readable for whoever has it open, and gone when it is closed, however the process ends.

import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { assert } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';

/** Nobody writes to it any more. Must be closed. */
export class TakenFile {
  readonly #file: FileHandle;
  readonly length: number;

  private constructor(file: FileHandle, length: number) {
    this.#file = file;
    this.length = length;
  }

  /** Takes the name away. */
  static async take(path: string): Promise<TakenFile> {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      await rm(path);
      const { size } = await file.stat();
      return new TakenFile(file, size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async read({ offset, length }: ByteSpan): Promise<Uint8Array> {
    assert(offset + length <= this.length, 'a span lies inside the file');
    const bytes = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#file.read(bytes, done, length - done, offset + done);
      assert(bytesRead > 0, 'nobody cuts a file without a name');
      done += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
