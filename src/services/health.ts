// Whether the service can serve, told by those it depends on.

import type { ServiceParts } from './service-parts.ts';

/** `low`: deletes get through, but large writes may not. */
export interface HealthReport {
  readonly catalog: 'ok' | 'failing';
  readonly dataDirectory: 'ok' | 'failing';
  readonly freeSpace: 'ok' | 'low' | 'unknown';
  readonly freeBytes: number | undefined;
}

export class Health {
  readonly #parts: Pick<ServiceParts, 'catalog' | 'directory' | 'freeBytesMin' | 'report'>;

  constructor(parts: Pick<ServiceParts, 'catalog' | 'directory' | 'freeBytesMin' | 'report'>) {
    this.#parts = parts;
  }

  /** Never faults. */
  async check(): Promise<HealthReport> {
    const { catalog, directory, freeBytesMin } = this.#parts;
    const answers = await this.#asked('asking the catalog', async () => {
      await catalog.ping();
      return true;
    });
    const space = await this.#asked('asking the file system', () => directory.space());
    return {
      catalog: answers === undefined ? 'failing' : 'ok',
      dataDirectory: space === undefined ? 'failing' : 'ok',
      freeSpace: space === undefined ? 'unknown' : space.freeBytes < freeBytesMin ? 'low' : 'ok',
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
