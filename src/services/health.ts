// Whether the service can serve, told by those it depends on.

import { Fault } from '../base/fault.ts';
import type { ServiceParts } from './service-parts.ts';

/** `low`: deletes get through, but large writes may not. */
export interface HealthReport {
  readonly catalog: 'ok' | 'failing';
  readonly dataDirectory: 'ok' | 'failing';
  readonly engine: 'ok' | 'failing';
  readonly freeSpace: 'ok' | 'low' | 'unknown';
  readonly freeBytes: number | undefined;
}

type HealthParts = Pick<ServiceParts, 'catalog' | 'directory' | 'pool' | 'steadyClock' | 'freeBytesMin' | 'report'>;

/** Everybody may ask, and an answer costs a write: those who ask within this time get one answer. */
const keptMs = 1_000;

export class Health {
  readonly #parts: HealthParts;
  #last: { readonly atMs: number; readonly report: Promise<HealthReport> } | undefined;

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** Never faults. */
  async check(): Promise<HealthReport> {
    const nowMs = this.#parts.steadyClock();
    if (this.#last === undefined || nowMs - this.#last.atMs >= keptMs) {
      this.#last = { atMs: nowMs, report: this.#judge() };
    }
    return this.#last.report;
  }

  async #judge(): Promise<HealthReport> {
    const { catalog, directory, pool, freeBytesMin } = this.#parts;
    const [row, space, threads] = await Promise.all([
      this.#asked('asking the catalog', async () => isWritable(catalog)),
      this.#asked('asking the file system', () => directory.space()),
      this.#asked('asking the engine threads', async () => {
        await pool.ping();
        return true;
      }),
    ]);
    const isLow = row === 'full' || (space !== undefined && space.freeBytes < freeBytesMin);
    return {
      catalog: row === undefined ? 'failing' : 'ok',
      dataDirectory: space === undefined ? 'failing' : 'ok',
      engine: threads === undefined ? 'failing' : 'ok',
      freeSpace: space === undefined ? 'unknown' : isLow ? 'low' : 'ok',
      freeBytes: space?.freeBytes,
    };
  }

  async #asked<Answer>(doing: string, ask: () => Promise<Answer>): Promise<Answer | undefined> {
    try {
      return await ask();
    } catch (error) {
      this.#parts.report({ doing, imageId: undefined, error });
      return undefined;
    }
  }
}

/** A full disk is no failure of the catalog: its reserve still lets deletes through. */
async function isWritable(catalog: ServiceParts['catalog']): Promise<'written' | 'full'> {
  try {
    await catalog.ping();
    return 'written';
  } catch (error) {
    if (error instanceof Fault && error.code === 'insufficient-storage') return 'full';
    throw error;
  }
}
