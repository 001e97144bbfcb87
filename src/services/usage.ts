// How much is there, and how much of it is taken: by images, and of the engine.

import { Fault } from '../base/fault.ts';
import type { PoolFigures } from '../pool/engine-pool.ts';
import type { ServiceParts } from './service-parts.ts';

/** All but `images` in bytes. */
export interface UsageReport {
  readonly images: number;
  /** What all guests together may write. */
  readonly virtualBytes: number;
  /** What the image files occupy. */
  readonly allocatedBytes: number;
  /** What files that still come in occupy. */
  readonly reservedBytes: number;
  readonly freeBytes: number;
  /** How much all files together may occupy, or undefined for as much as there is. */
  readonly quotaBytes: number | undefined;
}

type UsageParts = Pick<ServiceParts, 'catalog' | 'directory' | 'pool' | 'clock'> & {
  readonly quotaBytes: number | undefined;
};

export class Usage {
  readonly #parts: UsageParts;
  #measured: { readonly atMs: number; readonly bytes: Promise<number> } | undefined;

  constructor(parts: UsageParts) {
    this.#parts = parts;
  }

  async report(): Promise<UsageReport> {
    const { catalog, directory, quotaBytes } = this.#parts;
    const { images, virtualBytes } = await catalog.sumImages();
    const allocatedBytes = await directory.occupied('images');
    const reservedBytes = await directory.occupied('staging');
    const { freeBytes } = await directory.space();
    return { images, virtualBytes, allocatedBytes, reservedBytes, freeBytes, quotaBytes };
  }

  engine(): PoolFigures {
    return this.#parts.pool.figures();
  }

  /**
   * Refuses a change that may need so many bytes more than the quota leaves. What is occupied is measured once a second
   * at most, so what runs at the same time may go beyond it a little. Faults `quota-exceeded`.
   */
  requireQuota(required: number): Promise<void> | undefined {
    const { quotaBytes } = this.#parts;
    return quotaBytes === undefined ? undefined : this.#require(required, quotaBytes);
  }

  async #require(required: number, quotaBytes: number): Promise<void> {
    const occupiedBytes = await this.#occupied();
    if (occupiedBytes < quotaBytes && occupiedBytes + required <= quotaBytes) return;
    throw new Fault('quota-exceeded', { required, occupiedBytes, quotaBytes });
  }

  #occupied(): Promise<number> {
    const { directory, clock } = this.#parts;
    const nowMs = clock();
    if (this.#measured === undefined || Math.abs(nowMs - this.#measured.atMs) > measureMs) {
      const bytes = Promise.all([directory.occupied('images'), directory.occupied('staging')]);
      this.#measured = { atMs: nowMs, bytes: bytes.then(([images, staging]) => images + staging) };
    }
    return this.#measured.bytes;
  }
}

const measureMs = 1_000;
