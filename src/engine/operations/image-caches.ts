// The caches of one open image among those that share the memory: as long as its disk can use, whose size may change.

import type { ImageParts, WriteParts } from '../image-parts.ts';
import type { CacheBudget } from '../metadata/cache-budget.ts';
import { CacheCleaning } from '../metadata/cache-cleaning.ts';
import { cacheSizesOf } from './cache-sizes.ts';
import { cachesOf } from './open.ts';
import type { RuntimeOptions } from './runtime-options.ts';

/** What is in use: parts that were opened by these options. */
interface InUse {
  readonly parts: ImageParts | WriteParts;
  readonly runtime: RuntimeOptions;
  virtualSize: number;
}

export class ImageCaches {
  /** What these caches and those of the layers below share; undefined for as much as they want. */
  readonly budget: CacheBudget | undefined;
  /** That of the layers below, too. */
  readonly cleaning = new CacheCleaning();
  #used: InUse | undefined;

  constructor(budget: CacheBudget | undefined) {
    this.budget = budget;
  }

  /** The caches of an image that was opened, instead of those before. */
  use(parts: ImageParts | WriteParts, runtime: RuntimeOptions = {}): void {
    this.leave();
    this.#used = { parts, runtime, virtualSize: parts.header.virtualSize };
    this.cleaning.choose(runtime.cacheCleanSeconds);
    this.budget?.join(cachesOf(parts));
  }

  /** To be called when the disk may have got another size (OPT-01). */
  fit(): void {
    const used = this.#used;
    if (used === undefined || used.virtualSize === used.parts.header.virtualSize) return;
    const { parts, runtime } = used;
    used.virtualSize = parts.header.virtualSize;
    const { l2, refcounts } = cacheSizesOf(runtime, parts.header);
    parts.mappingCache.want(l2.length);
    if ('refcountCache' in parts) parts.refcountCache.want(refcounts.length);
    this.budget?.shareAnew();
  }

  leave(): void {
    if (this.#used !== undefined) this.budget?.leave(cachesOf(this.#used.parts));
    this.#used = undefined;
  }
}
