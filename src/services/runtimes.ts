// How images are run: as was asked for, else as the settings say, else by the engine's own measure.

import type { RuntimeOptions } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';

/** What was asked for, by image id; kept while the service runs, also when an image closes for being idle. */
export class RuntimeBook {
  readonly #defaults: RuntimeOptions;
  readonly #options = new Map<string, RuntimeOptions>();

  constructor(defaults: RuntimeOptions) {
    this.#defaults = defaults;
  }

  /** Undefined when nobody has said anything. The cluster size, where it is known, bounds what the settings say. */
  of(imageId: string, clusterSize: number | undefined): RuntimeOptions | undefined {
    const asked = this.askedFor(imageId);
    const { l2CacheEntryBytes } = this.#defaults;
    if (Object.values(this.#defaults).every((value) => value === undefined) || clusterSize === undefined) return asked;
    const fitting = l2CacheEntryBytes === undefined ? undefined : Math.min(l2CacheEntryBytes, clusterSize);
    return { ...this.#defaults, l2CacheEntryBytes: fitting, ...asked };
  }

  askedFor(imageId: string): RuntimeOptions | undefined {
    return this.#options.get(imageId);
  }

  set(imageId: string, options: RuntimeOptions): void {
    this.#options.set(imageId, options);
  }

  forget(imageId: string): void {
    this.#options.delete(imageId);
  }
}

export class Runtimes {
  readonly #access: ImageAccess;
  readonly #book: RuntimeBook;

  constructor(parts: { readonly access: ImageAccess; readonly book: RuntimeBook }) {
    this.#access = parts.access;
    this.#book = parts.book;
  }

  /** What is left out stays as it was asked for before. Fault `unsupported-option`: nothing is changed then. */
  async update(image: string, change: RuntimeOptions, claim: LeaseClaim | undefined): Promise<void> {
    await this.#access.use(image, { changes: true, claim }, async (visit) => {
      const asked = { ...this.#book.askedFor(visit.imageId), ...change };
      await visit.call('setRuntime', { ...this.#book.of(visit.imageId, visit.record.facts?.clusterSize), ...change });
      this.#book.set(visit.imageId, asked);
    });
  }
}
