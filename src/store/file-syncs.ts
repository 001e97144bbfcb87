// Syncs of a file that a long run changes: they go on beside it, and its own flush at the end has little left to do.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { SyncAhead } from './sync-ahead.ts';

/** Only hastens what the run's own flush makes durable, and meets the same failures as that. Must be closed. */
export class FileSyncs {
  readonly #file: FileHandle;
  readonly #ahead: SyncAhead;

  private constructor(file: FileHandle) {
    this.#file = file;
    this.#ahead = new SyncAhead(() => file.datasync());
  }

  static async open(path: string): Promise<FileSyncs> {
    return new FileSyncs(await open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
  }

  /** So many bytes more were gone through; nobody waits for the disk. */
  passed(length: number): void {
    this.#ahead.passed(length);
  }

  async close(): Promise<void> {
    await this.#ahead.abandon();
    await this.#file.close();
  }
}
