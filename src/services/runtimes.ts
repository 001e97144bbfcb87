// How images are run: by whom nothing was said, by the engine's own measure.

import type { RuntimeOptions } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';

/** What was asked for, by image id; kept while the service runs, also when an image closes for being idle. */
export class RuntimeBook {
  readonly #options = new Map<string, RuntimeOptions>();

  of(imageId: string): RuntimeOptions | undefined {
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
      const options = { ...this.#book.of(visit.imageId), ...change };
      await visit.call('setRuntime', options);
      this.#book.set(visit.imageId, options);
    });
  }
}
