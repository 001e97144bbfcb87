// How images are run: as was asked for, else as the settings say, else by the engine's own measure.

import type { ImageFacts } from '../catalog/catalog.ts';
import type { RuntimeOptions } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';
import { TurnsByImage } from './turns-by-image.ts';

/** What was asked for, by image id; kept while the service runs, also when an image closes for being idle. */
export class RuntimeBook {
  readonly #defaults: RuntimeOptions;
  readonly #options = new Map<string, RuntimeOptions>();

  constructor(defaults: RuntimeOptions) {
    this.#defaults = defaults;
  }

  /** Undefined when nobody has said anything. The cluster size, where it is known, bounds what the settings say. */
  of(imageId: string, clusterSize: number | undefined): RuntimeOptions | undefined {
    return this.with(this.askedFor(imageId), clusterSize);
  }

  /** What `asked` comes to over the settings. */
  with(asked: RuntimeOptions | undefined, clusterSize: number | undefined): RuntimeOptions | undefined {
    const { l2CacheEntryBytes } = this.#defaults;
    if (Object.values(this.#defaults).every((value) => value === undefined) || clusterSize === undefined) return asked;
    const fitting = l2CacheEntryBytes === undefined ? undefined : Math.min(l2CacheEntryBytes, clusterSize);
    return joinedRuntime({ ...this.#defaults, l2CacheEntryBytes: fitting }, asked ?? {});
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
  /** What a change leaves out is as the one before it left it. */
  readonly #turns = new TurnsByImage();

  constructor(parts: { readonly access: ImageAccess; readonly book: RuntimeBook }) {
    this.#access = parts.access;
    this.#book = parts.book;
  }

  /** What is left out stays as it was asked for before; see {@link joinedRuntime}. Fault `unsupported-option`: nothing is changed then. */
  async update(image: string, change: RuntimeOptions, claim: LeaseClaim | undefined): Promise<void> {
    await this.#access.use(image, { changes: true, claim }, async (visit) => {
      await this.#turns.take(visit.imageId, async () => {
        const { facts } = visit.record;
        const asked = joinedRuntime(honoured(this.#book.askedFor(visit.imageId), facts), change);
        await visit.call('setRuntime', this.#book.with(asked, facts?.clusterSize) ?? asked);
        this.#book.set(visit.imageId, asked);
      });
    });
  }
}

/** What was asked for before the image became one of version 2 may be more than that has. */
function honoured(asked: RuntimeOptions | undefined, facts: ImageFacts | undefined): RuntimeOptions {
  const isVersion2 = facts?.compat === '0.10';
  return isVersion2 ? { ...asked, lazyRefcounts: undefined, discardNoUnref: undefined } : { ...asked };
}

/**
 * What holds after a change: what it leaves out stays, but where sizes of caches do not go together (OPT-15): a total ends
 * those of the two parts, and the two parts end a total; and but for single areas when there is a new template.
 */
export function joinedRuntime(before: RuntimeOptions, change: RuntimeOptions): RuntimeOptions {
  const ended = change.cacheBytes === undefined ? {} : { l2CacheBytes: undefined, refcountCacheBytes: undefined };
  // A new template says anew of every area whether it is guarded.
  const areas = change.overlapCheck === undefined ? { ...before.overlapAreas } : {};
  const all = { ...before, ...ended, ...change, overlapAreas: { ...areas, ...change.overlapAreas } };
  const isParts = all.l2CacheBytes !== undefined && all.refcountCacheBytes !== undefined;
  return change.cacheBytes === undefined && isParts ? { ...all, cacheBytes: undefined } : all;
}
