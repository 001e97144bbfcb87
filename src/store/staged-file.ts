// A staging file that somebody else fills: its bytes go to the disk while more of them come.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { SyncAhead } from './sync-ahead.ts';

/** Only hastens what the writer's own flush makes durable. Must be closed. */
export class StagedFile {
  readonly #file: FileHandle;
  readonly #ahead: SyncAhead;

  private constructor(file: FileHandle) {
    this.#file = file;
    this.#ahead = new SyncAhead(() => file.datasync());
  }

  static async open(path: string): Promise<StagedFile> {
    return new StagedFile(await open(path, constants.O_RDWR | constants.O_NOFOLLOW));
  }

  /** So many bytes more were written to the file. Throws when the disk could not keep what was written earlier. */
  async wrote(length: number): Promise<void> {
    await this.#ahead.wrote(length);
  }

  async close(): Promise<void> {
    await this.#ahead.abandon();
    await this.#file.close();
  }
}
