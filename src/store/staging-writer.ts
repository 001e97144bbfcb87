// Writes one staging file from front to back: counts, digests, and holds only what it was given last.

import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { SyncAhead } from './sync-ahead.ts';

/** Bytes are written in the order in which they come; every `write` is awaited before the next. */
export class StagingWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #hash: Hash = createHash('sha256');
  readonly #digest: boolean;
  readonly #ahead: SyncAhead;
  #length = 0;

  private constructor(parts: { readonly path: string; readonly file: FileHandle; readonly digest: boolean }) {
    this.#path = parts.path;
    this.#file = parts.file;
    this.#digest = parts.digest;
    this.#ahead = new SyncAhead(() => parts.file.datasync());
  }

  /** Makes the file; it must not exist. With `digest` the SHA-256 of everything is computed on the way. */
  static async create(path: string, options: { readonly digest: boolean }): Promise<StagingWriter> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return new StagingWriter({ path, file: await open(path, flags, fileMode), digest: options.digest });
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Writes pieces one behind the other, without joining them first. Faults `insufficient-storage`. */
  async write(pieces: readonly Uint8Array[]): Promise<void> {
    if (this.#digest) for (const piece of pieces) this.#hash.update(piece);
    let rest = behind(pieces, 0);
    while (rest.length > 0) rest = behind(rest, await this.#writeSome(rest));
  }

  /** Closes the finished file; its bytes survive a crash. Returns the SHA-256 if it was asked for. */
  async finish(): Promise<Uint8Array | undefined> {
    try {
      await this.#ahead.finish();
      await this.#file.sync();
    } finally {
      await this.#file.close();
    }
    return this.#digest ? this.#hash.digest() : undefined;
  }

  /** Closes and removes the file. */
  async abort(): Promise<void> {
    await this.#ahead.abandon();
    await this.#file.close();
    await rm(this.#path, { force: true });
  }

  async #writeSome(pieces: readonly Uint8Array[]): Promise<number> {
    try {
      const { bytesWritten } = await this.#file.writev(pieces, this.#length);
      assert(bytesWritten > 0, 'a write makes progress');
      this.#length += bytesWritten;
      await this.#ahead.wrote(bytesWritten);
      return bytesWritten;
    } catch (error) {
      const required = pieces.reduce((sum, { length }) => sum + length, 0);
      throw toFault(error, { required, written: this.#length });
    }
  }
}

const fileMode = 0o600;

/** What is left of the pieces behind their first `length` bytes. */
export function behind(pieces: readonly Uint8Array[], length: number): readonly Uint8Array[] {
  const rest: Uint8Array[] = [];
  let left = length;
  for (const piece of pieces) {
    const skipped = Math.min(piece.length, left);
    left -= skipped;
    if (skipped < piece.length) rest.push(skipped === 0 ? piece : piece.subarray(skipped));
  }
  return rest;
}

/** No space, no quota, file too large for the file system: one fault; anything else is as it came. */
function toFault(error: unknown, facts: { readonly required: number; readonly written: number }): unknown {
  const full = ['ENOSPC', 'EDQUOT', 'EFBIG'];
  if (!(error instanceof Error) || !('code' in error)) return error;
  if (typeof error.code !== 'string' || !full.includes(error.code)) return error;
  return new Fault('insufficient-storage', { ...facts, available: 0 });
}
