// Some space that only the catalog may use: a full disk must not keep anybody from deleting.

import { closeSync, openSync, rmSync, writeSync } from 'node:fs';

import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';

/** Enough for the log of many transactions until SQLite begins it anew. */
const reserveLength = 4 * MiB;
const fileMode = 0o600;

export class DiskReserve {
  readonly #path: string | undefined;
  #isKept = false;

  /** `path`: the file that holds the space; undefined for a catalog in memory, which needs none. */
  constructor(path: string | undefined) {
    this.#path = path;
    this.keep();
  }

  /** Takes the space while there is some; without any it is tried again after the next deletion. */
  keep(): void {
    if (this.#path === undefined || this.#isKept) return;
    try {
      const file = openSync(this.#path, 'w', fileMode);
      try {
        writeSync(file, new Uint8Array(reserveLength));
        this.#isKept = true;
      } finally {
        closeSync(file);
      }
    } catch (error) {
      if (!isFull(error)) throw error;
      rmSync(this.#path, { force: true });
    }
  }

  /** Does a work that may need space; when the disk is full it is done once more with the reserve given up. */
  using<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#giveUp();
      return orFault(work);
    }
  }

  #giveUp(): void {
    if (this.#path === undefined) return;
    rmSync(this.#path, { force: true });
    this.#isKept = false;
  }
}

/** Does a work without touching any reserve. Fault `insufficient-storage` when the disk is full. */
export function orFault<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!isFull(error)) throw error;
    throw new Fault('insufficient-storage', { reason: 'the catalog cannot grow' });
  }
}

/** SQLite's word and the file system's for the same thing. */
function isFull(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.code === 'SQLITE_FULL' || error.code === 'ENOSPC' || error.code === 'EDQUOT';
}
